"""One attempt for each due delivery: what is sent, stored and emitted."""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import orjson
import pytest

from core.errors import RecordUnreadable, SecretsUnreadable, StoreUnavailable
from core.jobs.job import BillingStatus, JobRecord, JobState
from core.jobs.timeline import TimelineKind
from core.money import MicroUsd
from core.observability.events import (
    DeliveryAttempted,
    EndpointDisabled,
    Event,
    OperationalWarning,
)
from core.observability.outcomes import FailureKind
from core.store.deliveries import AttemptWriteResult
from core.transactions.job_update import WriteResult as Stored
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.circuit_breaker import EndpointCircuit, EndpointCircuitPolicy
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import (
    EVENT_OF_STATUS,
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DeliveryUpdate,
    WebhookEventType,
)
from core.webhooks.endpoint import (
    DisabledReason,
    Endpoint,
    EndpointKind,
    PayloadStyle,
    RedisStream,
    queue_of_endpoint,
)
from core.webhooks.secrets import Secret, encode_webhook_secret
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.memory_store.webhooks import MemoryEventStreams
from tests.support.partial_stores import partial_stores
from tests.support.records import NOW, SECOND, MidpointRandom, at, delivery, job
from tests.support.worker import StubJobStore
from worker.webhooks.decisions import DeliveryRules, delivery_after
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.sender import AttemptRequest
from worker.webhooks.transport import DeliveryTransport

D = DeliveryState
DURATION = timedelta(milliseconds=42.4)
OK = Delivered(204, DURATION)
BROKEN = AttemptFailed(FailureKind.SERVER_ERROR, DURATION, 500, excerpt="oops")
GONE = AttemptFailed(FailureKind.GONE, DURATION, 410)
CONNECT_FAILED = AttemptFailed(FailureKind.CONNECT_ERROR, DURATION)
NEW, OLD = encode_webhook_secret(b"n" * 32), encode_webhook_secret(b"o" * 32)
HOOK = Endpoint("ep_1", "https://endpoint.example/", NOW)
OTHER = Endpoint("ep_2", "https://other.example/", NOW)
CONFIG = WebhookConfig("video-team", 3, endpoints=(HOOK, OTHER), secrets=(Secret(NEW), Secret(OLD)))
CHANNEL = queue_of_endpoint("video-team", "ep_1")
DONE = job(
    JobState.SUCCEEDED,
    updated_at=at(90),
    billed=BillingStatus.YES,
    cost=MicroUsd(840_000),
    cost_source="runcomfy",
)


@dataclass
class DeliveryHarness:
    """A delivery worker, its attempts and its stored results."""

    answers: deque[AttemptResult]
    sent: list[AttemptRequest] = field(default_factory=list)
    rows: list[DeliveryUpdate] = field(default_factory=list)
    changes: list[WebhookConfigUpdate] = field(default_factory=list)
    config: WebhookConfig | None = field(default_factory=lambda: CONFIG)
    lost_writes: EndpointCircuit = field(default_factory=EndpointCircuit)
    on_circuit_update: bool = True
    streams: MemoryEventStreams = field(default_factory=MemoryEventStreams)
    events: list[Event] = field(default_factory=list)
    jobs: StubJobStore = field(default_factory=StubJobStore)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.jobs.records[DONE.id] = JobRecord(DONE, 3, b'{"a":1}')
        stores = partial_stores(
            jobs=self.jobs, deliveries=self, webhook_configs=ContendedWebhookConfigs(self)
        )
        self.courier = DeliveryWorker(
            stores,
            DeliveryTransport(self, self.streams, self.clock),
            DeliveryRules(MidpointRandom()),
            self.clock,
            SeededIds(Random(1)),
            self.events.append,
        )

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        self.sent.append(attempt)
        return self.answers.popleft()

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        self.rows.append(completion)
        return AttemptWriteResult(Stored.STORED, self.on_circuit_update)

    async def load_circuit(self, name: str) -> EndpointCircuit:
        assert name == CHANNEL
        return self.lost_writes

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        self.lost_writes = update.after
        return True

    async def deliver(self, due: Delivery, channel: EndpointCircuit | None = None) -> Delivery:
        """Make the next attempt and return the delivery."""
        await self.courier.deliver(ClaimedDelivery(due, channel or EndpointCircuit()))
        return self.rows[-1].after


@dataclass
class ContendedWebhookConfigs:
    """The tenant's webhook config; `contended` changes lose to another writer."""

    harness: DeliveryHarness

    async def load(self, tenant: str) -> WebhookConfig | None:
        assert tenant == "video-team"
        return self.harness.config

    async def update(self, update: WebhookConfigUpdate) -> bool:
        self.harness.changes.append(update)
        self.harness.config = update.after
        return True


async def deliver(delivery: Delivery, *answers: AttemptResult) -> DeliveryHarness:
    """Make one attempt for each scripted answer."""
    desk = DeliveryHarness(deque(answers))
    for _ in answers:
        delivery = await desk.deliver(delivery)
    return desk


async def test_what_is_sent() -> None:
    desk = await deliver(delivery(), OK)
    (attempt,) = desk.sent
    assert (attempt.webhook_id, attempt.url, attempt.number) == (
        "msg_1",
        "https://hooks.example/done",
        1,
    )
    assert attempt.secrets == (NEW, OLD)
    body = orjson.loads(attempt.body)
    assert (body["type"], body["timestamp"]) == ("request.completed", "2026-03-01T12:00:00Z")
    assert (body["data"]["output"], body["data"]["cost"]) == ({"a": 1}, 0.84)


async def test_every_attempt_has_the_same_id_and_body() -> None:
    desk = DeliveryHarness(deque([BROKEN, CONNECT_FAILED, BROKEN, OK]))
    due = delivery()
    for _ in range(4):
        due = await desk.deliver(due)
        await desk.clock.advance(3600 * SECOND)
    assert len({(sent.webhook_id, sent.body, sent.url) for sent in desk.sent}) == 1
    assert [sent.number for sent in desk.sent] == [1, 2, 3, 4]


async def test_secrets_are_those_of_the_moment() -> None:
    desk = DeliveryHarness(deque([BROKEN, OK]))
    desk.config = replace(CONFIG, secrets=(Secret(NEW), Secret(OLD, at(60))))
    due = await desk.deliver(delivery())
    await desk.clock.advance(60 * SECOND)
    await desk.deliver(due)
    assert [sent.secrets for sent in desk.sent] == [(NEW, OLD), (NEW,)]


# What the attempt came to -> the state, when it is due again (seconds).
SETTLED: dict[str, tuple[AttemptResult, DeliveryState, float | None]] = {
    "delivered": (OK, D.DELIVERED, None),
    "an error": (BROKEN, D.PENDING, 5),
    "not reached": (CONNECT_FAILED, D.PENDING, 5),
    "told to wait": (
        AttemptFailed(FailureKind.THROTTLED, DURATION, 429, 20 * SECOND),
        D.PENDING,
        21,
    ),
    "gone": (GONE, D.FAILED, None),
}


@pytest.mark.parametrize(("outcome", "state", "due"), SETTLED.values(), ids=SETTLED)
async def test_what_an_attempt_comes_to(
    outcome: AttemptResult, state: DeliveryState, due: float | None
) -> None:
    desk = await deliver(delivery(), outcome)
    (row,) = desk.rows
    before, after, attempt, entry = row.before, row.after, row.attempt, row.entry
    assert entry is not None
    assert before == delivery()
    assert (after.state, after.attempts, after.version) == (state, 1, 2)
    assert after.next_attempt_at == (None if due is None else at(due))
    assert after.finished_at == (NOW if due is None else None)
    assert after.last_outcome == outcome.label
    assert attempt == DeliveryAttempt(
        at=NOW,
        number=1,
        outcome=outcome.label,
        duration_ms=42,
        http_status=outcome.status,
        response_excerpt=outcome.excerpt or None,
    )
    assert (entry.kind, entry.code, entry.detail) == (TimelineKind.DELIVERY, outcome.label, "msg_1")
    assert (entry.state, entry.count) == (JobState.SUCCEEDED, 1)
    assert desk.events == [
        DeliveryAttempted(
            delivery_id="msg_1",
            job_id="req_1",
            tenant="video-team",
            attempt=1,
            outcome=outcome.label,
            http_status=outcome.status,
            duration=DURATION,
            state=state,
            lag=0 * SECOND if state is D.DELIVERED else None,
        )
    ]


@pytest.mark.parametrize(
    ("status", "excerpt", "detail"),
    [
        (None, "TLS: certificate has expired", "TLS: certificate has expired"),
        (302, "Location: https://elsewhere.example/", "Location: https://elsewhere.example/"),
        (500, "the receiver's own page", None),
        (None, "", None),
    ],
)
async def test_the_log_has_the_gateways_own_words(
    status: int | None, excerpt: str, detail: str | None
) -> None:
    failed = AttemptFailed(FailureKind.TLS_ERROR, DURATION, status, excerpt=excerpt)
    desk = await deliver(delivery(), failed)
    (event,) = desk.events
    assert isinstance(event, DeliveryAttempted)
    assert event.detail == detail


async def test_the_twelfth_failure_is_the_last() -> None:
    desk = await deliver(delivery(), *[BROKEN] * 12)
    states = [row.after.state for row in desk.rows]
    assert states == [D.PENDING] * 11 + [D.FAILED]
    last = desk.rows[-1].after
    assert (last.next_attempt_at, last.finished_at, last.attempts) == (None, NOW, 12)


@pytest.mark.parametrize("missing", ["job", "tenant", "secret"])
async def test_what_nobody_is_left_for_is_given_up_without_a_call(missing: str) -> None:
    desk = DeliveryHarness(deque())
    if missing == "job":
        desk.jobs.records.clear()
    elif missing == "tenant":
        desk.config = None
    else:
        desk.config = replace(CONFIG, secrets=())
    after = await desk.deliver(delivery(attempts=2, version=3))
    assert (after.state, after.next_attempt_at, after.last_outcome) == (D.FAILED, None, "orphaned")
    assert (after.attempts, after.version, desk.rows[0].attempt) == (2, 4, None)
    assert desk.sent == []


async def test_a_store_that_is_away_sends_nothing() -> None:
    desk = DeliveryHarness(deque())
    desk.jobs.unavailable = True
    with pytest.raises(StoreUnavailable):
        await desk.deliver(delivery())
    assert (desk.sent, desk.rows) == ([], [])


@pytest.mark.parametrize("event", EVENT_OF_STATUS.values())
async def test_the_event_is_the_deliverys_own(event: WebhookEventType) -> None:
    desk = await deliver(delivery(event=event), OK)
    assert orjson.loads(desk.sent[0].body)["type"] == event.value


async def test_an_end_that_the_store_has_forgotten_is_not_sent() -> None:
    desk = DeliveryHarness(deque([OK]))
    desk.jobs.records[DONE.id] = JobRecord(replace(DONE, state=JobState.RUNNING))
    due = delivery(event=WebhookEventType.COMPLETED)
    await desk.courier.deliver(ClaimedDelivery(due, EndpointCircuit()))
    assert (desk.sent, desk.rows) == ([], [])


def test_a_failure_keeps_the_attempts_that_went_before() -> None:
    after = delivery_after(delivery(attempts=4, version=5), BROKEN, at(5), NOW)
    assert (after.attempts, after.version, after.next_attempt_at) == (5, 6, at(5))


def to_endpoint(**changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A delivery to the endpoint `ep_1`."""
    fields = {"endpoint_id": "ep_1", "queue": CHANNEL, "url": HOOK.url} | changes
    return delivery(**fields)


def with_endpoint(**changes: Any) -> WebhookConfig:  # noqa: ANN401 - fields of the record
    """The config with `ep_1` changed."""
    return replace(CONFIG, endpoints=(replace(HOOK, **changes), OTHER))


async def test_an_endpoints_own_wishes_are_kept() -> None:
    desk = DeliveryHarness(deque([OK]))
    headers = (("Authorization", "Bearer abc"),)
    wishes = {"url": "https://moved.example/", "headers": headers, "timeout": 3 * SECOND}
    desk.config = replace(
        with_endpoint(**wishes, payload=PayloadStyle.THIN), signing_keys=(Secret("whsk_x"),)
    )
    await desk.deliver(to_endpoint())
    (attempt,) = desk.sent
    assert (attempt.url, attempt.headers, attempt.timeout) == tuple(wishes.values())
    assert attempt.keys == ("whsk_x",)
    data = orjson.loads(attempt.body)["data"]
    assert data == {"request_id": "req_1", "status": "completed"}


async def test_what_was_on_the_way_is_told_as_it_stood_then() -> None:
    desk = await deliver(to_endpoint(event=WebhookEventType.IN_PROGRESS), OK)
    data = orjson.loads(desk.sent[0].body)["data"]
    assert (data["status"], "output" in data, "cost" in data) == ("in_progress", False, False)


async def test_410_disables_the_endpoint_tells_the_others_and_keeps_the_event_for_it() -> None:
    desk = DeliveryHarness(deque([GONE]))
    after = await desk.deliver(to_endpoint(), EndpointCircuit(7, consecutive_failures=2))
    assert (after.state, after.next_attempt_at, after.attempts) == (D.HELD, None, 1)
    (change,) = desk.changes
    assert change.after.get_endpoint("ep_1").disabled_reason is DisabledReason.GONE
    (told,) = change.deliveries
    assert (told.endpoint_id, told.event) == ("ep_2", WebhookEventType.ENDPOINT_DISABLED)
    assert orjson.loads(told.data or "")["reason"] == "gone"
    assert desk.rows[0].circuit.after == EndpointCircuit(8)
    assert EndpointDisabled("video-team", "ep_1", DisabledReason.GONE) in desk.events


async def test_410_to_a_url_of_one_submit_ends_that_delivery_alone() -> None:
    desk = DeliveryHarness(deque([GONE]))
    after = await desk.deliver(delivery())
    assert (after.state, desk.changes) == (D.FAILED, [])


async def test_five_days_without_a_success_disable_the_endpoint() -> None:
    policy = EndpointCircuitPolicy()
    since = NOW - policy.disable_after
    desk = DeliveryHarness(deque([BROKEN]))
    failing = EndpointCircuit(
        9, consecutive_failures=40, is_open=True, failing_since=since, last_failure_at=NOW - SECOND
    )
    after = await desk.deliver(to_endpoint(), failing)
    assert (after.state, desk.changes[0].after.get_endpoint("ep_1").disabled_reason) == (
        D.HELD,
        DisabledReason.FAILING,
    )
    desk = DeliveryHarness(deque([BROKEN]))
    almost = replace(failing, failing_since=since + SECOND)
    assert (await desk.deliver(to_endpoint(), almost)).state is D.PENDING


# What is known when a delivery is due -> how it stands then, without a call.
UNSENT: dict[str, tuple[WebhookConfig, Delivery, DeliveryState, str]] = {
    "disabled": (
        with_endpoint(disabled_reason=DisabledReason.BY_OWNER),
        to_endpoint(),
        D.HELD,
        "endpoint_disabled",
    ),
    "deleted": (replace(CONFIG, endpoints=()), to_endpoint(), D.FAILED, "endpoint_deleted"),
    "overdue": (CONFIG, to_endpoint(created_at=NOW - timedelta(days=6)), D.FAILED, "overdue"),
}


@pytest.mark.parametrize(("setup", "due", "state", "why"), UNSENT.values(), ids=UNSENT)
async def test_what_cannot_be_sent_costs_no_attempt(
    setup: WebhookConfig, due: Delivery, state: DeliveryState, why: str
) -> None:
    desk = DeliveryHarness(deque())
    desk.config = setup
    after = await desk.deliver(due, EndpointCircuit(4))
    assert (after.state, after.last_outcome, after.next_attempt_at, after.attempts) == (
        state,
        why,
        None,
        0,
    )
    (row,) = desk.rows
    assert (row.attempt, row.circuit.before, row.circuit.after) == (
        None,
        EndpointCircuit(4),
        EndpointCircuit(4),
    )
    assert desk.sent == []


# The outcome -> whether it counts against an endpoint, and against the origin of a submit's URL.
COUNTS: dict[str, tuple[AttemptResult, bool, bool]] = {
    "an error": (BROKEN, True, False),
    "not reached": (CONNECT_FAILED, True, True),
    "too slow": (AttemptFailed(FailureKind.TIMEOUT, DURATION), True, True),
    "not found": (AttemptFailed(FailureKind.CLIENT_ERROR, DURATION, 404), True, False),
    "told to wait": (AttemptFailed(FailureKind.THROTTLED, DURATION, 429), True, True),
    "our own doing": (AttemptFailed(FailureKind.BUSY, DURATION), False, False),
    "delivered": (OK, False, False),
}


@pytest.mark.parametrize(("outcome", "endpoint", "url"), COUNTS.values(), ids=COUNTS)
async def test_what_counts_against_a_channel(
    outcome: AttemptResult, *, endpoint: bool, url: bool
) -> None:
    for due, counts in ((to_endpoint(), endpoint), (delivery(queue=CHANNEL), url)):
        desk = DeliveryHarness(deque([outcome]))
        await desk.deliver(due)
        circuit = desk.rows[0].circuit.after
        assert (circuit.failing_since is not None) is counts
        assert circuit.last_failure == (outcome.label if counts else None)


async def test_what_the_gateway_could_not_do_uses_up_no_attempt() -> None:
    busy = AttemptFailed(FailureKind.BUSY, DURATION)
    desk = DeliveryHarness(deque([busy, BROKEN]))
    after = await desk.deliver(to_endpoint(attempts=11))
    assert (after.state, after.attempts, after.uncounted_attempts) == (D.PENDING, 12, 1)
    after = await desk.deliver(after)
    assert (after.state, after.attempts, after.uncounted_attempts) == (D.FAILED, 13, 1)


async def test_an_outcome_is_noted_upon_the_channel_as_others_left_it() -> None:
    desk = DeliveryHarness(
        deque([BROKEN]),
        on_circuit_update=False,
        lost_writes=EndpointCircuit(5, consecutive_failures=1),
    )
    await desk.deliver(to_endpoint(), EndpointCircuit(4))
    assert (desk.lost_writes.version, desk.lost_writes.consecutive_failures) == (6, 2)


async def test_a_stream_is_written_as_cloudevents_and_retried_like_a_url() -> None:
    desk = DeliveryHarness(deque())
    desk.config = with_endpoint(kind=EndpointKind.STREAM, url="stream:jobs@analytics")
    after = await desk.deliver(to_endpoint())
    assert (after.state, after.last_outcome) == (D.DELIVERED, "delivered")
    ((name, stream, event),) = desk.streams.written
    assert (name, stream) == ("video-team", RedisStream("jobs", "analytics"))
    told = orjson.loads(event)
    assert told.pop("data")["output"] == {"a": 1}
    assert told == {
        "specversion": "1.0",
        "id": "msg_1",
        "source": "/tenants/video-team",
        "type": "request.completed",
        "subject": "req_1",
        "time": "2026-03-01T12:00:00Z",
        "datacontenttype": "application/json",
    }
    desk.streams.unavailable.add("analytics")
    after = await desk.deliver(to_endpoint())
    assert (after.state, after.next_attempt_at, after.last_outcome) == (
        D.PENDING,
        at(5),
        "connect_error",
    )


async def test_sent_anew_the_schedule_begins_again_and_attempts_count_on() -> None:
    desk = DeliveryHarness(deque([BROKEN]))
    again = delivery(attempts=12, state=D.FAILED, version=13).resend(NOW)
    after = await desk.deliver(again)
    assert (after.attempts, after.next_attempt_at, after.state) == (13, at(5), D.PENDING)
    assert desk.sent[0].number == 13


async def fail_always(harness: DeliveryHarness, due: Delivery) -> Delivery:
    """Make attempts until the delivery has ended; each raises."""
    for _ in range(20):
        due = await harness.deliver(due)
        if due.next_attempt_at is None:
            return due
        await harness.clock.advance(due.next_attempt_at - harness.clock.now())
    raise AssertionError("the attempts have no end")


class RaisingTransport:
    """Raises in place of an attempt."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def send(self, _: AttemptRequest) -> AttemptResult:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError("odd"), RecursionError(), RecordUnreadable("field"), KeyError("x")]
)
async def test_a_step_that_always_raises_ends_as_a_dead_letter(error: Exception) -> None:
    harness = DeliveryHarness(deque())
    harness.courier._transport = DeliveryTransport(
        RaisingTransport(error), harness.streams, harness.clock
    )
    ended = await fail_always(harness, delivery())
    assert (ended.state, ended.last_outcome, ended.attempts) == (D.FAILED, "step_failed", 12)
    warnings = [one for one in harness.events if isinstance(one, OperationalWarning)]
    assert {one.code for one in warnings} == {"delivery_step_failed"}
    assert {one.error for one in warnings} == {error}
    assert [one.attempt and one.attempt.outcome for one in harness.rows] == ["step_failed"] * 12
    assert all(one.circuit.after == one.circuit.before for one in harness.rows)


async def test_a_job_that_cannot_be_read_ends_its_deliveries_too() -> None:
    harness = DeliveryHarness(deque())

    async def load(_: str) -> None:
        raise RecordUnreadable("field")

    harness.courier._jobs = partial_stores(load=load)  # type: ignore[assignment]  # only what is used
    ended = await fail_always(harness, delivery())
    assert (ended.state, ended.last_outcome) == (D.FAILED, "step_failed")


async def test_a_step_that_raised_once_is_delivered_later() -> None:
    harness = DeliveryHarness(deque([OK]))
    sender = harness.courier._transport
    harness.courier._transport = DeliveryTransport(
        RaisingTransport(ValueError()), harness.streams, harness.clock
    )
    pending = await harness.deliver(delivery())
    assert (pending.state, pending.last_outcome) == (D.PENDING, "step_failed")
    harness.courier._transport = sender
    assert (await harness.deliver(pending)).state is D.DELIVERED


@pytest.mark.parametrize("error", [StoreUnavailable(), SecretsUnreadable()])
async def test_what_is_not_the_deliverys_fault_uses_up_no_attempt(error: Exception) -> None:
    harness = DeliveryHarness(deque())
    harness.courier._transport = DeliveryTransport(
        RaisingTransport(error), harness.streams, harness.clock
    )
    with pytest.raises(type(error)):
        await harness.deliver(delivery())
    assert harness.rows == []
