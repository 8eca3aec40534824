"""The one paid call: never twice unasked, its answer never lost, its lease kept."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import StoreUnavailable
from core.events import SubmitAnswered
from core.jobs import Billed, CancelOutcome, Errand, Fact, Job, JobState
from core.money import MicroUsd
from tests.builders import MINUTE, NOW, POLICY, SECOND, at, fault, job
from tests.fakes.clock import settle
from tests.unit.worker.rig import Rig
from worker.ports import (
    Accepted,
    CancelDone,
    Completed,
    NoAnswer,
    NotSent,
    Open,
    Rejected,
    SubmitAnswer,
    Times,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from core.changes import Change, Outcome

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
    await rig.clock.advance(10 * MINUTE)
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


# --- an answer that comes when the job has moved on

SENT: dict[str, Any] = {"holder": "worker-a", "sent_at": NOW, "attempts": 1}
RESENT: dict[str, Any] = {"holder": "worker-b", "sent_at": at(20), "attempts": 2}
APPROVED: dict[str, Any] = {"resends_approved": 1, "billed": Billed.UNKNOWN}

DOUBT = job(S.IN_DOUBT, version=3, **SENT)
WAITING = job(S.QUEUED, version=4, **SENT, **APPROVED)
SENDING = job(S.SUBMITTING, version=5, **RESENT, **APPROVED)
SECOND_DOUBT = job(S.IN_DOUBT, version=6, **RESENT, **APPROVED)
ATTACHED = job(S.RUNNING, version=4, upstream_id="up-9", due_at=at(60))

# How the job stands, the answer to the first submit -> the state. None: nothing changes.
LATE: dict[str, tuple[Job, SubmitAnswer, JobState | None]] = {
    "in doubt, accepted": (DOUBT, ACCEPTED, S.RUNNING),
    "in doubt, not sent": (DOUBT, NOT_SENT, S.QUEUED),
    "in doubt, rejected": (DOUBT, REJECTED, S.FAILED),
    "in doubt, no answer": (DOUBT, NO_ANSWER, None),
    "resend waits, accepted": (WAITING, ACCEPTED, S.RUNNING),
    "resend waits, not sent": (WAITING, NOT_SENT, None),
    "resend waits, rejected": (WAITING, REJECTED, None),
    "resend waits, no answer": (WAITING, NO_ANSWER, None),
    "resend on its way, accepted": (SENDING, ACCEPTED, S.RUNNING),
    "resend on its way, not sent": (SENDING, NOT_SENT, None),
    "resend on its way, rejected": (SENDING, REJECTED, None),
    "resend on its way, no answer": (SENDING, NO_ANSWER, None),
    "resend in doubt, accepted": (SECOND_DOUBT, ACCEPTED, S.RUNNING),
    "resend in doubt, not sent": (SECOND_DOUBT, NOT_SENT, None),
    "resend in doubt, rejected": (SECOND_DOUBT, REJECTED, None),
    "attached, the same id": (ATTACHED, ACCEPTED, None),
    "attached, no answer": (ATTACHED, NO_ANSWER, None),
}


async def late(rig: Rig, meanwhile: Job, answer: SubmitAnswer) -> Job | None:
    """Submit, and bring the answer when the job stands as `meanwhile`."""

    async def moves_on() -> None:
        rig.shelf.put(meanwhile)

    rig.script.meanwhile = moves_on
    rig.script.submits = deque([answer])
    return await rig.advance(job())


@pytest.mark.parametrize(("meanwhile", "answer", "state"), LATE.values(), ids=LATE)
async def test_what_a_late_answer_means(
    rig: Rig, meanwhile: Job, answer: SubmitAnswer, state: JobState | None
) -> None:
    after = await late(rig, meanwhile, answer)
    assert after is not None
    assert rig.script.sent == 1
    assert rig.troubles == []
    if state is None:
        assert after == meanwhile
    else:
        assert after.state is state
        assert after.upstream_id == ("up-9" if answer is ACCEPTED else None)


@pytest.mark.parametrize("answer", [NOT_SENT, REJECTED, NO_ANSWER], ids=list(ANSWERS)[1:])
@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED, S.EXPIRED])
async def test_what_did_not_take_the_job_does_not_touch_its_end(
    rig: Rig, state: JobState, answer: SubmitAnswer
) -> None:
    ended = job(state, version=4, upstream_id=None)
    assert await late(rig, ended, answer) == ended
    assert rig.troubles == []


async def test_what_is_accepted_after_it_was_given_up_is_kept_and_awaited(rig: Rig) -> None:
    rig.script.results = deque([Open(in_progress=True, word="in_progress")])
    after = await late(rig, job(S.FAILED, version=4, upstream_id=None), ACCEPTED)
    assert after is not None
    assert (after.state, after.upstream_id) == (S.FAILED, "up-9")
    assert (after.errand, after.billed) == (Errand.AWAIT_LATE_RESULT, Billed.UNKNOWN)
    assert rig.shelf.due["req_1"] == at(5)
    assert rig.troubles == ["second_acceptance"]
    (entry,) = rig.shelf.changes[-1].entries
    assert (entry.what, entry.detail) == ("second_acceptance", "up-9")


async def test_a_result_that_is_ready_then_is_fetched_at_once(rig: Rig) -> None:
    rig.script.results = deque([Completed({"a": 1}, MicroUsd(5), Times())])
    after = await late(rig, job(S.FAILED, version=4, upstream_id=None), ACCEPTED)
    assert after is not None
    assert (after.late, after.billed, after.cost) == (True, Billed.YES, 5)
    assert rig.shelf.records["req_1"].output == b'{"a":1}'


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING, S.SUCCEEDED])
async def test_a_second_acceptance_is_told_and_the_first_one_goes_on(
    rig: Rig, state: JobState
) -> None:
    first = job(state, version=4, upstream_id="up-1", due_at=at(60))
    after = await late(rig, first, ACCEPTED)
    assert after is not None
    assert (after.state, after.upstream_id, after.due_at) == (state, "up-1", at(60))
    assert rig.troubles == ["second_acceptance"]


async def test_an_answer_for_a_job_that_vanished_is_told(rig: Rig) -> None:
    async def vanishes() -> None:
        rig.shelf.records.clear()

    rig.script.meanwhile = vanishes
    rig.script.submits = deque([ACCEPTED])
    await rig.advance(job())
    assert rig.troubles == ["job_vanished"]


# --- the lease of a slow submit


async def leased_until(
    rig: Rig, seconds: float, then: Callable[[], None] | None = None
) -> datetime | None:
    """The lease of a submit that takes its time; `then` happens on the way, after 5 s."""
    answering = asyncio.Event()

    async def wait() -> None:
        await answering.wait()

    rig.script.meanwhile = wait
    rig.script.submits = deque([ACCEPTED])
    rig.shelf.put(job())
    working = asyncio.create_task(rig.lifecycle.advance(job()))
    await rig.clock.advance(5 * SECOND)
    if then is not None:
        then()
    await rig.clock.advance((seconds - 5) * SECOND)
    due = rig.shelf.due["req_1"]
    answering.set()
    await working
    return due


async def test_the_lease_of_a_slow_submit_is_renewed(rig: Rig) -> None:
    assert await leased_until(rig, 60) == at(60 + 15)
    assert rig.shelf.job().state is S.RUNNING


async def test_a_wish_to_cancel_does_not_cost_the_lease(rig: Rig) -> None:
    def wish() -> None:
        rig.change(cancel_asked_at=at(5), cancel_outcome=CancelOutcome.REQUESTED)

    rig.script.cancels = deque([CancelDone()])
    assert await leased_until(rig, 60, wish) == at(60 + 15)
    assert (rig.shelf.job().state, rig.shelf.job().cancel_asked_at) == (S.CANCELLED, at(5))


async def test_a_store_that_is_away_does_not_end_the_renewals(rig: Rig) -> None:
    def lose() -> None:
        rig.shelf.away = True
        asyncio.get_running_loop().create_task(back())

    async def back() -> None:
        await rig.clock.sleep(20 * SECOND)
        rig.shelf.away = False

    assert await leased_until(rig, 60, lose) == at(60 + 15)


@pytest.mark.parametrize(
    "theirs",
    [DOUBT, SENDING, job(S.CANCELLED, version=3)],
    ids=["declared lost", "sent again", "ended"],
)
async def test_a_lease_that_was_lost_is_not_taken_back(rig: Rig, theirs: Job) -> None:
    theirs = replace(theirs, due_at=at(300))

    def lose() -> None:
        rig.shelf.put(theirs)

    assert await leased_until(rig, 60, lose) == at(300)


async def test_nothing_is_renewed_after_the_answer(rig: Rig) -> None:
    rig.script.submits = deque([ACCEPTED])
    await rig.advance(job())
    await settle()
    assert rig.clock.sleepers == 0
    await rig.clock.advance(MINUTE)
    assert rig.shelf.due["req_1"] == NOW + POLICY.first_poll


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
