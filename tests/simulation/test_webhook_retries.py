"""Days of deliveries in milliseconds: the real delivery worker, in-memory stores, a moved clock."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

import pytest

from core.clock import from_ms
from core.jobs.job import Job, JobState, Trigger
from core.observability.events import EndpointDisabled, Event
from core.observability.outcomes import FailureKind
from core.retention import RETENTION
from core.tenants.api_keys import ApiKey, Credential
from core.transactions.admission import Admission
from core.transactions.job_update import Change
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.transactions.webhook_deliveries import job_deliveries
from core.webhooks.delivery import Delivery, DeliveryState, WebhookEventType
from core.webhooks.endpoint import DEFAULT_ENDPOINT_ID, DisabledReason
from core.webhooks.secrets import SecretKind, encode_webhook_secret
from service.webhooks.requests import EndpointChange, EndpointRequest
from service.webhooks.webhook_service import WebhookService
from tests.support.app import webhook_service_over
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.memory_store.webhooks import MemoryEventStreams
from tests.support.records import HOUR, SECOND, MidpointRandom, job, tenant, webhook_config
from worker.webhooks.decisions import DeliveryContext, DeliveryRules, decide_action
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.replay_worker import ReplayPolicy, ReplayWorker
from worker.webhooks.retry_schedule import SchedulePolicy
from worker.webhooks.sender import AttemptRequest
from worker.webhooks.transport import DeliveryTransport

D = DeliveryState
DAY: Final = timedelta(days=1)
LEASE: Final = timedelta(seconds=30)
DURATION: Final = timedelta(milliseconds=40)
LIVE, DEAD = "https://live.example/", "https://dead.example/"
SECRET = encode_webhook_secret(b"s" * 32)


@dataclass
class DeliverySimulation:
    """A delivery worker, its receivers and the time. Receivers answer as set by `meet`."""

    respond: Callable[[AttemptRequest], AttemptResult] = lambda _: Delivered(200, DURATION)
    clock: FakeClock = field(default_factory=FakeClock)
    sent: list[tuple[datetime, AttemptRequest]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores: MemoryStores = memory_stores(self.clock)
        self.mailroom: WebhookService = webhook_service_over(self.stores, self.clock)
        self.courier = DeliveryWorker(
            self.stores,
            DeliveryTransport(self, MemoryEventStreams(), self.clock),
            DeliveryRules(MidpointRandom()),
            self.clock,
            SeededIds(Random(3)),
            self.events.append,
        )
        self.replayer = ReplayWorker(
            self.stores.replays,
            self.stores.deliveries,
            self.clock,
            ReplayPolicy(),
            self.events.append,
        )

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        self.sent.append((self.clock.now(), attempt))
        return self.respond(attempt)

    async def create_tenant(self, *endpoints: str) -> None:
        """The tenant, with these endpoints; the first is its default."""
        made = tenant()
        key = ApiKey("digest", made.name, self.clock.now())
        config = webhook_config(endpoints[0], SECRET)
        assert await self.stores.tenants.create(made, key, config)
        for url in endpoints[1:]:
            await self.mailroom.create_endpoint(made.name, EndpointRequest(url=url))

    async def end_job(self, number: int = 1) -> Job:
        """End a job now, with a delivery to each endpoint."""
        now = self.clock.now()
        before = job(JobState.QUEUED, id=f"req_{number}", created_at=now, updated_at=now)
        credential = Credential(before.tenant, "digest")
        await self.stores.jobs.admit(Admission(credential, before, b"{}"))
        after = before.transition(Trigger.CANCEL_REQUESTED, now, next_run_at=None, finished_at=now)
        setup = await self.mailroom.load_config(before.tenant)
        told = job_deliveries(after, WebhookEventType.CANCELLED, setup, now)
        await self.stores.jobs.store(Change(before, after, deliveries=told))
        return after

    async def run(self, span: timedelta) -> None:
        """Move the time from one due instant to the next, and deliver at each."""
        end = self.clock.now() + span
        while (due := self._next()) is not None and due <= end:
            self.clock.move(max(due - self.clock.now(), timedelta()))
            await self.replayer.run_once()
            for claimed in await self.stores.deliveries.claim_due(LEASE, 100):
                await self.courier.deliver(claimed)
        self.clock.move(end - self.clock.now())

    def _next(self) -> datetime | None:
        memory = self.stores.memory
        times = [*memory.outbox.values(), *memory.replays_due.values()]
        return from_ms(min(times)) if times else None

    async def deliveries(self) -> list[Delivery]:
        """All deliveries, oldest first."""
        found = [await self.stores.deliveries.load(name) for name in self.stores.memory.deliveries]
        return [each for each in found if each is not None]

    async def states(self, endpoint: str = DEFAULT_ENDPOINT_ID) -> Counter[str]:
        """The states of an endpoint's deliveries."""
        return Counter(str(d.state) for d in await self.deliveries() if d.endpoint_id == endpoint)


def answer_unavailable(_: AttemptRequest) -> AttemptResult:
    return AttemptFailed(FailureKind.SERVER_ERROR, DURATION, 500)


def refuse_dead_host(attempt: AttemptRequest) -> AttemptResult:
    """Fail every attempt at the dead endpoint."""
    if attempt.url == DEAD:
        return AttemptFailed(FailureKind.TIMEOUT, DURATION)
    return Delivered(200, DURATION)


def assert_retained_past_last_attempt(journey: DeliverySimulation, ended: Job) -> None:
    """By a day, so that the receiver of the last attempt can still fetch the result."""
    expires_at = journey.stores.memory.jobs[ended.id].expires_at
    assert expires_at is not None
    assert from_ms(expires_at) >= journey.sent[-1][0] + DAY


async def test_twelve_attempts_over_84_7_hours_and_the_result_outlives_them_by_a_day() -> None:
    journey = DeliverySimulation(answer_unavailable)
    await journey.create_tenant(DEAD)
    began = journey.clock.now()
    ended = await journey.end_job()
    await journey.run(6 * DAY)
    waits = [at - began for at, _ in journey.sent]
    assert len(waits) == 12
    assert round(waits[-1] / HOUR, 1) == 84.7
    assert len({attempt.webhook_id for _, attempt in journey.sent}) == 1
    assert len({attempt.body for _, attempt in journey.sent}) == 1
    (delivery,) = await journey.deliveries()
    assert (delivery.state, delivery.attempts) == (D.FAILED, 12)
    assert len(await journey.stores.deliveries.list_attempts(delivery.id)) == 12
    assert await journey.stores.jobs.load(ended.id) is not None
    assert_retained_past_last_attempt(journey, ended)


async def test_a_result_outlives_even_a_delivery_that_was_resent_on_its_last_day() -> None:
    journey = DeliverySimulation(answer_unavailable)
    await journey.create_tenant(DEAD)
    ended = await journey.end_job()
    await journey.run(RETENTION - HOUR)
    (delivery,) = await journey.deliveries()
    await journey.mailroom.resend(delivery.tenant, delivery.id)
    await journey.run(5 * DAY)
    assert len(journey.sent) == 24
    assert_retained_past_last_attempt(journey, ended)


async def test_secrets_rotated_on_the_way_overlap_and_then_the_old_one_is_gone() -> None:
    journey = DeliverySimulation(answer_unavailable)
    await journey.create_tenant(DEAD)
    await journey.end_job()
    await journey.run(3 * HOUR)
    setup = await journey.mailroom.load_config("video-team")
    rotated = setup.with_rotated_secret(SecretKind.HMAC, "whsec_new", journey.clock.now(), DAY)
    assert await journey.stores.webhook_configs.update(WebhookConfigUpdate(setup, rotated))
    turn = journey.clock.now()
    await journey.run(6 * DAY)
    for at, attempt in journey.sent:
        old, new = at < turn + DAY, at >= turn
        assert attempt.secrets == ("whsec_new",) * new + (SECRET,) * old
    assert len({attempt.secrets for _, attempt in journey.sent}) == 3


async def test_a_death_after_the_receivers_200_sends_the_same_again() -> None:
    journey = DeliverySimulation()
    await journey.create_tenant(LIVE)
    await journey.end_job()
    (claimed,) = await journey.stores.deliveries.claim_due(LEASE, 5)
    doomed = await journey.courier._load_context(claimed)
    await journey.send(_first_action(journey, doomed))
    await journey.run(LEASE)
    ids = [attempt.webhook_id for _, attempt in journey.sent]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    (delivery,) = await journey.deliveries()
    assert (delivery.state, delivery.attempts) == (D.DELIVERED, 1)


def _first_action(journey: DeliverySimulation, known: DeliveryContext) -> AttemptRequest:
    errand = decide_action(known, journey.clock.now(), SchedulePolicy())
    assert isinstance(errand, AttemptRequest)
    return errand


async def test_a_dead_receiver_costs_one_probe_at_a_time_and_the_live_one_no_delay() -> None:
    journey = DeliverySimulation(refuse_dead_host)
    await journey.create_tenant(DEAD, LIVE)
    for number in range(300):
        await journey.end_job(number)
    await journey.run(HOUR)
    instants: dict[str, list[datetime]] = {LIVE: [], DEAD: []}
    for at, attempt in journey.sent:
        instants[attempt.url].append(at)
    assert len(instants[LIVE]) == 300
    assert max(instants[LIVE]) - min(instants[LIVE]) <= SECOND
    first, *later = sorted(Counter(instants[DEAD]).items())
    assert first[1] <= 32
    assert {count for _, count in later} == {1}
    assert len(later) < 60


async def test_what_waited_for_a_receiver_arrives_when_it_is_back() -> None:
    journey = DeliverySimulation(refuse_dead_host)
    await journey.create_tenant(DEAD)
    for number in range(200):
        await journey.end_job(number)
    await journey.run(10 * HOUR)
    journey.respond = lambda _: Delivered(200, DURATION)
    await journey.run(HOUR)
    waiting = await journey.states()
    assert waiting["delivered"] > 100
    await journey.run(2 * DAY)
    assert await journey.states() == {"delivered": 200}


async def test_nothing_waits_longer_than_its_window_behind_a_breaker() -> None:
    journey = DeliverySimulation(refuse_dead_host)
    await journey.create_tenant(LIVE)
    setup = await journey.mailroom.load_config("video-team")
    assert setup.find_endpoint(DEFAULT_ENDPOINT_ID) is not None
    for number in range(1500):
        delivery = _adhoc(journey, number)
        await journey.stores.deliveries.enqueue(None, delivery)
    await journey.run(6 * DAY)
    last = max(at for at, _ in journey.sent)
    assert last - journey.sent[0][0] <= timedelta(days=5, hours=18)
    assert {d.state for d in await journey.deliveries()} == {D.FAILED}


def _adhoc(journey: DeliverySimulation, number: int) -> Delivery:
    now = journey.clock.now()
    return Delivery(
        id=f"msg_{number}",
        job_id=None,
        tenant="video-team",
        event=WebhookEventType.TEST,
        url=DEAD,
        created_at=now,
        next_attempt_at=now,
        queue="video-team/https://dead.example",
        data="{}",
    )


async def test_after_five_days_an_endpoint_is_disabled_and_gets_it_all_when_enabled() -> None:
    journey = DeliverySimulation(refuse_dead_host)
    await journey.create_tenant(DEAD, LIVE)
    for number in range(80):
        await journey.end_job(number)
        await journey.run(2 * HOUR)
    lost = (await journey.mailroom.load_config("video-team")).get_endpoint(DEFAULT_ENDPOINT_ID)
    assert lost.disabled_reason is DisabledReason.FAILING
    assert lost.disabled_at is not None
    assert timedelta(days=5) <= lost.disabled_at - journey.sent[0][0] <= timedelta(days=5, hours=1)
    assert (
        EndpointDisabled("video-team", DEFAULT_ENDPOINT_ID, DisabledReason.FAILING)
        in journey.events
    )
    told = [d for d in await journey.deliveries() if d.event is WebhookEventType.ENDPOINT_DISABLED]
    assert [(d.endpoint_id != DEFAULT_ENDPOINT_ID, d.state) for d in told] == [(True, D.DELIVERED)]
    tried = len(journey.sent)
    await journey.end_job(999)
    await journey.run(DAY)
    assert {attempt.url for _, attempt in journey.sent[tried:]} == {LIVE}
    assert set(await journey.states()) <= {"held", "failed", "pending"}

    journey.respond = lambda _: Delivered(200, DURATION)
    tried, now = len(journey.sent), journey.clock.now()
    await journey.mailroom.change_endpoint(
        "video-team", DEFAULT_ENDPOINT_ID, EndpointChange(enabled=True)
    )
    await journey.run(DAY)
    recent = [d for d in await journey.deliveries() if d.endpoint_id == DEFAULT_ENDPOINT_ID]
    kept = [d for d in recent if d.created_at > now - RETENTION]
    assert {d.state for d in kept} == {D.DELIVERED}
    assert len(kept) >= 70
    paced = Counter(int((at - now) / SECOND) for at, _ in journey.sent[tried:])
    assert max(paced.values()) <= 2 * ReplayPolicy().events_per_second
    assert (await journey.stores.replays.load("video-team")).ranges == ()


async def test_enabled_again_an_endpoint_has_five_new_days() -> None:
    journey = DeliverySimulation(answer_unavailable)
    await journey.create_tenant(DEAD)
    for number in range(80):
        await journey.end_job(number)
        await journey.run(2 * HOUR)
    await journey.mailroom.change_endpoint(
        "video-team", DEFAULT_ENDPOINT_ID, EndpointChange(enabled=True)
    )
    await journey.run(DAY)
    setup = await journey.mailroom.load_config("video-team")
    assert setup.get_endpoint(DEFAULT_ENDPOINT_ID).disabled_reason is None


async def test_410_stops_everything_for_that_endpoint_at_once() -> None:
    journey = DeliverySimulation(lambda _: AttemptFailed(FailureKind.GONE, DURATION, 410))
    await journey.create_tenant(DEAD)
    for number in range(50):
        await journey.end_job(number)
    await journey.run(DAY)
    assert len(journey.sent) <= 32
    assert await journey.states() == {"held": 50}


async def test_a_receiver_that_asks_for_less_is_left_alone_for_so_long() -> None:
    journey = DeliverySimulation(
        lambda _: AttemptFailed(FailureKind.THROTTLED, DURATION, 429, retry_after=600 * SECOND)
    )
    await journey.create_tenant(LIVE)
    for number in range(40):
        await journey.end_job(number)
    began = journey.clock.now()
    await journey.run(599 * SECOND)
    assert {at for at, _ in journey.sent} == {began}
    await journey.run(SECOND)
    second = [at for at, _ in journey.sent if at > began]
    assert len(second) <= 16


@pytest.mark.parametrize("url", ["stream:jobs", "https://moved.example/"])
async def test_a_changed_url_holds_for_what_waits_already(url: str) -> None:
    journey = DeliverySimulation(answer_unavailable)
    await journey.create_tenant(DEAD)
    await journey.end_job()
    await journey.run(HOUR)
    change = EndpointChange(url=url)
    await journey.mailroom.change_endpoint("video-team", DEFAULT_ENDPOINT_ID, change)
    journey.respond = lambda _: Delivered(200, DURATION)
    await journey.run(DAY)
    assert await journey.states() == {"delivered": 1}
