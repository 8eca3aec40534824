"""Days of callbacks in milliseconds: the real courier over the twins, by a clock that is moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from core.clock import from_ms
from core.jobs.job import Fact, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.observability.events import EndpointDisabled
from core.retention import RETENTION
from core.store.webhook_endpoints import SetupChange
from core.tenants.api_keys import Credential, KeyRecord
from core.transactions.admission import Admission
from core.transactions.job_update import Change
from core.transactions.notifications import notices
from core.webhooks.delivery import Delivery, DeliveryState, EventType
from core.webhooks.endpoint import DEFAULT_ID, Disabled
from core.webhooks.secrets import SecretKind, mint_webhook_secret
from core.webhooks.url_policy import TargetPolicy
from service.webhooks.parser import EndpointDraft, EndpointPolicy, read_endpoint
from tests.builders import HOUR, SECOND, MiddleChance, job, tenant
from tests.fakes.clock import FakeClock
from tests.fakes.face import mailroom_over
from tests.fakes.ids import SeededIds
from tests.fakes.outbox import MemorySinks
from tests.fakes.stores import memory_stores
from worker.webhooks.decisions import Known, errand_of
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy
from worker.webhooks.outcomes import Delivered, Kind, Outcome, Refused
from worker.webhooks.replay_worker import Replayer, ReplayPolicy
from worker.webhooks.retry_schedule import SchedulePolicy
from worker.webhooks.sender import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from core.jobs.job import Job
    from core.observability.events import Event
    from service.webhooks.webhook_service import Mailroom
    from tests.fakes.stores import MemoryStores

D = DeliveryState
DAY: Final = timedelta(days=1)
LEASE: Final = timedelta(seconds=30)
TOOK: Final = timedelta(milliseconds=40)
LIVE, DEAD = "https://live.example/", "https://dead.example/"
SECRET = mint_webhook_secret(b"s" * 32)


@dataclass
class Journey:
    """A courier, the receivers that it meets, and the time. Receivers answer by `meet`."""

    meet: Callable[[Attempt], Outcome] = lambda _: Delivered(200, TOOK)
    clock: FakeClock = field(default_factory=FakeClock)
    sent: list[tuple[datetime, Attempt]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stores: MemoryStores = memory_stores(self.clock)
        self.mailroom: Mailroom = mailroom_over(self.stores, self.clock)
        self.courier = Courier(
            CourierHands(
                outbox=self.stores.deliveries,
                jobs=self.stores.jobs,
                setups=self.stores.webhooks,
                sender=self,
                sinks=MemorySinks(),
                clock=self.clock,
                rng=MiddleChance(),
                ids=SeededIds(Random(3)),
                emit=self.events.append,
            ),
            CourierPolicy(),
        )
        self.replayer = Replayer(
            self.stores.replays, self.stores.deliveries, self.clock, ReplayPolicy()
        )

    async def send(self, attempt: Attempt) -> Outcome:
        self.sent.append((self.clock.now(), attempt))
        return self.meet(attempt)

    async def settle_in(self, *endpoints: str) -> None:
        """The tenant, with these endpoints; the first is its default."""
        made = tenant(webhook=endpoints[0], webhook_secrets=(SECRET,))
        key = KeyRecord("digest", made.name, self.clock.now())
        assert await self.stores.tenants.create(made, key)
        for url in endpoints[1:]:
            await self.mailroom.create(made.name, EndpointDraft({"url": url}))

    async def end_job(self, number: int = 1) -> Job:
        """A job ends now, and its endpoints are told."""
        now = self.clock.now()
        before = job(JobState.QUEUED, id=f"req_{number}", created_at=now, updated_at=now)
        line = TimelineEntry(now, Note.ADMITTED, "admitted", before.state)
        credential = Credential(before.tenant, "digest")
        await self.stores.jobs.admit(Admission(credential, before, b"{}", line))
        after = before.after(Fact.CANCEL_ASKED, now, due_at=None, finished_at=now)
        setup = await self.mailroom.setup(before.tenant)
        told = notices(before, after, setup, SeededIds(Random(number)), now)
        await self.stores.jobs.store(Change(before, after, deliveries=told))
        return after

    async def travel(self, span: timedelta) -> None:
        """Let time pass; whatever becomes due is done at its own instant."""
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
        """All of them, by age."""
        found = [await self.stores.deliveries.load(name) for name in self.stores.memory.deliveries]
        return [each for each in found if each is not None]

    async def states(self, endpoint: str = DEFAULT_ID) -> Counter[str]:
        """How an endpoint's deliveries stand."""
        return Counter(str(d.state) for d in await self.deliveries() if d.endpoint == endpoint)


def refuse(_: Attempt) -> Outcome:
    return Refused(Kind.SERVER_ERROR, TOOK, 500)


def dead_alone(attempt: Attempt) -> Outcome:
    """Nobody is at the dead one's address."""
    if attempt.url == DEAD:
        return Refused(Kind.TIMEOUT, TOOK)
    return Delivered(200, TOOK)


def assert_it_outlives_the_last_attempt(journey: Journey, ended: Job) -> None:
    """By a day, so that whoever was told last can still fetch the result."""
    expires_at = journey.stores.memory.jobs[ended.id].expires_at
    assert expires_at is not None
    assert from_ms(expires_at) >= journey.sent[-1][0] + DAY


async def test_twelve_attempts_over_84_7_hours_and_the_result_outlives_them_by_a_day() -> None:
    journey = Journey(refuse)
    await journey.settle_in(DEAD)
    began = journey.clock.now()
    ended = await journey.end_job()
    await journey.travel(6 * DAY)
    waits = [at - began for at, _ in journey.sent]
    assert len(waits) == 12
    assert round(waits[-1] / HOUR, 1) == 84.7
    assert len({attempt.webhook_id for _, attempt in journey.sent}) == 1
    assert len({attempt.body for _, attempt in journey.sent}) == 1
    (delivery,) = await journey.deliveries()
    assert (delivery.state, delivery.attempts) == (D.FAILED, 12)
    assert len(await journey.stores.deliveries.attempts(delivery.id)) == 12
    assert await journey.stores.jobs.load(ended.id) is not None
    assert_it_outlives_the_last_attempt(journey, ended)


async def test_a_result_outlives_even_a_callback_that_was_sent_anew_on_its_last_day() -> None:
    journey = Journey(refuse)
    await journey.settle_in(DEAD)
    ended = await journey.end_job()
    await journey.travel(RETENTION - HOUR)
    (delivery,) = await journey.deliveries()
    await journey.mailroom.resend(delivery.tenant, delivery.id)
    await journey.travel(5 * DAY)
    assert len(journey.sent) == 24
    assert_it_outlives_the_last_attempt(journey, ended)


async def test_secrets_rotated_on_the_way_overlap_and_then_the_old_one_is_gone() -> None:
    journey = Journey(refuse)
    await journey.settle_in(DEAD)
    await journey.end_job()
    await journey.travel(3 * HOUR)
    setup = await journey.mailroom.setup("video-team")
    rotated = setup.rotated(SecretKind.HMAC, "whsec_new", journey.clock.now(), DAY)
    assert await journey.stores.webhooks.change(SetupChange(setup, rotated))
    turn = journey.clock.now()
    await journey.travel(6 * DAY)
    for at, attempt in journey.sent:
        old, new = at < turn + DAY, at >= turn
        assert attempt.secrets == ("whsec_new",) * new + (SECRET,) * old
    assert len({attempt.secrets for _, attempt in journey.sent}) == 3


async def test_a_death_after_the_receivers_200_sends_the_same_again() -> None:
    journey = Journey()
    await journey.settle_in(LIVE)
    await journey.end_job()
    (claimed,) = await journey.stores.deliveries.claim_due(LEASE, 5)
    doomed = await journey.courier._look(claimed.delivery)
    await journey.send(_first_errand(journey, doomed))
    await journey.travel(LEASE)
    ids = [attempt.webhook_id for _, attempt in journey.sent]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    (delivery,) = await journey.deliveries()
    assert (delivery.state, delivery.attempts) == (D.DELIVERED, 1)


def _first_errand(journey: Journey, known: Known) -> Attempt:
    errand = errand_of(known, journey.clock.now(), SchedulePolicy())
    assert isinstance(errand, Attempt)
    return errand


async def test_a_dead_receiver_costs_one_probe_at_a_time_and_the_live_one_no_delay() -> None:
    journey = Journey(dead_alone)
    await journey.settle_in(DEAD, LIVE)
    for number in range(300):
        await journey.end_job(number)
    await journey.travel(HOUR)
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
    journey = Journey(dead_alone)
    await journey.settle_in(DEAD)
    for number in range(200):
        await journey.end_job(number)
    await journey.travel(10 * HOUR)
    journey.meet = lambda _: Delivered(200, TOOK)
    await journey.travel(HOUR)
    waiting = await journey.states()
    assert waiting["delivered"] > 100
    await journey.travel(2 * DAY)
    assert await journey.states() == {"delivered": 200}


async def test_nothing_waits_longer_than_its_window_behind_a_breaker() -> None:
    journey = Journey(dead_alone)
    await journey.settle_in(LIVE)
    setup = await journey.mailroom.setup("video-team")
    assert setup.find(DEFAULT_ID) is not None
    for number in range(1500):
        delivery = _adhoc(journey, number)
        await journey.stores.deliveries.post(None, delivery)
    await journey.travel(6 * DAY)
    last = max(at for at, _ in journey.sent)
    assert last - journey.sent[0][0] <= timedelta(days=5, hours=18)
    assert {d.state for d in await journey.deliveries()} == {D.FAILED}


def _adhoc(journey: Journey, number: int) -> Delivery:
    now = journey.clock.now()
    return Delivery(
        id=f"msg_{number}",
        job_id=None,
        tenant="video-team",
        event=EventType.TEST,
        url=DEAD,
        created_at=now,
        due_at=now,
        channel="video-team/https://dead.example",
        data="{}",
    )


async def test_after_five_days_an_endpoint_is_disabled_and_gets_it_all_when_enabled() -> None:
    journey = Journey(dead_alone)
    await journey.settle_in(DEAD, LIVE)
    for number in range(80):
        await journey.end_job(number)
        await journey.travel(2 * HOUR)
    lost = (await journey.mailroom.setup("video-team")).endpoint(DEFAULT_ID)
    assert lost.disabled is Disabled.FAILING
    assert lost.disabled_at is not None
    assert timedelta(days=5) <= lost.disabled_at - journey.sent[0][0] <= timedelta(days=5, hours=1)
    assert EndpointDisabled("video-team", DEFAULT_ID, Disabled.FAILING) in journey.events
    told = [d for d in await journey.deliveries() if d.event is EventType.ENDPOINT_DISABLED]
    assert [(d.endpoint != DEFAULT_ID, d.state) for d in told] == [(True, D.DELIVERED)]
    tried = len(journey.sent)
    await journey.end_job(999)
    await journey.travel(DAY)
    assert {attempt.url for _, attempt in journey.sent[tried:]} == {LIVE}
    assert set(await journey.states()) <= {"held", "failed", "pending"}

    journey.meet = lambda _: Delivered(200, TOOK)
    tried, now = len(journey.sent), journey.clock.now()
    await journey.mailroom.change("video-team", DEFAULT_ID, EndpointDraft({}, enabled=True))
    await journey.travel(DAY)
    recent = [d for d in await journey.deliveries() if d.endpoint == DEFAULT_ID]
    kept = [d for d in recent if d.created_at > now - RETENTION]
    assert {d.state for d in kept} == {D.DELIVERED}
    assert len(kept) >= 70
    paced = Counter(int((at - now) / SECOND) for at, _ in journey.sent[tried:])
    assert max(paced.values()) <= 2 * ReplayPolicy().per_second
    assert (await journey.stores.replays.load("video-team")).stretches == ()


async def test_enabled_again_an_endpoint_has_five_new_days() -> None:
    journey = Journey(refuse)
    await journey.settle_in(DEAD)
    for number in range(80):
        await journey.end_job(number)
        await journey.travel(2 * HOUR)
    await journey.mailroom.change("video-team", DEFAULT_ID, EndpointDraft({}, enabled=True))
    await journey.travel(DAY)
    setup = await journey.mailroom.setup("video-team")
    assert setup.endpoint(DEFAULT_ID).disabled is None


async def test_410_stops_everything_for_that_endpoint_at_once() -> None:
    journey = Journey(lambda _: Refused(Kind.GONE, TOOK, 410))
    await journey.settle_in(DEAD)
    for number in range(50):
        await journey.end_job(number)
    await journey.travel(DAY)
    assert len(journey.sent) <= 32
    assert await journey.states() == {"held": 50}


async def test_a_receiver_that_asks_for_less_is_left_alone_for_so_long() -> None:
    journey = Journey(lambda _: Refused(Kind.SLOW_DOWN, TOOK, 429, retry_after=600 * SECOND))
    await journey.settle_in(LIVE)
    for number in range(40):
        await journey.end_job(number)
    began = journey.clock.now()
    await journey.travel(599 * SECOND)
    assert {at for at, _ in journey.sent} == {began}
    await journey.travel(SECOND)
    second = [at for at, _ in journey.sent if at > began]
    assert len(second) <= 16


@pytest.mark.parametrize("url", ["stream:jobs", "https://moved.example/"])
async def test_a_changed_url_holds_for_what_waits_already(url: str) -> None:
    journey = Journey(refuse)
    await journey.settle_in(DEAD)
    await journey.end_job()
    await journey.travel(HOUR)
    draft = read_endpoint({"url": url}, EndpointPolicy(TargetPolicy()))
    await journey.mailroom.change("video-team", DEFAULT_ID, draft)
    journey.meet = lambda _: Delivered(200, TOOK)
    await journey.travel(DAY)
    assert await journey.states() == {"delivered": 1}
