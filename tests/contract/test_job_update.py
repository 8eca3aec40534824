"""One step of one job: atomic, over the version that was read, by one writer."""

import asyncio
from collections import Counter
from datetime import timedelta

from core.clock import to_ms
from core.jobs.in_doubt import attach, resolve
from core.jobs.job import JobRecord, JobState, Trigger
from core.retention import RETENTION
from core.store.jobs import Projection
from core.transactions.job_update import Change, WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import (
    SECOND,
    admit_job,
    apply_triggers,
    cancellation_change,
    delivery_for,
    new_job,
    tenant_credential,
    timeline_entry,
)

WRITERS = 50


async def test_a_change_moves_the_record_and_its_indexes_together(backend: StoreBackend) -> None:
    before = await admit_job(backend)
    backend.clock.move(SECOND)
    now = backend.clock.now()
    after = before.transition(
        Trigger.CLAIMED, now, next_run_at=now + 15 * SECOND, lease_holder="w", attempts=1
    )
    change = Change(before, after, timeline_entry(now, "claimed", after.state))
    assert await backend.jobs.store(change) is WriteResult.STORED
    view = await backend.jobs.read(tenant_credential(), before.id, Projection.ALL)
    assert view.record.job == after
    assert [line.code for line in view.timeline] == ["admitted", "claimed"]
    assert await backend.probe.due() == {before.id: to_ms(now) + 15_000}
    assert await backend.probe.states() == {"submitting": 1}
    assert await backend.probe.wake_queue() == {"req_1:0": to_ms(before.created_at)}


async def test_a_change_of_an_older_version_is_stale_and_changes_nothing(
    backend: StoreBackend,
) -> None:
    before = await admit_job(backend)
    current = await apply_triggers(backend, before, Trigger.CLAIMED)
    late = cancellation_change(before, backend.clock.now(), delivery_for(before))
    assert await backend.jobs.store(late) is WriteResult.CONFLICT
    view = await backend.jobs.read(tenant_credential(), before.id, Projection.ALL)
    assert (view.record.job, view.delivery_ids) == (current, ())
    assert await backend.probe.states() == {"submitting": 1}
    assert await backend.probe.outbox() == {}
    assert await backend.deliveries.load("msg_1") is None


async def test_a_version_that_was_reached_again_after_a_rewind_is_stale(
    backend: StoreBackend,
) -> None:
    admitted = await admit_job(backend)
    forgotten = admitted.transition(Trigger.CLAIMED, backend.clock.now() + SECOND)
    # The store went back to before the claim, and another worker claims the job.
    (claimed,) = [await apply_triggers(backend, admitted, Trigger.CLAIMED)]
    assert forgotten.version == claimed.version
    late = forgotten.transition(Trigger.ACCEPTED, backend.clock.now() + 2 * SECOND)
    assert await backend.jobs.store(Change(forgotten, late)) is WriteResult.CONFLICT
    record = await backend.jobs.load(admitted.id)
    assert record is not None
    assert record.job == claimed


async def test_a_change_of_a_vanished_record_is_unknown_and_brings_nothing_back(
    backend: StoreBackend,
) -> None:
    never = new_job(backend.clock.now(), "req_never")
    change = cancellation_change(never, backend.clock.now(), delivery_for(never))
    assert await backend.jobs.store(change) is WriteResult.NOT_FOUND
    assert await backend.jobs.load(never.id) is None
    assert await backend.probe.due() == {}
    assert await backend.probe.outbox() == {}


async def test_of_many_writers_of_one_version_exactly_one_wins(backend: StoreBackend) -> None:
    before = await admit_job(backend)
    now = backend.clock.now()
    changes = [
        cancellation_change(before, now, delivery_for(before, f"msg_{number}"))
        if number % 2
        else Change(
            before,
            before.transition(Trigger.CLAIMED, now, lease_holder=str(number), next_run_at=now),
        )
        for number in range(WRITERS)
    ]
    outcomes = await asyncio.gather(*map(backend.jobs.store, changes))
    assert Counter(outcomes) == {WriteResult.STORED: 1, WriteResult.CONFLICT: WRITERS - 1}
    winner = changes[outcomes.index(WriteResult.STORED)]
    view = await backend.jobs.read(tenant_credential(), before.id, Projection.ALL)
    assert view.record.job == winner.after
    assert list(view.delivery_ids) == [delivery.id for delivery in winner.deliveries]
    assert await backend.probe.states() == {winner.after.state: 1}


async def test_counters_are_a_recount_of_the_records_whatever_races(backend: StoreBackend) -> None:
    jobs = [await admit_job(backend, f"req_{number}") for number in range(12)]
    now = backend.clock.now()

    async def live(number: int) -> None:
        before = jobs[number % len(jobs)]
        for fact in (Trigger.CLAIMED, Trigger.NO_ANSWER, Trigger.MARKED_LOST)[: number % 4]:
            after = before.transition(fact, now, next_run_at=now)
            if await backend.jobs.store(Change(before, after)) is not WriteResult.STORED:
                return
            before = after

    await asyncio.gather(*(live(number) for number in range(4 * len(jobs))))
    records = [await backend.jobs.load(job.id) for job in jobs]
    states = Counter(str(record.job.state) for record in records if record is not None)
    assert states["failed"] > 0
    assert await backend.probe.states() == states
    doubtful = {record.job.id for record in records if record and record.job.state == "in_doubt"}
    assert set(await backend.probe.in_doubt()) == doubtful


async def test_a_final_state_writes_its_deliveries_in_the_same_step(backend: StoreBackend) -> None:
    before = await admit_job(backend)
    now = backend.clock.now()
    first, second = delivery_for(before, "msg_1"), delivery_for(before, "msg_2")
    assert (
        await backend.jobs.store(cancellation_change(before, now, first, second))
        is WriteResult.STORED
    )
    assert await backend.deliveries.load("msg_1") == first
    assert await backend.deliveries.load("msg_2") == second
    assert await backend.probe.outbox() == {"msg_1": to_ms(now), "msg_2": to_ms(now)}
    view = await backend.jobs.read(tenant_credential(), before.id, Projection.ALL)
    assert view.delivery_ids == ("msg_1", "msg_2")


async def test_the_same_end_twice_writes_one_delivery(backend: StoreBackend) -> None:
    before = await admit_job(backend)
    end = cancellation_change(before, backend.clock.now(), delivery_for(before))
    assert await backend.jobs.store(end) is WriteResult.STORED
    assert await backend.jobs.store(end) is WriteResult.CONFLICT
    view = await backend.jobs.read(tenant_credential(), before.id, Projection.ALL)
    assert view.delivery_ids == ("msg_1",)
    assert len(view.timeline) == 2


async def test_an_ended_job_leaves_the_index_and_is_kept_for_its_time(
    backend: StoreBackend,
) -> None:
    job = await apply_triggers(backend, await admit_job(backend), Trigger.CANCEL_REQUESTED)
    assert job.is_final
    assert await backend.probe.due() == {}
    life = await backend.probe.ttl_of_job(job.id)
    assert life is not None
    assert RETENTION - timedelta(minutes=1) < life <= RETENTION


async def test_an_open_job_is_kept_for_ever(backend: StoreBackend) -> None:
    job = await apply_triggers(backend, await admit_job(backend), Trigger.CLAIMED, Trigger.ACCEPTED)
    assert await backend.probe.ttl_of_job(job.id) is None


async def test_an_output_stays_when_a_later_change_has_none(backend: StoreBackend) -> None:
    job = await apply_triggers(
        backend, await admit_job(backend), Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED
    )
    now = backend.clock.now()
    done = job.transition(Trigger.COLLECTED, now, next_run_at=now)
    assert await backend.jobs.store(Change(job, done, output=b'{"video": 1}')) is WriteResult.STORED
    priced = done.evolve(now, cost=1)
    assert await backend.jobs.store(Change(done, priced)) is WriteResult.STORED
    record = await backend.jobs.load(job.id)
    assert record is not None
    assert (record.job, record.output) == (priced, b'{"video": 1}')
    status = await backend.jobs.read(tenant_credential(), job.id, Projection.STATUS)
    assert status.record.output is None


async def test_what_is_in_doubt_is_listed_the_longest_first(backend: StoreBackend) -> None:
    for name in ("req_b", "req_a", "req_c"):
        await apply_triggers(
            backend, await admit_job(backend, name), Trigger.CLAIMED, Trigger.NO_ANSWER
        )
        backend.clock.move(SECOND)
    assert [job.id for job in await backend.jobs.list_in_doubt(2)] == ["req_b", "req_a"]
    everyone = await backend.jobs.list_in_doubt(10)
    assert [job.id for job in everyone] == ["req_b", "req_a", "req_c"]
    assert {job.state for job in everyone} == {JobState.IN_DOUBT}


async def test_a_request_of_runcomfy_belongs_to_the_first_job_that_had_it(
    backend: StoreBackend,
) -> None:
    first = await apply_triggers(backend, await admit_job(backend, "req_a"), Trigger.CLAIMED)
    second = await apply_triggers(
        backend, await admit_job(backend, "req_b"), Trigger.CLAIMED, Trigger.NO_ANSWER
    )
    now = backend.clock.now()
    assert await backend.jobs.find_by_upstream_id("up-1") is None
    running = first.accept("up-1", now, now)
    assert await backend.jobs.store(Change(first, running)) is WriteResult.STORED
    assert await backend.jobs.find_by_upstream_id("up-1") == "req_a"

    taken = Change(second, second.accept("up-1", now, now), if_upstream_id_free=True)
    assert await backend.jobs.store(taken) is WriteResult.UPSTREAM_ID_TAKEN
    assert (await backend.jobs.load("req_b")) == JobRecord(second)
    free = Change(second, second.accept("up-2", now, now), if_upstream_id_free=True)
    assert await backend.jobs.store(free) is WriteResult.STORED

    noted = running.evolve(now)
    further = Change(running, noted, second_upstream_id="up-3")
    assert await backend.jobs.store(further) is WriteResult.STORED
    assert await backend.jobs.find_by_upstream_id("up-3") == "req_a"
    # RunComfy's own answer is kept in any case.
    again = Change(noted, noted.evolve(now, upstream_id="up-2"))
    assert await backend.jobs.store(again) is WriteResult.STORED
    assert await backend.jobs.find_by_upstream_id("up-2") == "req_b"


async def test_an_attached_id_is_taken_off_again(backend: StoreBackend) -> None:
    doubt = await apply_triggers(
        backend, await admit_job(backend), Trigger.CLAIMED, Trigger.NO_ANSWER
    )
    now = backend.clock.now()
    running = attach(doubt, "up-1", now)
    await backend.jobs.store(Change(doubt, running, if_upstream_id_free=True))
    missed = running.evolve(now, upstream_error="not_found")
    await backend.jobs.store(Change(running, missed))
    undone = resolve(missed, "undo", "ops", now)
    await backend.jobs.store(Change(missed, undone.after, undone.entry, undone.trigger))
    assert [job.id for job in await backend.jobs.list_in_doubt(9)] == [doubt.id]
    again = attach(undone.after, "up-1", now)
    stored = await backend.jobs.store(Change(undone.after, again, if_upstream_id_free=True))
    assert stored is WriteResult.STORED


async def test_what_is_queued_or_being_submitted_is_listed(backend: StoreBackend) -> None:
    await admit_job(backend, "req_a")
    claimed = await apply_triggers(backend, await admit_job(backend, "req_b"), Trigger.CLAIMED)
    assert {job.id for job in await backend.jobs.list_unsubmitted()} == {"req_a", "req_b"}
    await apply_triggers(backend, claimed, Trigger.ACCEPTED)
    assert [job.id for job in await backend.jobs.list_unsubmitted()] == ["req_a"]


async def test_a_queued_job_may_become_doubtful(backend: StoreBackend) -> None:
    await apply_triggers(backend, await admit_job(backend), Trigger.NO_ANSWER)
    assert [job.id for job in await backend.jobs.list_in_doubt(9)] == ["req_1"]
    assert await backend.probe.states() == {"in_doubt": 1}
    assert await backend.jobs.list_unsubmitted() == []


async def test_a_resolved_job_is_no_longer_listed_in_doubt(backend: StoreBackend) -> None:
    job = await apply_triggers(
        backend, await admit_job(backend), Trigger.CLAIMED, Trigger.NO_ANSWER
    )
    noted = job.evolve(backend.clock.now(), reference="still in doubt")
    assert await backend.jobs.store(Change(job, noted)) is WriteResult.STORED
    assert len(await backend.jobs.list_in_doubt(10)) == 1
    await apply_triggers(backend, noted, Trigger.RESEND_APPROVED)
    assert await backend.jobs.list_in_doubt(10) == []
    assert await backend.probe.in_doubt() == {}


async def test_a_change_may_wake_a_worker(backend: StoreBackend) -> None:
    before = await admit_job(backend)
    backend.clock.move(SECOND)
    now = backend.clock.now()
    after = before.transition(Trigger.CLAIMED, now, next_run_at=now)
    await backend.jobs.store(Change(before, after, wake_worker=True))
    assert await backend.probe.wake_queue() == {
        "req_1:0": to_ms(before.created_at),
        "req_1:2": to_ms(now),
    }
