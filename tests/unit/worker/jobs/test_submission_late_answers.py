"""A slow submit: its lease is renewed, and the job may have changed when the answer arrives."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobState
from core.money import MicroUsd
from tests.support.clock import run_ready_tasks
from tests.support.records import MINUTE, NOW, POLICY, SECOND, at, fault, job
from tests.support.worker import WorkerHarness
from worker.ports import (
    Accepted,
    Indeterminate,
    InProgress,
    NotSent,
    Rejected,
    RunCompleted,
    SubmitAnswer,
    UpstreamTimes,
)

S = JobState
ACCEPTED = Accepted("up-9")
NOT_SENT = NotSent(fault("connect_error", None))
REJECTED = Rejected(fault("invalid_input", 422))
NO_ANSWER = Indeterminate(fault("read_timeout", None))


@pytest.fixture
def worker() -> WorkerHarness:
    return WorkerHarness()


SENT: dict[str, Any] = {"lease_holder": "worker-a", "sent_at": NOW, "attempts": 1}
RESENT: dict[str, Any] = {"lease_holder": "worker-b", "sent_at": at(20), "attempts": 2}
APPROVED: dict[str, Any] = {"resends_approved": 1, "billed": BillingStatus.UNKNOWN}

DOUBT = job(S.IN_DOUBT, version=3, **SENT)
WAITING = job(S.QUEUED, version=4, **SENT, **APPROVED)
SENDING = job(S.SUBMITTING, version=5, **RESENT, **APPROVED)
SECOND_DOUBT = job(S.IN_DOUBT, version=6, **RESENT, **APPROVED)
ATTACHED = job(S.RUNNING, version=4, upstream_id="up-9", next_run_at=at(60))

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


async def answer_late(worker: WorkerHarness, meanwhile: Job, answer: SubmitAnswer) -> Job | None:
    """Submit; the answer arrives when the job has become `meanwhile`."""

    async def moves_on() -> None:
        worker.jobs.add(meanwhile)

    worker.upstream.during_submit = moves_on
    worker.upstream.submits = deque([answer])
    return await worker.advance(job())


@pytest.mark.parametrize(("meanwhile", "answer", "state"), LATE.values(), ids=LATE)
async def test_what_a_late_answer_means(
    worker: WorkerHarness, meanwhile: Job, answer: SubmitAnswer, state: JobState | None
) -> None:
    after = await answer_late(worker, meanwhile, answer)
    assert after is not None
    assert worker.upstream.sent == 1
    assert worker.warnings == []
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
    worker: WorkerHarness, state: JobState, answer: SubmitAnswer
) -> None:
    ended = job(state, version=4, upstream_id=None)
    assert await answer_late(worker, ended, answer) == ended
    assert worker.warnings == []


async def test_what_is_accepted_after_it_was_given_up_is_kept_and_awaited(
    worker: WorkerHarness,
) -> None:
    worker.upstream.results = deque([InProgress(is_running=True, status_word="in_progress")])
    after = await answer_late(worker, job(S.FAILED, version=4, upstream_id=None), ACCEPTED)
    assert after is not None
    assert (after.state, after.upstream_id) == (S.FAILED, "up-9")
    assert (after.follow_up, after.billed) == (FollowUp.AWAIT_LATE_RESULT, BillingStatus.UNKNOWN)
    assert worker.jobs.due["req_1"] == at(5)
    assert worker.warnings == ["second_acceptance"]
    entry = worker.jobs.changes[-1].entry
    assert entry is not None
    assert (entry.code, entry.detail) == ("second_acceptance", "up-9")


async def test_a_result_that_is_ready_then_is_fetched_at_once(worker: WorkerHarness) -> None:
    worker.upstream.results = deque([RunCompleted(b'{"a":1}', MicroUsd(5), UpstreamTimes())])
    after = await answer_late(worker, job(S.FAILED, version=4, upstream_id=None), ACCEPTED)
    assert after is not None
    assert (after.late, after.billed, after.cost) == (True, BillingStatus.YES, 5)
    assert worker.jobs.records["req_1"].output == b'{"a":1}'


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING, S.SUCCEEDED])
async def test_a_second_acceptance_is_told_and_the_first_one_goes_on(
    worker: WorkerHarness, state: JobState
) -> None:
    first = job(state, version=4, upstream_id="up-1", next_run_at=at(60))
    after = await answer_late(worker, first, ACCEPTED)
    assert after is not None
    assert (after.state, after.upstream_id, after.next_run_at) == (state, "up-1", at(60))
    assert worker.warnings == ["second_acceptance"]


async def test_an_answer_for_a_job_that_vanished_is_told(worker: WorkerHarness) -> None:
    async def vanishes() -> None:
        worker.jobs.records.clear()

    worker.upstream.during_submit = vanishes
    worker.upstream.submits = deque([ACCEPTED])
    await worker.advance(job())
    assert worker.warnings == ["job_record_missing"]


# --- the lease of a slow submit


async def lease_during_submit(
    worker: WorkerHarness, seconds: float, then: Callable[[], None] | None = None
) -> datetime | None:
    """The lease of a slow submit; `then` runs after 5 s."""
    answering = asyncio.Event()

    async def wait() -> None:
        await answering.wait()

    worker.upstream.during_submit = wait
    worker.upstream.submits = deque([ACCEPTED])
    worker.jobs.add(job())
    working = asyncio.create_task(worker.lifecycle.advance(job()))
    await worker.clock.advance(5 * SECOND)
    if then is not None:
        then()
    await worker.clock.advance((seconds - 5) * SECOND)
    due = worker.jobs.due["req_1"]
    answering.set()
    await working
    return due


async def test_the_lease_of_a_slow_submit_is_renewed(worker: WorkerHarness) -> None:
    assert await lease_during_submit(worker, 60) == at(60 + 15)
    assert worker.jobs.job().state is S.RUNNING


async def test_a_wish_to_cancel_does_not_cost_the_lease(worker: WorkerHarness) -> None:
    def wish() -> None:
        worker.last_change(cancel_requested_at=at(5), cancel_outcome=CancelOutcome.REQUESTED)

    worker.upstream.cancels = deque([CancelOutcome.CANCELLED])
    assert await lease_during_submit(worker, 60, wish) == at(60 + 15)
    assert (worker.jobs.job().state, worker.jobs.job().cancel_requested_at) == (S.CANCELLED, at(5))


async def test_a_store_that_is_away_does_not_end_the_renewals(worker: WorkerHarness) -> None:
    def lose() -> None:
        worker.jobs.unavailable = True
        asyncio.get_running_loop().create_task(back())

    async def back() -> None:
        await worker.clock.sleep(20 * SECOND)
        worker.jobs.unavailable = False

    # At once when the store is back, after 25 s, and from then on every 4 s: last after 57 s.
    assert await lease_during_submit(worker, 60, lose) == at(57 + 15)


@pytest.mark.parametrize(
    "theirs",
    [DOUBT, SENDING, job(S.CANCELLED, version=3)],
    ids=["declared lost", "sent again", "ended"],
)
async def test_a_lease_that_was_lost_is_not_taken_back(worker: WorkerHarness, theirs: Job) -> None:
    theirs = replace(theirs, next_run_at=at(300))

    def lose() -> None:
        worker.jobs.add(theirs)

    assert await lease_during_submit(worker, 60, lose) == at(300)


async def test_nothing_is_renewed_after_the_answer(worker: WorkerHarness) -> None:
    worker.upstream.submits = deque([ACCEPTED])
    await worker.advance(job())
    await run_ready_tasks()
    assert worker.clock.sleepers == 0
    await worker.clock.advance(MINUTE)
    assert worker.jobs.due["req_1"] == NOW + POLICY.initial_poll_delay
