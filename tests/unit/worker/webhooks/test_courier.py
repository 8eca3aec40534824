"""One attempt for each delivery that is due: what is sent, what is stored, what is told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Billed, JobRecord, JobState
from core.jobs.timeline import Note
from core.money import MicroUsd
from core.observability.events import DeliveryAttempted, EndpointDisabled
from core.store.deliveries import Settled
from core.transactions.job_update import Outcome as Stored
from core.webhooks.circuit_breaker import Channel, ChannelPolicy
from core.webhooks.config import WebhookSetup
from core.webhooks.delivery import (
    EVENT_OF_STATUS,
    Claimed,
    DeliveryAttempt,
    DeliveryState,
    EventType,
)
from core.webhooks.endpoint import (
    Disabled,
    Endpoint,
    EndpointKind,
    Payload,
    Stream,
    channel_of_endpoint,
)
from core.webhooks.secrets import Secret, mint_webhook_secret
from tests.builders import NOW, SECOND, MiddleChance, at, delivery, job
from tests.fakes.clock import FakeClock
from tests.fakes.ids import SeededIds
from tests.fakes.outbox import MemorySinks
from tests.unit.worker.rig import Shelf
from worker.webhooks.decisions import settled
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy
from worker.webhooks.outcomes import Delivered, Kind, Outcome, Refused

if TYPE_CHECKING:
    from core.observability.events import Event
    from core.store.webhook_endpoints import SetupChange
    from core.webhooks.delivery import ChannelMove, Delivery, Settlement
    from worker.webhooks.sender import Attempt

D = DeliveryState
TOOK = timedelta(milliseconds=42.4)
OK = Delivered(204, TOOK)
BROKEN = Refused(Kind.SERVER_ERROR, TOOK, 500, excerpt="oops")
GONE = Refused(Kind.GONE, TOOK, 410)
UNREACHED = Refused(Kind.CONNECT_ERROR, TOOK)
NEW, OLD = mint_webhook_secret(b"n" * 32), mint_webhook_secret(b"o" * 32)
HOOK = Endpoint("ep_1", "https://endpoint.example/", NOW)
OTHER = Endpoint("ep_2", "https://other.example/", NOW)
SETUP = WebhookSetup("video-team", 3, endpoints=(HOOK, OTHER), secrets=(Secret(NEW), Secret(OLD)))
CHANNEL = channel_of_endpoint("video-team", "ep_1")
DONE = job(
    JobState.SUCCEEDED,
    updated_at=at(90),
    billed=Billed.YES,
    cost=MicroUsd(840_000),
    cost_source="runcomfy",
)


@dataclass
class Desk:
    """A courier, what it sends and what it settles."""

    answers: deque[Outcome]
    sent: list[Attempt] = field(default_factory=list)
    rows: list[Settlement] = field(default_factory=list)
    changes: list[SetupChange] = field(default_factory=list)
    setup: WebhookSetup | None = field(default_factory=lambda: SETUP)
    held: Channel = field(default_factory=Channel)
    learns: bool = True
    sinks: MemorySinks = field(default_factory=MemorySinks)
    events: list[Event] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.shelf.records[DONE.id] = JobRecord(DONE, 3, b'{"a":1}')
        self.courier = Courier(
            CourierHands(
                outbox=self,
                jobs=self.shelf,
                setups=Setups(self),
                sender=self,
                sinks=self.sinks,
                clock=self.clock,
                rng=MiddleChance(),
                ids=SeededIds(Random(1)),
                emit=self.events.append,
            ),
            CourierPolicy(),
        )

    async def send(self, attempt: Attempt) -> Outcome:
        self.sent.append(attempt)
        return self.answers.popleft()

    async def settle(self, settlement: Settlement) -> Settled:
        self.rows.append(settlement)
        return Settled(Stored.STORED, self.learns)

    async def channel(self, name: str) -> Channel:
        assert name == CHANNEL
        return self.held

    async def move_channel(self, move: ChannelMove) -> bool:
        self.held = move.after
        return True

    async def deliver(self, due: Delivery, channel: Channel | None = None) -> Delivery:
        """Make the next attempt, and say how the delivery stands then."""
        await self.courier.deliver(Claimed(due, channel or Channel()))
        return self.rows[-1].after


@dataclass
class Setups:
    """The tenant's setup; `contended` changes are lost to somebody else."""

    desk: Desk

    async def load(self, tenant: str) -> WebhookSetup | None:
        assert tenant == "video-team"
        return self.desk.setup

    async def change(self, change: SetupChange) -> bool:
        self.desk.changes.append(change)
        self.desk.setup = change.after
        return True


async def deliver(delivery: Delivery, *answers: Outcome) -> Desk:
    """Make as many attempts as there are answers."""
    desk = Desk(deque(answers))
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
    desk = Desk(deque([BROKEN, UNREACHED, BROKEN, OK]))
    due = delivery()
    for _ in range(4):
        due = await desk.deliver(due)
        await desk.clock.advance(3600 * SECOND)
    assert len({(sent.webhook_id, sent.body, sent.url) for sent in desk.sent}) == 1
    assert [sent.number for sent in desk.sent] == [1, 2, 3, 4]


async def test_secrets_are_those_of_the_moment() -> None:
    desk = Desk(deque([BROKEN, OK]))
    desk.setup = replace(SETUP, secrets=(Secret(NEW), Secret(OLD, at(60))))
    due = await desk.deliver(delivery())
    await desk.clock.advance(60 * SECOND)
    await desk.deliver(due)
    assert [sent.secrets for sent in desk.sent] == [(NEW, OLD), (NEW,)]


# What the attempt came to -> the state, when it is due again (seconds).
SETTLED: dict[str, tuple[Outcome, DeliveryState, float | None]] = {
    "delivered": (OK, D.DELIVERED, None),
    "an error": (BROKEN, D.PENDING, 5),
    "not reached": (UNREACHED, D.PENDING, 5),
    "told to wait": (Refused(Kind.SLOW_DOWN, TOOK, 429, 20 * SECOND), D.PENDING, 21),
    "gone": (GONE, D.FAILED, None),
}


@pytest.mark.parametrize(("outcome", "state", "due"), SETTLED.values(), ids=SETTLED)
async def test_what_an_attempt_comes_to(
    outcome: Outcome, state: DeliveryState, due: float | None
) -> None:
    desk = await deliver(delivery(), outcome)
    (row,) = desk.rows
    before, after, attempt, entry = row.before, row.after, row.attempt, row.entry
    assert entry is not None
    assert before == delivery()
    assert (after.state, after.attempts, after.version) == (state, 1, 2)
    assert after.due_at == (None if due is None else at(due))
    assert after.finished_at == (NOW if due is None else None)
    assert after.last_outcome == outcome.word
    assert attempt == DeliveryAttempt(
        at=NOW,
        number=1,
        outcome=outcome.word,
        took_ms=42,
        http_status=outcome.status,
        excerpt=outcome.excerpt or None,
    )
    assert (entry.note, entry.what, entry.detail) == (Note.DELIVERY, outcome.word, "msg_1")
    assert (entry.state, entry.count) == (JobState.SUCCEEDED, 1)
    assert desk.events == [
        DeliveryAttempted(
            delivery_id="msg_1",
            job_id="req_1",
            tenant="video-team",
            attempt=1,
            outcome=outcome.word,
            http_status=outcome.status,
            duration=TOOK,
            state=state,
            lag=0 * SECOND if state is D.DELIVERED else None,
        )
    ]


async def test_the_twelfth_failure_is_the_last() -> None:
    desk = await deliver(delivery(), *[BROKEN] * 12)
    states = [row.after.state for row in desk.rows]
    assert states == [D.PENDING] * 11 + [D.FAILED]
    last = desk.rows[-1].after
    assert (last.due_at, last.finished_at, last.attempts) == (None, NOW, 12)


@pytest.mark.parametrize("missing", ["job", "tenant", "secret"])
async def test_what_nobody_is_left_for_is_given_up_without_a_call(missing: str) -> None:
    desk = Desk(deque())
    if missing == "job":
        desk.shelf.records.clear()
    elif missing == "tenant":
        desk.setup = None
    else:
        desk.setup = replace(SETUP, secrets=())
    after = await desk.deliver(delivery(attempts=2, version=3))
    assert (after.state, after.due_at, after.last_outcome) == (D.FAILED, None, "orphaned")
    assert (after.attempts, after.version, desk.rows[0].attempt) == (2, 4, None)
    assert desk.sent == []


async def test_a_store_that_is_away_sends_nothing() -> None:
    desk = Desk(deque())
    desk.shelf.away = True
    with pytest.raises(StoreUnavailable):
        await desk.deliver(delivery())
    assert (desk.sent, desk.rows) == ([], [])


@pytest.mark.parametrize("event", EVENT_OF_STATUS.values())
async def test_the_event_is_the_deliverys_own(event: EventType) -> None:
    desk = await deliver(delivery(event=event), OK)
    assert orjson.loads(desk.sent[0].body)["type"] == event.value


def test_a_failure_keeps_the_attempts_that_went_before() -> None:
    after = settled(delivery(attempts=4, version=5), BROKEN, at(5), NOW)
    assert (after.attempts, after.version, after.due_at) == (5, 6, at(5))


def to_endpoint(**changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A delivery to the endpoint `ep_1`."""
    fields = {"endpoint": "ep_1", "channel": CHANNEL, "url": HOOK.url} | changes
    return delivery(**fields)


def with_endpoint(**changes: Any) -> WebhookSetup:  # noqa: ANN401 - fields of the record
    """The setup, with `ep_1` changed."""
    return replace(SETUP, endpoints=(replace(HOOK, **changes), OTHER))


async def test_an_endpoints_own_wishes_are_kept() -> None:
    desk = Desk(deque([OK]))
    headers = (("Authorization", "Bearer abc"),)
    wishes = {"url": "https://moved.example/", "headers": headers, "timeout": 3 * SECOND}
    desk.setup = replace(
        with_endpoint(**wishes, payload=Payload.THIN), signing_keys=(Secret("whsk_x"),)
    )
    await desk.deliver(to_endpoint())
    (attempt,) = desk.sent
    assert (attempt.url, attempt.headers, attempt.timeout) == tuple(wishes.values())
    assert attempt.keys == ("whsk_x",)
    data = orjson.loads(attempt.body)["data"]
    assert data == {"request_id": "req_1", "status": "completed"}


async def test_what_was_on_the_way_is_told_as_it_stood_then() -> None:
    desk = await deliver(to_endpoint(event=EventType.IN_PROGRESS), OK)
    data = orjson.loads(desk.sent[0].body)["data"]
    assert (data["status"], "output" in data, "cost" in data) == ("in_progress", False, False)


async def test_410_disables_the_endpoint_tells_the_others_and_keeps_the_event_for_it() -> None:
    desk = Desk(deque([GONE]))
    after = await desk.deliver(to_endpoint(), Channel(7, failures=2))
    assert (after.state, after.due_at, after.attempts) == (D.HELD, None, 1)
    (change,) = desk.changes
    assert change.after.endpoint("ep_1").disabled is Disabled.GONE
    (told,) = change.deliveries
    assert (told.endpoint, told.event) == ("ep_2", EventType.ENDPOINT_DISABLED)
    assert orjson.loads(told.data or "")["reason"] == "gone"
    assert desk.rows[0].channel.after == Channel(8)
    assert EndpointDisabled("video-team", "ep_1", Disabled.GONE) in desk.events


async def test_410_to_a_url_of_one_submit_ends_that_delivery_alone() -> None:
    desk = Desk(deque([GONE]))
    after = await desk.deliver(delivery())
    assert (after.state, desk.changes) == (D.FAILED, [])


async def test_five_days_without_a_success_disable_the_endpoint() -> None:
    policy = ChannelPolicy()
    since = NOW - policy.disable_after
    desk = Desk(deque([BROKEN]))
    failing = Channel(9, failures=40, broken=True, failing_since=since, failed_at=NOW - SECOND)
    after = await desk.deliver(to_endpoint(), failing)
    assert (after.state, desk.changes[0].after.endpoint("ep_1").disabled) == (
        D.HELD,
        Disabled.FAILING,
    )
    desk = Desk(deque([BROKEN]))
    almost = replace(failing, failing_since=since + SECOND)
    assert (await desk.deliver(to_endpoint(), almost)).state is D.PENDING


# What is known when a delivery is due -> how it stands then, without a call.
UNSENT: dict[str, tuple[WebhookSetup, Delivery, DeliveryState, str]] = {
    "disabled": (
        with_endpoint(disabled=Disabled.BY_OWNER),
        to_endpoint(),
        D.HELD,
        "endpoint_disabled",
    ),
    "deleted": (replace(SETUP, endpoints=()), to_endpoint(), D.FAILED, "endpoint_deleted"),
    "overdue": (SETUP, to_endpoint(created_at=NOW - timedelta(days=6)), D.FAILED, "overdue"),
}


@pytest.mark.parametrize(("setup", "due", "state", "why"), UNSENT.values(), ids=UNSENT)
async def test_what_cannot_be_sent_costs_no_attempt(
    setup: WebhookSetup, due: Delivery, state: DeliveryState, why: str
) -> None:
    desk = Desk(deque())
    desk.setup = setup
    after = await desk.deliver(due, Channel(4))
    assert (after.state, after.last_outcome, after.due_at, after.attempts) == (state, why, None, 0)
    (row,) = desk.rows
    assert (row.attempt, row.channel.before, row.channel.after) == (None, Channel(4), Channel(4))
    assert desk.sent == []


# The outcome -> whether it counts against an endpoint, and against the origin of a submit's URL.
COUNTS: dict[str, tuple[Outcome, bool, bool]] = {
    "an error": (BROKEN, True, False),
    "not reached": (UNREACHED, True, True),
    "too slow": (Refused(Kind.TIMEOUT, TOOK), True, True),
    "not found": (Refused(Kind.CLIENT_ERROR, TOOK, 404), True, False),
    "told to wait": (Refused(Kind.SLOW_DOWN, TOOK, 429), True, True),
    "our own doing": (Refused(Kind.BUSY, TOOK), False, False),
    "delivered": (OK, False, False),
}


@pytest.mark.parametrize(("outcome", "endpoint", "url"), COUNTS.values(), ids=COUNTS)
async def test_what_counts_against_a_channel(
    outcome: Outcome, *, endpoint: bool, url: bool
) -> None:
    for due, counts in ((to_endpoint(), endpoint), (delivery(channel=CHANNEL), url)):
        desk = Desk(deque([outcome]))
        await desk.deliver(due)
        assert (desk.rows[0].channel.after.failing_since is not None) is counts


async def test_an_outcome_is_noted_upon_the_channel_as_others_left_it() -> None:
    desk = Desk(deque([BROKEN]), learns=False, held=Channel(5, failures=1))
    await desk.deliver(to_endpoint(), Channel(4))
    assert (desk.held.version, desk.held.failures) == (6, 2)


async def test_a_stream_is_written_as_cloudevents_and_retried_like_a_url() -> None:
    desk = Desk(deque())
    desk.setup = with_endpoint(kind=EndpointKind.STREAM, url="stream:jobs@analytics")
    after = await desk.deliver(to_endpoint())
    assert (after.state, after.last_outcome) == (D.DELIVERED, "delivered")
    ((name, stream, event),) = desk.sinks.written
    assert (name, stream) == ("video-team", Stream("jobs", "analytics"))
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
    desk.sinks.away.add("analytics")
    after = await desk.deliver(to_endpoint())
    assert (after.state, after.due_at, after.last_outcome) == (D.PENDING, at(5), "connect_error")


async def test_sent_anew_the_schedule_begins_again_and_attempts_count_on() -> None:
    desk = Desk(deque([BROKEN]))
    again = delivery(attempts=12, state=D.FAILED, version=13).resent(NOW)
    after = await desk.deliver(again)
    assert (after.attempts, after.due_at, after.state) == (13, at(5), D.PENDING)
    assert desk.sent[0].number == 13
