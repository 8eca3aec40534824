"""What is due is handed out once, under a lease, and comes back if nobody says otherwise."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from core.clock import to_ms
from core.jobs.job import Fact
from core.transactions.job_update import Change, Outcome
from tests.contract.orders import SECOND, admitted, cancelled, moved, notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.jobs.job import Job
    from tests.contract.subjects import Subject

LEASE = 15 * SECOND


async def claimed(subject: Subject, limit: int = 100) -> list[str]:
    """The ids that a claim brings now."""
    return [job.id for job in await subject.jobs.claim_due(LEASE, limit)]


async def test_nothing_is_due_before_its_time(subject: Subject) -> None:
    await admitted(subject)
    subject.clock.move(5 * SECOND - timedelta(milliseconds=1))
    assert await claimed(subject) == []
    subject.clock.move(timedelta(milliseconds=1))
    assert await claimed(subject) == ["req_1"]


async def test_what_is_claimed_is_the_record_as_it_stands(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), Fact.CLAIMED)
    subject.clock.move(SECOND)
    assert list(await subject.jobs.claim_due(LEASE, 1)) == [job]


async def test_the_oldest_comes_first_and_no_more_than_asked_for(subject: Subject) -> None:
    for name in ("req_c", "req_a", "req_b"):
        await admitted(subject, name)
        subject.clock.move(SECOND)
    subject.clock.move(10 * SECOND)
    assert await claimed(subject, 2) == ["req_c", "req_a"]
    assert await claimed(subject, 2) == ["req_b"]


async def test_of_equal_age_the_names_decide(subject: Subject) -> None:
    for name in ("req_b", "req_c", "req_a"):
        await admitted(subject, name)
    subject.clock.move(5 * SECOND)
    assert await claimed(subject) == ["req_a", "req_b", "req_c"]


async def test_a_lease_keeps_everybody_off_until_it_ends(subject: Subject) -> None:
    await admitted(subject)
    subject.clock.move(5 * SECOND)
    assert await claimed(subject) == ["req_1"]
    subject.clock.move(LEASE - timedelta(milliseconds=1))
    assert await claimed(subject) == []
    subject.clock.move(timedelta(milliseconds=1))
    assert await claimed(subject) == ["req_1"]


async def test_many_claim_at_once_and_each_job_is_handed_out_once(subject: Subject) -> None:
    for number in range(30):
        await admitted(subject, f"req_{number}")
    subject.clock.move(5 * SECOND)
    hauls: list[Sequence[Job]] = await asyncio.gather(
        *(subject.jobs.claim_due(LEASE, 4) for _ in range(10))
    )
    names = [job.id for haul in hauls for job in haul]
    assert len(names) == len(set(names)) == 30


async def test_a_vanished_record_is_swept_out_of_the_index(subject: Subject) -> None:
    await admitted(subject, "req_gone")
    await admitted(subject, "req_here")
    await subject.probe.forget_job("req_gone")
    subject.clock.move(5 * SECOND)
    assert await claimed(subject) == ["req_here"]
    assert set(await subject.probe.due()) == {"req_here"}


async def test_a_job_is_put_off_and_its_polls_are_counted(subject: Subject) -> None:
    job = await admitted(subject)
    later = subject.clock.now() + timedelta(minutes=1)
    assert await subject.jobs.put_off(job, later)
    assert await subject.jobs.put_off(job, later, polled=True)
    record = await subject.jobs.load(job.id)
    assert record is not None
    assert (record.job, record.polls) == (job, 1)
    assert await subject.probe.due() == {job.id: to_ms(later)}


async def test_only_the_present_version_is_put_off(subject: Subject) -> None:
    old = await admitted(subject)
    await moved(subject, old, Fact.CLAIMED)
    due = await subject.probe.due()
    assert not await subject.jobs.put_off(old, subject.clock.now() + LEASE, polled=True)
    assert await subject.probe.due() == due
    record = await subject.jobs.load(old.id)
    assert record is not None
    assert record.polls == 0


async def test_an_ended_or_vanished_job_is_not_put_back_into_the_index(subject: Subject) -> None:
    ended = await moved(subject, await admitted(subject), Fact.CANCEL_ASKED)
    assert await subject.jobs.put_off(ended, subject.clock.now())
    gone = await admitted(subject, "req_gone")
    await subject.probe.forget_job(gone.id)
    assert not await subject.jobs.put_off(gone, subject.clock.now())
    assert ended.id not in await subject.probe.due()


async def test_a_note_leaves_the_lease_of_whoever_works_on_the_job(subject: Subject) -> None:
    """A caller's wish to cancel came while a slow submit was kept alive by its lease."""
    job = await moved(subject, await admitted(subject), Fact.CLAIMED)
    until = subject.clock.now() + LEASE
    assert await subject.jobs.put_off(job, until)
    noted = job.noted(subject.clock.now(), cancel_asked_at=subject.clock.now())
    assert await subject.jobs.store(Change(job, noted)) is Outcome.STORED
    assert await subject.probe.due() == {job.id: to_ms(until)}


async def test_deliveries_are_claimed_under_leases_too(subject: Subject) -> None:
    job = await admitted(subject)
    first, second = notice(job, "msg_1"), notice(job, "msg_2")
    await subject.jobs.store(cancelled(job, subject.clock.now(), first, second))
    store = subject.deliveries
    assert [each.delivery for each in await store.claim_due(LEASE, 1)] == [first]
    assert [each.delivery for each in await store.claim_due(LEASE, 9)] == [second]
    assert list(await store.claim_due(LEASE, 9)) == []
    subject.clock.move(LEASE)
    assert [each.delivery for each in await store.claim_due(LEASE, 9)] == [first, second]
