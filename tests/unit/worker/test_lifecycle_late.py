"""A submit that takes its time: its lease is kept, its answer meets the job as it then stands."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from core.jobs.job import Billed, CancelOutcome, Errand, Job, JobState
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

S = JobState
ACCEPTED = Accepted("up-9")
NOT_SENT = NotSent(fault("connect_error", None))
REJECTED = Rejected(fault("invalid_input", 422))
NO_ANSWER = NoAnswer(fault("read_timeout", None))


@pytest.fixture
def rig() -> Rig:
    return Rig()


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


@pytest.mark.parametrize(
    "answer", [NOT_SENT, REJECTED, NO_ANSWER], ids=["not sent", "rejected", "no answer"]
)
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
    assert rig.troubles == ["job_record_missing"]


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

    # At once when the store is back, after 25 s, and from then on every 4 s: last after 57 s.
    assert await leased_until(rig, 60, lose) == at(57 + 15)


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
