"""One step of one job: all of it or nothing, over the version that was read, and by one writer."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from core.clock import to_ms
from core.jobs.job import Fact, JobState
from core.retention import RETENTION
from core.store.jobs import Depth
from core.transactions.job_update import Change, Outcome
from tests.contract.orders import (
    SECOND,
    admitted,
    cancelled,
    credential,
    entry,
    moved,
    new_job,
    notice,
)

if TYPE_CHECKING:
    from tests.contract.subjects import Subject

WRITERS = 50


async def test_a_change_moves_the_record_and_its_indexes_together(subject: Subject) -> None:
    before = await admitted(subject)
    subject.clock.move(SECOND)
    now = subject.clock.now()
    after = before.after(Fact.CLAIMED, now, due_at=now + 15 * SECOND, holder="w", attempts=1)
    change = Change(before, after, entries=(entry(now, "claimed", after.state),))
    assert await subject.jobs.store(change) is Outcome.STORED
    view = await subject.jobs.read(credential(), before.id, Depth.ALL)
    assert view.record.job == after
    assert [line.what for line in view.timeline] == ["admitted", "claimed"]
    assert await subject.probe.due() == {before.id: to_ms(now) + 15_000}
    assert await subject.probe.states() == {"submitting": 1}
    assert await subject.probe.bell() == {"req_1:0": to_ms(before.created_at)}


async def test_a_change_of_an_older_version_is_stale_and_changes_nothing(subject: Subject) -> None:
    before = await admitted(subject)
    current = await moved(subject, before, Fact.CLAIMED)
    late = cancelled(before, subject.clock.now(), notice(before))
    assert await subject.jobs.store(late) is Outcome.STALE
    view = await subject.jobs.read(credential(), before.id, Depth.ALL)
    assert (view.record.job, view.delivery_ids) == (current, ())
    assert await subject.probe.states() == {"submitting": 1}
    assert await subject.probe.outbox() == {}
    assert await subject.deliveries.load("msg_1") is None


async def test_a_change_of_a_vanished_record_is_unknown_and_brings_nothing_back(
    subject: Subject,
) -> None:
    never = new_job(subject.clock.now(), "req_never")
    change = cancelled(never, subject.clock.now(), notice(never))
    assert await subject.jobs.store(change) is Outcome.UNKNOWN
    assert await subject.jobs.load(never.id) is None
    assert await subject.probe.due() == {}
    assert await subject.probe.outbox() == {}


async def test_of_many_writers_of_one_version_exactly_one_wins(subject: Subject) -> None:
    before = await admitted(subject)
    now = subject.clock.now()
    changes = [
        cancelled(before, now, notice(before, f"msg_{number}"))
        if number % 2
        else Change(before, before.after(Fact.CLAIMED, now, holder=str(number), due_at=now))
        for number in range(WRITERS)
    ]
    outcomes = await asyncio.gather(*map(subject.jobs.store, changes))
    assert Counter(outcomes) == {Outcome.STORED: 1, Outcome.STALE: WRITERS - 1}
    winner = changes[outcomes.index(Outcome.STORED)]
    view = await subject.jobs.read(credential(), before.id, Depth.ALL)
    assert view.record.job == winner.after
    assert list(view.delivery_ids) == [delivery.id for delivery in winner.deliveries]
    assert await subject.probe.states() == {winner.after.state: 1}


async def test_counters_are_a_recount_of_the_records_whatever_races(subject: Subject) -> None:
    jobs = [await admitted(subject, f"req_{number}") for number in range(12)]
    now = subject.clock.now()

    async def live(number: int) -> None:
        before = jobs[number % len(jobs)]
        for fact in (Fact.CLAIMED, Fact.NO_ANSWER, Fact.GIVEN_UP)[: number % 4]:
            after = before.after(fact, now, due_at=now)
            if await subject.jobs.store(Change(before, after)) is not Outcome.STORED:
                return
            before = after

    await asyncio.gather(*(live(number) for number in range(4 * len(jobs))))
    records = [await subject.jobs.load(job.id) for job in jobs]
    states = Counter(str(record.job.state) for record in records if record is not None)
    assert states["failed"] > 0
    assert await subject.probe.states() == states
    doubtful = {record.job.id for record in records if record and record.job.state == "in_doubt"}
    assert set(await subject.probe.doubts()) == doubtful


async def test_a_final_state_brings_its_callbacks_in_the_same_step(subject: Subject) -> None:
    before = await admitted(subject)
    now = subject.clock.now()
    first, second = notice(before, "msg_1"), notice(before, "msg_2")
    assert await subject.jobs.store(cancelled(before, now, first, second)) is Outcome.STORED
    assert await subject.deliveries.load("msg_1") == first
    assert await subject.deliveries.load("msg_2") == second
    assert await subject.probe.outbox() == {"msg_1": to_ms(now), "msg_2": to_ms(now)}
    view = await subject.jobs.read(credential(), before.id, Depth.ALL)
    assert view.delivery_ids == ("msg_1", "msg_2")


async def test_the_same_end_twice_calls_back_once(subject: Subject) -> None:
    before = await admitted(subject)
    end = cancelled(before, subject.clock.now(), notice(before))
    assert await subject.jobs.store(end) is Outcome.STORED
    assert await subject.jobs.store(end) is Outcome.STALE
    view = await subject.jobs.read(credential(), before.id, Depth.ALL)
    assert view.delivery_ids == ("msg_1",)
    assert len(view.timeline) == 2


async def test_an_ended_job_leaves_the_index_and_is_kept_for_its_time(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), Fact.CANCEL_ASKED)
    assert job.final
    assert await subject.probe.due() == {}
    life = await subject.probe.life_of_job(job.id)
    assert life is not None
    assert RETENTION - timedelta(minutes=1) < life <= RETENTION


async def test_an_open_job_is_kept_for_ever(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), Fact.CLAIMED, Fact.ACCEPTED)
    assert await subject.probe.life_of_job(job.id) is None


async def test_an_output_stays_when_a_later_change_has_none(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), Fact.CLAIMED, Fact.ACCEPTED, Fact.FINISHED)
    now = subject.clock.now()
    done = job.after(Fact.COLLECTED, now, due_at=now)
    assert await subject.jobs.store(Change(job, done, output=b'{"video": 1}')) is Outcome.STORED
    priced = done.noted(now, cost=1)
    assert await subject.jobs.store(Change(done, priced)) is Outcome.STORED
    record = await subject.jobs.load(job.id)
    assert record is not None
    assert (record.job, record.output) == (priced, b'{"video": 1}')
    status = await subject.jobs.read(credential(), job.id, Depth.STATUS)
    assert status.record.output is None


async def test_what_is_in_doubt_is_listed_the_longest_first(subject: Subject) -> None:
    for name in ("req_b", "req_a", "req_c"):
        await moved(subject, await admitted(subject, name), Fact.CLAIMED, Fact.NO_ANSWER)
        subject.clock.move(SECOND)
    assert [job.id for job in await subject.jobs.doubts(2)] == ["req_b", "req_a"]
    everyone = await subject.jobs.doubts(10)
    assert [job.id for job in everyone] == ["req_b", "req_a", "req_c"]
    assert {job.state for job in everyone} == {JobState.IN_DOUBT}


async def test_a_resolved_doubt_is_listed_no_more(subject: Subject) -> None:
    job = await moved(subject, await admitted(subject), Fact.CLAIMED, Fact.NO_ANSWER)
    noted = job.noted(subject.clock.now(), reference="still in doubt")
    assert await subject.jobs.store(Change(job, noted)) is Outcome.STORED
    assert len(await subject.jobs.doubts(10)) == 1
    await moved(subject, noted, Fact.RESEND_APPROVED)
    assert await subject.jobs.doubts(10) == []
    assert await subject.probe.doubts() == {}


async def test_a_change_may_ring(subject: Subject) -> None:
    before = await admitted(subject)
    subject.clock.move(SECOND)
    now = subject.clock.now()
    after = before.after(Fact.CLAIMED, now, due_at=now)
    await subject.jobs.store(Change(before, after, ring=True))
    assert await subject.probe.bell() == {
        "req_1:0": to_ms(before.created_at),
        "req_1:2": to_ms(now),
    }
