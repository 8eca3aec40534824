"""Nothing of a job or a callback outlives it: every key family, after all retention is over."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.jobs.job import FINAL_STATES, Errand, Fact, Job
from core.jobs.query import JobQuery
from core.operations import Pause
from core.retention import DELIVERY_LIFE, RETENTION
from core.store import keys
from core.store.key_lifetimes import FREED, Owner
from core.store.keys import CATALOGUE
from core.store.operations import ControlStore
from core.store.scripts import Scripts, read_scripts
from core.tenants.api_keys import KeyRecord
from core.tenants.cache_policy import Reuse
from core.tenants.limits import Limits, spans_at
from core.tenants.tenant import Tenant
from core.transactions.admission import ReuseRequest
from core.transactions.job_update import Change, Outcome
from core.webhooks.circuit_breaker import Channel
from core.webhooks.delivery import DeliveryState
from tests.contract.gateway import HandClock, wire_to
from tests.contract.orders import SECOND, admission, cancelled, moved, new_job, notice
from tests.contract.subjects import Subject, redis_subject
from tests.contract.test_outbox import claim, settlement
from tests.fakes.ids import SeededIds
from tests.integration.passing import every_key, held_in, pass_time, row_of, take_messages
from worker.jobs.decisions.after_end import notified
from worker.maintenance.index_pruning import Trimmer, TrimPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.store.client import Wire
    from core.transactions.admission import Admitted

RUNNING: Final = (Fact.CLAIMED, Fact.ACCEPTED)
DONE: Final = (*RUNNING, Fact.FINISHED, Fact.COLLECTED)
ENDS: Final = (
    DONE,
    (Fact.CANCEL_ASKED,),
    (Fact.CLAIMED, Fact.REJECTED),
    (*RUNNING, Fact.BROKE),
    (*RUNNING, Fact.OUT_OF_TIME),
    (Fact.CLAIMED, Fact.NO_ANSWER, Fact.GIVEN_UP),
    (Fact.CLAIMED, Fact.NO_ANSWER, Fact.RESEND_APPROVED, *DONE),
)
PASSING: Final = frozenset({Owner.JOB, Owner.CALLBACK})
DAY: Final = timedelta(days=1)


def test_every_key_says_what_frees_it() -> None:
    assert set(FREED) == {row.pattern for row in CATALOGUE}
    assert all(freed.by for freed in FREED.values())


@dataclass(frozen=True, slots=True)
class House:
    """A gateway over real Redis whose time a test can let pass."""

    subject: Subject
    clock: HandClock
    wire: Wire
    ids: SeededIds

    async def take(self, tenant: str, **fields: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A job that was taken in."""
        now = self.clock.now()
        job = replace(new_job(now, self.ids.job_id(now), tenant), **fields)
        await self.subject.jobs.admit(admission(job))
        return job

    async def share(self, tenant: str, key: str) -> Admitted:
        """A submit of what others submit too, under a key of its own."""
        now = self.clock.now()
        wish = admission(new_job(now, self.ids.job_id(now), tenant))
        self.clock.jump(SECOND)
        return await self.subject.jobs.admit(
            replace(wish, reuse=ReuseRequest(), idempotency=f"digest-{key}")
        )

    async def newest(self, number: int) -> Job:
        """The last job of `ada` but so many."""
        page = await self.subject.listed.page_of("ada", JobQuery())
        return page.jobs[number - 1]

    async def trim(self) -> None:
        """What a worker does every minute."""
        subject = self.subject
        trimmer = Trimmer("w", subject.listed, subject.tenants, self.clock, TrimPolicy())
        await trimmer.run_once()

    async def of_the_past(self) -> dict[str, str]:
        """What is still there of any job or callback, by key."""
        found = {}
        for name in await every_key(self.wire):
            held = await held_in(self.wire, name)
            if FREED[row_of(name)].owner in PASSING or "req_" in held or "msg_" in held:
                found[name] = held
        return found


@pytest.fixture
async def house(redis_flushed: str) -> AsyncIterator[House]:
    async with opened(redis_flushed) as house:
        yield house


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    """Two tenants; the one has a slot too few, the other lets little be kept."""
    clock = HandClock()
    clock.put(datetime.now(UTC))
    now = clock.now()
    async with wire_to(url) as wire:
        subject = redis_subject(clock, wire)
        for tenant in (
            Tenant("ada", now, limits=Limits(running=3, requests_per_minute=600)),
            Tenant("bob", now, keep_inputs=False, result_ttl=timedelta(hours=1)),
        ):
            key = KeyRecord(f"digest-{tenant.name}", tenant.name, now)
            assert await subject.tenants.create(tenant, key)
        yield House(subject, clock, wire, SeededIds(Random(1)))


async def live(house: House, tenant: str) -> None:
    """One job for each way to end, and some callbacks for each way of theirs."""
    subject = house.subject
    for number, facts in enumerate(ENDS):
        job = await house.take(tenant, reference=f"order {number}")
        house.clock.jump(SECOND)
        await moved(subject, job, *facts)
    late = await moved(subject, await house.take(tenant), *RUNNING)
    now = house.clock.now()
    errand = late.after(
        Fact.OUT_OF_TIME, now, due_at=now, finished_at=now, errand=Errand.AWAIT_LATE_RESULT
    )
    assert await subject.jobs.store(Change(late, errand)) is Outcome.STORED
    done = errand.noted(now, due_at=None, errand=None)
    assert await subject.jobs.store(Change(errand, done)) is Outcome.STORED
    await tell(house, tenant)


async def tell(house: House, tenant: str) -> None:
    """Three callbacks: one arrives, one is given up after a second try, one is held."""
    subject, now = house.subject, house.clock.now()
    for channel in ("a", "b", "c"):
        job = await house.take(tenant)
        event = replace(notice(job, house.ids.delivery_id(now)), channel=f"{tenant}/{channel}")
        assert await subject.jobs.store(cancelled(job, now, event)) is Outcome.STORED
    later = now + SECOND
    ends: dict[str, dict[str, Any]] = {
        f"{tenant}/a": {},
        f"{tenant}/b": {"state": DeliveryState.PENDING, "due_at": later},
        f"{tenant}/c": {"state": DeliveryState.HELD},
    }
    broken = Channel(1, at_once=1, failures=3, broken=True, until=later)
    for each in await claim(subject, 10):
        name = each.delivery.channel
        state = broken if name.endswith("b") else None
        await subject.deliveries.settle(settlement(each, state, **ends[name]))
    house.clock.jump(SECOND)
    for each in await claim(subject, 10):
        failed = settlement(each, state=DeliveryState.FAILED)
        await subject.deliveries.settle(failed)


async def test_what_was_is_gone_when_its_time_is_over(house: House) -> None:
    for tenant in ("ada", "bob"):
        await live(house, tenant)
    await ControlStore(house.wire, Scripts(house.wire, read_scripts()), house.clock).pause(
        Pause.tenant("ada")
    )
    waits = await house.take("ada")
    await moved(house.subject, waits, Fact.CANCEL_ASKED)
    await take_messages(house.wire)
    assert {FREED[row_of(name)].owner for name in await every_key(house.wire)} >= PASSING

    await pass_time(house.wire, house.clock, RETENTION - timedelta(hours=1))
    await house.trim()
    listed = await house.subject.probe.tenant_jobs("ada")
    assert len(listed) == len(ENDS) + 5, "before its time nothing is lost"
    assert await house.subject.probe.tenant_jobs("bob") == {}

    await pass_time(house.wire, house.clock, timedelta(hours=2))
    await house.trim()
    left = {row_of(name) for name in await house.of_the_past()}
    assert left == {
        "gw:delivery:{id}",
        "gw:delivery:{id}:attempts",
        "gw:outbox:{channel}:state",
        "gw:tenant:{name}:deliveries",
    }

    await pass_time(house.wire, house.clock, DELIVERY_LIFE)
    assert await house.of_the_past() == {}
    assert await claim(house.subject, 10) == []
    assert list(await house.subject.jobs.claim_due(SECOND, 10)) == []

    await pass_time(house.wire, house.clock, 401 * DAY)
    names = {row_of(name) for name in await every_key(house.wire)}
    assert "gw:use:{tenant}:{window}" not in names
    assert set(await house.subject.probe.states()) <= FINAL_STATES


async def test_what_was_shared_is_gone_too(house: House) -> None:
    subject = house.subject
    first, joined = await house.share("ada", "one"), await house.share("ada", "two")
    assert (first.reuse, joined.reuse) == (Reuse.MISS, Reuse.JOINED)
    leader, follower = [await house.newest(n) for n in (2, 1)]
    running = await moved(subject, leader, *RUNNING, Fact.FINISHED)
    now = house.clock.now()
    ended = running.after(Fact.COLLECTED, now, due_at=None, finished_at=now)
    assert await subject.jobs.store(Change(running, ended, output=b"{}")) is Outcome.STORED
    await moved(subject, follower, Fact.CANCEL_ASKED)
    assert (await house.share("ada", "three")).reuse is Reuse.HIT
    hit = await house.newest(1)
    told = notified(hit, now).after
    assert await subject.jobs.store(Change(hit, told)) is Outcome.STORED
    await take_messages(house.wire)
    rows = {row_of(name) for name in await every_key(house.wire)}
    assert {"gw:once:{scope}:{fingerprint}", "gw:idempotency:{tenant}:{digest}"} <= rows

    await pass_time(house.wire, house.clock, RETENTION + DAY)
    await house.trim()
    assert await house.of_the_past() == {}


async def test_a_deleted_tenant_leaves_nothing(house: House) -> None:
    subject = house.subject
    waits = await house.take("ada", reference="x")
    before = await subject.tenants.load("ada")
    assert before is not None
    after = replace(before, disabled=True, deleted_at=house.clock.now(), version=2)
    assert await subject.tenants.delete(before, after)
    await moved(subject, waits, *RUNNING, Fact.BROKE)
    await take_messages(house.wire)

    await pass_time(house.wire, house.clock, 401 * DAY)
    left = [name for name in await every_key(house.wire) if "ada" in name]
    assert left == []
    assert await house.of_the_past() == {}


async def test_a_booking_into_a_window_whose_time_is_over_makes_no_new_one(house: House) -> None:
    job = await moved(house.subject, await house.take("ada"), *RUNNING)
    windows = [keys.use("ada", span.name) for span in spans_at(job.created_at)]
    assert [await house.wire.execute("EXISTS", window) for window in windows] == [1, 1]
    await pass_time(house.wire, house.clock, 41 * DAY)
    await moved(house.subject, job, Fact.BROKE)
    assert [await house.wire.execute("EXISTS", window) for window in windows] == [0, 1]
