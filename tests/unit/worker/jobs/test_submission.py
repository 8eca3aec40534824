"""The paid call: never sent twice without approval, its answer never lost, its lease renewed."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.errors import StoreUnavailable
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, Trigger, WaitingFor
from core.observability.events import SubmitAnswered
from core.transactions.job_update import Change, WriteResult
from tests.support.clock import run_ready_tasks
from tests.support.records import MINUTE, NOW, POLICY, SECOND, at, fault, job
from tests.support.worker import WorkerHarness
from worker.ports import (
    Accepted,
    Indeterminate,
    NotSent,
    RefusalScope,
    Rejected,
    SubmitAnswer,
)

S, F = JobState, Trigger
ACCEPTED = Accepted("up-9")
NOT_SENT = NotSent(fault("connect_error", None))
REJECTED = Rejected(fault("invalid_input", 422))
NO_ANSWER = Indeterminate(fault("read_timeout", None))
ANSWERS = {
    "accepted": ACCEPTED,
    "not sent": NOT_SENT,
    "rejected": REJECTED,
    "no answer": NO_ANSWER,
}


@pytest.fixture
def worker() -> WorkerHarness:
    return WorkerHarness()


def around_store(
    worker: WorkerHarness,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> None:
    """Run a callback right before or after the next change is stored."""
    plain = worker.jobs.store

    async def store(change: Change) -> WriteResult:
        worker.jobs.store = plain  # type: ignore[method-assign]  # once
        if before is not None:
            before()
        try:
            return await plain(change)
        finally:
            if after is not None:
                after()

    worker.jobs.store = store  # type: ignore[method-assign]  # a fake of our own


# --- the claim


async def test_a_claim_that_somebody_else_made_first_sends_nothing(worker: WorkerHarness) -> None:
    worker.jobs.add(job(S.SUBMITTING, lease_holder="worker-b", version=2))
    await worker.lifecycle.advance(job())
    assert worker.upstream.sent == 0
    assert worker.jobs.job().lease_holder == "worker-b"


async def test_a_job_whose_input_is_gone_sends_nothing(worker: WorkerHarness) -> None:
    worker.jobs.has_input = False
    assert await worker.advance(job()) == job()
    assert worker.upstream.sent == 0


async def test_a_store_that_is_away_at_the_claim_sends_nothing(worker: WorkerHarness) -> None:
    worker.jobs.add(job())
    worker.jobs.unavailable = True
    with pytest.raises(StoreUnavailable):
        await worker.lifecycle.advance(job())
    assert worker.upstream.sent == 0


async def test_a_silent_claim_that_was_not_written_leaves_the_job_alone(
    worker: WorkerHarness,
) -> None:
    worker.jobs.lost_answers = deque([False])
    assert await worker.advance(job()) == job()
    assert worker.upstream.sent == 0


async def test_a_silent_claim_that_was_written_is_taken_back(worker: WorkerHarness) -> None:
    worker.jobs.lost_answers = deque([True])
    after = await worker.advance(job())
    assert after is not None
    assert (after.state, after.attempts, after.billed) == (S.QUEUED, 0, BillingStatus.NO)
    assert (after.next_run_at, worker.upstream.sent) == (NOW + SECOND, 0)
    assert worker.triggers == [F.NOT_SENT]


async def test_a_silent_claim_is_taken_back_when_the_store_returns(worker: WorkerHarness) -> None:
    worker.jobs.lost_answers = deque([True, False, True])
    worker.jobs.add(job())
    working = asyncio.create_task(worker.lifecycle.advance(job()))
    await run_ready_tasks()
    assert worker.jobs.job().state is S.SUBMITTING
    worker.jobs.unavailable = True
    await worker.clock.advance(10 * SECOND)
    worker.jobs.unavailable = False
    await worker.clock.advance(2 * SECOND)
    await working
    assert (worker.jobs.job().state, worker.upstream.sent) == (S.QUEUED, 0)


@pytest.mark.parametrize(
    "theirs",
    [
        job(S.SUBMITTING, lease_holder="worker-b", version=2),
        job(S.SUBMITTING, lease_holder="worker-a", sent_at=at(-60), attempts=2, version=4),
        job(S.CANCELLED, version=2),
        job(S.CANCELLED, version=2, lease_holder=None, sent_at=None, attempts=0),
    ],
    ids=["another worker's", "an earlier one of mine", "ended", "ended unsent"],
)
async def test_a_silent_claim_takes_nothing_from_others(worker: WorkerHarness, theirs: Job) -> None:
    worker.jobs.add(job())
    worker.jobs.lost_answers = deque([False])
    around_store(worker, before=lambda: worker.jobs.add(theirs))
    await worker.lifecycle.advance(job())
    assert (worker.jobs.job(), worker.upstream.sent) == (theirs, 0)


async def test_a_silent_claim_is_taken_back_though_a_wish_to_cancel_came(
    worker: WorkerHarness,
) -> None:
    worker.jobs.lost_answers = deque([True])
    around_store(worker, after=lambda: worker.last_change(cancel_requested_at=NOW))
    after = await worker.advance(job())
    assert after is not None
    assert (after.state, after.billed, worker.upstream.sent) == (S.CANCELLED, BillingStatus.NO, 0)


async def test_a_claim_of_a_job_that_has_vanished_ends_quietly(worker: WorkerHarness) -> None:
    worker.jobs.lost_answers = deque([False])
    around_store(worker, before=worker.jobs.records.clear)
    await worker.advance(job())
    assert (worker.now_is(), worker.upstream.sent) == (None, 0)


# --- an answer that the store must get


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (ACCEPTED, S.RUNNING),
        (NOT_SENT, S.QUEUED),
        (REJECTED, S.FAILED),
        (NO_ANSWER, S.IN_DOUBT),
    ],
    ids=ANSWERS,
)
async def test_an_answer_outlives_a_store_that_is_away(
    worker: WorkerHarness, answer: SubmitAnswer, state: JobState
) -> None:
    async def lose_store() -> None:
        worker.jobs.unavailable = True

    worker.upstream.during_submit = lose_store
    worker.upstream.submits = deque([answer])
    worker.jobs.add(job())
    working = asyncio.create_task(worker.lifecycle.advance(job()))
    await worker.clock.advance(MINUTE)
    assert worker.jobs.job().state is S.SUBMITTING
    assert isinstance(worker.events[-1], SubmitAnswered)
    worker.jobs.unavailable = False
    await worker.clock.advance(SECOND)
    await working
    assert (worker.jobs.job().state, worker.upstream.sent) == (state, 1)
    assert worker.clock.sleepers == 0


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_stored_once_though_the_store_fell_silent(
    worker: WorkerHarness, answer: SubmitAnswer, *, carried_out: bool
) -> None:
    worker.jobs.lost_answers = deque([None, carried_out])
    worker.upstream.submits = deque([answer])
    worker.jobs.add(job())
    working = asyncio.create_task(worker.lifecycle.advance(job()))
    await worker.clock.advance(SECOND / 2)
    await working
    assert worker.upstream.sent == 1
    assert len(worker.jobs.changes) == 2
    assert (worker.jobs.job().upstream_id == "up-9") is (answer is ACCEPTED)
    assert worker.warnings == []


# --- the gate and the places


@pytest.mark.parametrize(
    ("record", "due"),
    [
        (job(), 30),
        (job(start_deadline=at(10)), 10),
        (job(deadline=at(20)), 20),
        (job(start_deadline=at(40)), 30),
        (job(start_deadline=NOW, attempts=1, resends_approved=1), 30),
    ],
    ids=["no limit", "start_by", "finish_by", "later", "a resend"],
)
async def test_a_closed_gate_lets_the_job_wait_without_a_claim(
    worker: WorkerHarness, record: Job, due: float
) -> None:
    worker.gate.reopens_at = at(30)
    waiting = await worker.advance(record)
    assert waiting is not None
    assert (waiting.state, waiting.waiting_for) == (S.QUEUED, WaitingFor.RUNCOMFY)
    assert worker.jobs.due["req_1"] == at(due)
    assert (worker.upstream.sent, worker.triggers) == (0, [])
    assert await worker.advance(waiting) == waiting  # the next check writes nothing
    assert len(worker.jobs.changes) == 1


async def test_a_short_wait_costs_no_write_and_no_slot(worker: WorkerHarness) -> None:
    worker.gate.reopens_at = at(2)
    assert await worker.advance(job()) == job()
    assert (worker.jobs.due["req_1"], worker.jobs.changes) == (at(2), [])


async def test_a_job_that_waited_queues_for_a_slot_again(worker: WorkerHarness) -> None:
    after = await worker.advance(job(waiting_for=WaitingFor.BALANCE, deadline=at(90)))
    assert after is not None
    assert (after.waiting_for, after.next_run_at, worker.upstream.sent) == (None, at(90), 0)


async def test_a_job_is_not_submitted_before_its_time(worker: WorkerHarness) -> None:
    held = job(waiting_for=WaitingFor.NOT_BEFORE, not_before=at(30), next_run_at=at(30))
    assert await worker.advance(held) == held
    assert (worker.jobs.due["req_1"], worker.jobs.changes) == (at(30), [])
    worker.clock.move(SECOND * 30)
    after = await worker.advance(held)
    assert after is not None
    assert (after.waiting_for, worker.upstream.sent) == (None, 0)


async def test_a_promoted_follower_waits_for_its_own_time(worker: WorkerHarness) -> None:
    after = await worker.advance(job(not_before=at(30)))
    assert after is not None
    assert (after.state, after.waiting_for) == (S.QUEUED, WaitingFor.NOT_BEFORE)
    assert (worker.jobs.due["req_1"], worker.upstream.sent) == (at(30), 0)


async def test_a_job_whose_time_has_come_is_submitted(worker: WorkerHarness) -> None:
    await worker.advance(job(not_before=NOW))
    assert worker.upstream.sent == 1


async def test_an_end_tells_what_the_job_waited_for(worker: WorkerHarness) -> None:
    ended = await worker.advance(job(waiting_for=WaitingFor.BALANCE, start_deadline=NOW))
    assert ended is not None
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (S.EXPIRED, "start_timeout")
    assert "the RunComfy balance did not cover its price" in ended.error.message


@pytest.mark.parametrize(
    ("scope", "waiting_for"),
    [(RefusalScope.BALANCE, WaitingFor.BALANCE), (RefusalScope.ACCOUNT, WaitingFor.ACCOUNT)],
)
async def test_a_refusal_that_an_operator_can_end_costs_no_job(
    worker: WorkerHarness, scope: RefusalScope, waiting_for: WaitingFor
) -> None:
    worker.upstream.submits = deque([Rejected(fault(), scope)])
    after = await worker.advance(job())
    assert after is not None
    assert (after.state, after.waiting_for, after.attempts) == (S.QUEUED, waiting_for, 0)
    assert after.billed is BillingStatus.NO


async def test_what_is_over_ends_though_the_gate_is_closed(worker: WorkerHarness) -> None:
    worker.gate.reopens_at = at(30)
    after = await worker.advance(job(start_deadline=NOW))
    assert after is not None
    assert (after.state, after.billed) == (S.EXPIRED, BillingStatus.NO)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_the_gate_learns_what_each_submit_met(
    worker: WorkerHarness, answer: SubmitAnswer
) -> None:
    worker.upstream.submits = deque([answer])
    await worker.advance(job())
    assert worker.gate.recorded == [answer]


async def test_a_gate_that_cannot_be_told_holds_nothing_up(worker: WorkerHarness) -> None:
    worker.gate.unavailable = True
    worker.upstream.submits = deque([ACCEPTED])
    after = await worker.advance(job())
    assert after is not None
    assert after.state is S.RUNNING


async def test_no_more_submits_leave_at_once_than_allowed() -> None:
    rig = WorkerHarness(policy=replace(POLICY, max_concurrent_submits=2))
    answering = asyncio.Event()

    async def wait() -> None:
        await answering.wait()

    rig.upstream.during_submit = wait
    rig.upstream.submits = deque([ACCEPTED] * 5)
    jobs = [rig.jobs.add(job(id=f"req_{number}")) for number in range(5)]
    working = asyncio.gather(*map(rig.lifecycle.advance, jobs))
    await run_ready_tasks()
    assert rig.upstream.sent == 2
    answering.set()
    await working
    assert rig.upstream.sent == 5


async def test_a_gate_that_closes_while_jobs_wait_for_a_place_stops_them() -> None:
    rig = WorkerHarness(policy=replace(POLICY, max_concurrent_submits=1))

    async def close() -> None:
        await run_ready_tasks()
        rig.gate.reopens_at = at(30)

    rig.upstream.during_submit = close
    rig.upstream.submits = deque([ACCEPTED] * 3)
    jobs = [rig.jobs.add(job(id=f"req_{number}")) for number in range(3)]
    await asyncio.gather(*map(rig.lifecycle.advance, jobs))
    assert rig.upstream.sent == 1
    assert [rig.jobs.due[job.id] for job in jobs[1:]] == [at(30), at(30)]


# --- a second try


async def test_what_did_not_leave_is_sent_again_when_its_time_has_come(
    worker: WorkerHarness,
) -> None:
    worker.upstream.submits = deque([NOT_SENT, ACCEPTED])
    waiting = await worker.advance(job())
    assert waiting is not None
    assert (waiting.state, waiting.next_run_at, worker.upstream.sent) == (S.QUEUED, at(1), 1)
    await worker.clock.advance(SECOND)
    await worker.lifecycle.advance(waiting)
    after = worker.jobs.job()
    assert (after.state, after.attempts, worker.upstream.sent) == (S.RUNNING, 1, 2)


async def test_a_wish_to_cancel_wins_over_a_second_try(worker: WorkerHarness) -> None:
    async def wish() -> None:
        worker.last_change(cancel_requested_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)

    worker.upstream.during_submit = wish
    worker.upstream.submits = deque([NOT_SENT])
    after = await worker.advance(job())
    assert after is not None
    assert (after.state, after.billed) == (S.CANCELLED, BillingStatus.NO)
    assert (after.cancel_outcome, worker.upstream.sent) == (CancelOutcome.CANCELLED, 1)
