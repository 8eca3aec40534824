"""The one paid call: never twice unasked, its answer never lost, its lease kept."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Billed, CancelOutcome, Fact, Job, JobState
from core.observability.events import SubmitAnswered
from tests.builders import MINUTE, NOW, POLICY, SECOND, at, fault, job
from tests.fakes.clock import settle
from tests.unit.worker.rig import Rig
from worker.ports import (
    Accepted,
    NoAnswer,
    NotSent,
    Rejected,
    SubmitAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.transactions.job_update import Change, Outcome

S, F = JobState, Fact
ACCEPTED = Accepted("up-9")
NOT_SENT = NotSent(fault("connect_error", None))
REJECTED = Rejected(fault("invalid_input", 422))
NO_ANSWER = NoAnswer(fault("read_timeout", None))
ANSWERS = {
    "accepted": ACCEPTED,
    "not sent": NOT_SENT,
    "rejected": REJECTED,
    "no answer": NO_ANSWER,
}


@pytest.fixture
def rig() -> Rig:
    return Rig()


def around_store(
    rig: Rig,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> None:
    """Let something happen right before or after the next change is stored."""
    plain = rig.shelf.store

    async def store(change: Change) -> Outcome:
        rig.shelf.store = plain  # type: ignore[method-assign]  # once
        if before is not None:
            before()
        try:
            return await plain(change)
        finally:
            if after is not None:
                after()

    rig.shelf.store = store  # type: ignore[method-assign]  # a fake of our own


# --- the claim


async def test_a_claim_that_somebody_else_made_first_sends_nothing(rig: Rig) -> None:
    rig.shelf.put(job(S.SUBMITTING, holder="worker-b", version=2))
    await rig.lifecycle.advance(job())
    assert rig.script.sent == 0
    assert rig.shelf.job().holder == "worker-b"


async def test_a_job_whose_input_is_gone_sends_nothing(rig: Rig) -> None:
    rig.shelf.has_input = False
    assert await rig.advance(job()) == job()
    assert rig.script.sent == 0


async def test_a_store_that_is_away_at_the_claim_sends_nothing(rig: Rig) -> None:
    rig.shelf.put(job())
    rig.shelf.away = True
    with pytest.raises(StoreUnavailable):
        await rig.lifecycle.advance(job())
    assert rig.script.sent == 0


async def test_a_silent_claim_that_was_not_written_leaves_the_job_alone(rig: Rig) -> None:
    rig.shelf.silent = deque([False])
    assert await rig.advance(job()) == job()
    assert rig.script.sent == 0


async def test_a_silent_claim_that_was_written_is_taken_back(rig: Rig) -> None:
    rig.shelf.silent = deque([True])
    after = await rig.advance(job())
    assert after is not None
    assert (after.state, after.attempts, after.billed) == (S.QUEUED, 0, Billed.NO)
    assert (after.due_at, rig.script.sent) == (NOW + SECOND, 0)
    assert rig.facts == [F.NOT_SENT]


async def test_a_silent_claim_is_taken_back_when_the_store_returns(rig: Rig) -> None:
    rig.shelf.silent = deque([True, False, True])
    rig.shelf.put(job())
    working = asyncio.create_task(rig.lifecycle.advance(job()))
    await settle()
    assert rig.shelf.job().state is S.SUBMITTING
    rig.shelf.away = True
    await rig.clock.advance(10 * SECOND)
    rig.shelf.away = False
    await rig.clock.advance(2 * SECOND)
    await working
    assert (rig.shelf.job().state, rig.script.sent) == (S.QUEUED, 0)


@pytest.mark.parametrize(
    "theirs",
    [
        job(S.SUBMITTING, holder="worker-b", version=2),
        job(S.SUBMITTING, holder="worker-a", sent_at=at(-60), attempts=2, version=4),
        job(S.CANCELLED, version=2),
        job(S.CANCELLED, version=2, holder=None, sent_at=None, attempts=0),
    ],
    ids=["another worker's", "an earlier one of mine", "ended", "ended unsent"],
)
async def test_a_silent_claim_takes_nothing_from_others(rig: Rig, theirs: Job) -> None:
    rig.shelf.put(job())
    rig.shelf.silent = deque([False])
    around_store(rig, before=lambda: rig.shelf.put(theirs))
    await rig.lifecycle.advance(job())
    assert (rig.shelf.job(), rig.script.sent) == (theirs, 0)


async def test_a_silent_claim_is_taken_back_though_a_wish_to_cancel_came(rig: Rig) -> None:
    rig.shelf.silent = deque([True])
    around_store(rig, after=lambda: rig.change(cancel_asked_at=NOW))
    after = await rig.advance(job())
    assert after is not None
    assert (after.state, after.billed, rig.script.sent) == (S.CANCELLED, Billed.NO, 0)


async def test_a_claim_of_a_job_that_has_vanished_ends_quietly(rig: Rig) -> None:
    rig.shelf.silent = deque([False])
    around_store(rig, before=rig.shelf.records.clear)
    await rig.advance(job())
    assert (rig.now_is(), rig.script.sent) == (None, 0)


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
    rig: Rig, answer: SubmitAnswer, state: JobState
) -> None:
    async def lose_store() -> None:
        rig.shelf.away = True

    rig.script.meanwhile = lose_store
    rig.script.submits = deque([answer])
    rig.shelf.put(job())
    working = asyncio.create_task(rig.lifecycle.advance(job()))
    await rig.clock.advance(MINUTE)
    assert rig.shelf.job().state is S.SUBMITTING
    assert isinstance(rig.events[-1], SubmitAnswered)
    rig.shelf.away = False
    await rig.clock.advance(SECOND)
    await working
    assert (rig.shelf.job().state, rig.script.sent) == (state, 1)
    assert rig.clock.sleepers == 0


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_stored_once_though_the_store_fell_silent(
    rig: Rig, answer: SubmitAnswer, *, carried_out: bool
) -> None:
    rig.shelf.silent = deque([None, carried_out])
    rig.script.submits = deque([answer])
    rig.shelf.put(job())
    working = asyncio.create_task(rig.lifecycle.advance(job()))
    await rig.clock.advance(SECOND / 2)
    await working
    assert rig.script.sent == 1
    assert len(rig.shelf.changes) == 2
    assert (rig.shelf.job().upstream_id == "up-9") is (answer is ACCEPTED)
    assert rig.troubles == []


# --- the gate and the places


@pytest.mark.parametrize(
    ("record", "due"),
    [
        (job(), 30),
        (job(start_by=at(10)), 10),
        (job(finish_by=at(20)), 20),
        (job(start_by=at(40)), 30),
        (job(start_by=NOW, attempts=1, resends_approved=1), 30),
    ],
    ids=["no limit", "start_by", "finish_by", "later", "a resend"],
)
async def test_a_closed_gate_puts_the_job_off_without_a_claim(
    rig: Rig, record: Job, due: float
) -> None:
    rig.gate.until = at(30)
    assert await rig.advance(record) == record
    assert rig.shelf.due["req_1"] == at(due)
    assert (rig.script.sent, rig.shelf.changes, rig.shelf.polls) == (0, [], 0)


async def test_what_is_over_ends_though_the_gate_is_closed(rig: Rig) -> None:
    rig.gate.until = at(30)
    after = await rig.advance(job(start_by=NOW))
    assert after is not None
    assert (after.state, after.billed) == (S.EXPIRED, Billed.NO)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_the_gate_learns_what_each_submit_met(rig: Rig, answer: SubmitAnswer) -> None:
    rig.script.submits = deque([answer])
    await rig.advance(job())
    assert rig.gate.learnt == [answer]


async def test_a_gate_that_cannot_be_told_holds_nothing_up(rig: Rig) -> None:
    rig.gate.away = True
    rig.script.submits = deque([ACCEPTED])
    after = await rig.advance(job())
    assert after is not None
    assert after.state is S.RUNNING


async def test_no_more_submits_leave_at_once_than_allowed() -> None:
    rig = Rig(policy=replace(POLICY, submits_at_once=2))
    answering = asyncio.Event()

    async def wait() -> None:
        await answering.wait()

    rig.script.meanwhile = wait
    rig.script.submits = deque([ACCEPTED] * 5)
    jobs = [rig.shelf.put(job(id=f"req_{number}")) for number in range(5)]
    working = asyncio.gather(*map(rig.lifecycle.advance, jobs))
    await settle()
    assert rig.script.sent == 2
    answering.set()
    await working
    assert rig.script.sent == 5


async def test_a_gate_that_closes_while_jobs_wait_for_a_place_stops_them() -> None:
    rig = Rig(policy=replace(POLICY, submits_at_once=1))

    async def close() -> None:
        await settle()
        rig.gate.until = at(30)

    rig.script.meanwhile = close
    rig.script.submits = deque([ACCEPTED] * 3)
    jobs = [rig.shelf.put(job(id=f"req_{number}")) for number in range(3)]
    await asyncio.gather(*map(rig.lifecycle.advance, jobs))
    assert rig.script.sent == 1
    assert [rig.shelf.due[job.id] for job in jobs[1:]] == [at(30), at(30)]


# --- a second try


async def test_what_did_not_leave_is_sent_again_when_its_time_has_come(rig: Rig) -> None:
    rig.script.submits = deque([NOT_SENT, ACCEPTED])
    waiting = await rig.advance(job())
    assert waiting is not None
    assert (waiting.state, waiting.due_at, rig.script.sent) == (S.QUEUED, at(1), 1)
    await rig.clock.advance(SECOND)
    await rig.lifecycle.advance(waiting)
    after = rig.shelf.job()
    assert (after.state, after.attempts, rig.script.sent) == (S.RUNNING, 1, 2)


async def test_a_wish_to_cancel_wins_over_a_second_try(rig: Rig) -> None:
    async def wish() -> None:
        rig.change(cancel_asked_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)

    rig.script.meanwhile = wish
    rig.script.submits = deque([NOT_SENT])
    after = await rig.advance(job())
    assert after is not None
    assert (after.state, after.billed) == (S.CANCELLED, Billed.NO)
    assert (after.cancel_outcome, rig.script.sent) == (CancelOutcome.CANCELLED, 1)
