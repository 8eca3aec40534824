"""The steps of a job's life: act, learn, decide, store, tell. Submits have a file of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

import orjson
import pytest

from core.billing.settlement import Verdict
from core.jobs.job import Billed, CancelOutcome, Errand, Fact, Job, JobState
from core.money import MicroUsd
from core.observability.events import CostSettled, JobPolled, JobTransitioned, SubmitAnswered
from core.tenants.tenant import DoubtPolicy
from core.webhooks.delivery import EventType
from tests.builders import NOW, POLICY, SECOND, at, fault, job, tenant
from tests.unit.worker.rig import BODY, Rig
from worker.ports import (
    Accepted,
    CancelDone,
    Completed,
    Ended,
    NoAnswer,
    NotCancellable,
    Open,
    Times,
    Unreachable,
)

S, F = JobState, Fact
RUNS = Open(in_progress=True, word="in_progress")
COST = MicroUsd(840_000)
DONE = Completed({"video": "https://cdn.example/a.mp4"}, COST, Times())
DOWN = Unreachable(fault())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_every_state_has_a_step(rig: Rig) -> None:
    assert set(rig.lifecycle.states) == set(JobState)


async def test_from_the_queue_to_the_result(rig: Rig) -> None:
    rig.roll.tenant = tenant(webhook="https://hooks.example/")
    rig.script.submits = deque([Accepted("up-9")])
    rig.script.statuses = deque([RUNS, Ended("completed")])
    rig.script.results = deque([DONE])

    accepted = await rig.advance(job())
    assert accepted is not None
    assert (accepted.state, accepted.due_at) == (S.RUNNING, NOW + POLICY.first_poll)
    await rig.clock.advance(2 * SECOND)
    await rig.lifecycle.advance(accepted)
    await rig.lifecycle.advance(rig.shelf.job())

    record = rig.shelf.records["req_1"]
    assert (record.job.state, record.job.billed, record.job.cost) == (S.SUCCEEDED, Billed.YES, COST)
    assert record.output is not None
    assert orjson.loads(record.output) == DONE.output
    assert rig.facts == [F.CLAIMED, F.ACCEPTED, F.STILL_RUNNING, F.FINISHED, F.COLLECTED]
    assert rig.script.bodies == [BODY]
    assert rig.script.calls == [
        ("submit", "kling/image-to-video"),
        ("status", "up-9"),
        ("status", "up-9"),
        ("result", "up-9"),
    ]
    assert [len(change.entries) for change in rig.shelf.changes] == [1, 1, 1, 1, 1]


async def test_the_intent_is_stored_before_anything_leaves(rig: Rig) -> None:
    seen: list[Job] = []

    async def look() -> None:
        seen.append(rig.shelf.job())

    rig.script.meanwhile = look
    rig.script.submits = deque([Accepted("up-9")])
    await rig.advance(job())
    assert [(held.state, held.holder) for held in seen] == [(S.SUBMITTING, "worker-a")]


async def test_the_answer_is_told_before_it_is_stored(rig: Rig) -> None:
    rig.script.submits = deque([Accepted("up-9")])
    await rig.advance(job())
    kinds = [type(event) for event in rig.events]
    assert kinds == [JobTransitioned, SubmitAnswered, JobTransitioned]
    told = rig.events[1]
    assert isinstance(told, SubmitAnswered)
    assert (told.outcome, told.upstream_id, told.detail) == (F.ACCEPTED, "up-9", None)


# --- running


async def test_a_poll_without_news_is_only_counted(rig: Rig) -> None:
    rig.script.statuses = deque([RUNS])
    running = job(S.RUNNING, upstream_word="in_progress", upstream_running=True)
    assert await rig.advance(running) == running
    assert (rig.shelf.due["req_1"], rig.shelf.polls) == (at(1), 1)
    assert rig.events == [JobPolled("req_1", "video-team", "kling/image-to-video", "running")]


async def test_a_poll_that_lost_a_race_changes_and_tells_nothing(rig: Rig) -> None:
    rig.script.statuses = deque([Ended("completed")])
    rig.shelf.put(job(S.CANCELLED, version=9))
    await rig.lifecycle.advance(job(S.RUNNING))
    assert rig.shelf.job().state is S.CANCELLED
    assert rig.events == [JobPolled("req_1", "video-team", "kling/image-to-video", "ended")]
    assert rig.shelf.changes == []


async def test_a_result_that_is_away_is_left_for_its_time(rig: Rig) -> None:
    rig.script.statuses = deque([Ended("completed")])
    rig.script.results = deque([DOWN, DOWN, DONE])
    away = await rig.advance(job(S.RUNNING))
    assert away is not None
    assert (away.state, away.due_at) == (S.COLLECTING, at(2))
    await rig.lifecycle.advance(away)
    assert rig.shelf.job() == away
    await rig.lifecycle.advance(away)
    assert rig.shelf.job().state is S.SUCCEEDED


async def test_a_running_job_without_an_id_is_a_defect(rig: Rig) -> None:
    with pytest.raises(ValueError, match="without an upstream id"):
        await rig.advance(job(S.RUNNING, upstream_id=None))


# --- cancels


async def test_a_wish_from_the_submit_is_passed_on_and_ends_free(rig: Rig) -> None:
    rig.script.cancels = deque([CancelDone()])
    wish = job(S.RUNNING, cancel_asked_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)
    ended = await rig.advance(wish)
    assert ended is not None
    assert (ended.state, ended.billed) == (S.CANCELLED, Billed.NO)
    assert ended.cancel_outcome is CancelOutcome.CANCELLED
    assert rig.facts == [F.CANCEL_ASKED, F.CANCEL_DONE]


async def test_a_cancel_that_is_refused_goes_on_with_the_poll(rig: Rig) -> None:
    rig.script.cancels = deque([NotCancellable()])
    rig.script.statuses = deque([RUNS])
    after = await rig.advance(job(S.CANCELLING, cancel_outcome=CancelOutcome.REQUESTED))
    assert after is not None
    assert (after.state, after.cancel_outcome) == (S.RUNNING, CancelOutcome.NOT_CANCELLABLE)
    assert [name for name, _ in rig.script.calls] == ["cancel", "status"]


async def test_a_wish_noted_while_the_submit_is_on_its_way(rig: Rig) -> None:
    async def wish() -> None:
        rig.change(cancel_asked_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)

    rig.script.meanwhile = wish
    rig.script.submits = deque([Accepted("up-9")])
    rig.script.cancels = deque([CancelDone()])
    ended = await rig.advance(job())
    assert ended is not None
    assert (ended.state, ended.upstream_id, ended.billed) == (S.CANCELLED, "up-9", Billed.NO)
    assert rig.facts == [F.CLAIMED, F.ACCEPTED, F.CANCEL_ASKED, F.CANCEL_DONE]


# --- deadlines


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
async def test_out_of_time_is_cancelled_and_its_late_result_fetched(
    rig: Rig, state: JobState
) -> None:
    rig.script.cancels = deque([NotCancellable()])
    rig.script.results = deque([DONE])
    late = await rig.advance(job(state, finish_by=NOW))
    assert late is not None
    assert (late.state, late.late, late.billed, late.cost) == (S.EXPIRED, True, Billed.YES, COST)
    assert [name for name, _ in rig.script.calls] == ["cancel", "result"]
    assert rig.facts == [F.OUT_OF_TIME]


@pytest.mark.parametrize(("state", "end"), [(S.RUNNING, S.EXPIRED), (S.CANCELLING, S.CANCELLED)])
async def test_out_of_time_and_cancelled_in_time_is_over(
    rig: Rig, state: JobState, end: JobState
) -> None:
    """A caller who asked to cancel reads that it was cancelled, also at the last moment."""
    rig.script.cancels = deque([CancelDone()])
    ended = await rig.advance(job(state, finish_by=NOW))
    assert ended is not None
    assert (ended.state, ended.billed, ended.errand) == (end, Billed.NO, None)
    assert [name for name, _ in rig.script.calls] == ["cancel"]


# --- doubt


async def test_a_submit_that_nobody_renewed_is_in_doubt(rig: Rig) -> None:
    after = await rig.advance(job(S.SUBMITTING))
    assert after is not None
    assert (after.state, after.due_at) == (S.IN_DOUBT, NOW + POLICY.doubt_hold)
    assert rig.script.calls == []


@pytest.mark.parametrize(
    ("own", "operators", "state", "sent"),
    [
        (None, DoubtPolicy.HOLD, S.IN_DOUBT, 1),
        (None, DoubtPolicy.FAIL, S.FAILED, 1),
        (None, DoubtPolicy.RESEND, S.FAILED, 2),
        (DoubtPolicy.HOLD, DoubtPolicy.RESEND, S.IN_DOUBT, 1),
        (DoubtPolicy.RESEND, DoubtPolicy.HOLD, S.FAILED, 2),
        (DoubtPolicy.FAIL, DoubtPolicy.HOLD, S.FAILED, 1),
    ],
)
async def test_a_tenants_policy_goes_before_the_operators(
    own: DoubtPolicy | None, operators: DoubtPolicy, state: JobState, sent: int
) -> None:
    rig = Rig(policy=replace(POLICY, doubt=operators))
    rig.roll.tenant = tenant(doubt=own)
    rig.script.submits = deque([NoAnswer(fault())] * 3)
    after = await rig.advance(job())
    assert after is not None
    assert (after.state, after.billed, rig.script.sent) == (state, Billed.UNKNOWN, sent)


async def test_a_held_doubt_is_given_up_when_its_hold_runs_out(rig: Rig) -> None:
    rig.roll.tenant = None
    after = await rig.advance(job(S.IN_DOUBT))
    assert after is not None
    assert (after.state, rig.facts) == (S.FAILED, [F.GIVEN_UP])


# --- errands


async def test_an_absent_cost_is_read_after_the_end(rig: Rig) -> None:
    rig.script.results = deque([DONE])
    after = await rig.advance(job(S.SUCCEEDED, errand=Errand.READ_COST, due_at=NOW))
    assert after is not None
    assert (after.cost, after.errand, rig.facts) == (COST, None, [])


async def test_an_ended_job_without_an_errand_is_left_alone(rig: Rig) -> None:
    for record in (job(S.FAILED), job(S.FAILED, errand=Errand.READ_COST, upstream_id=None)):
        assert await rig.advance(record) == record
    assert rig.script.calls == []


async def test_a_late_result_that_is_not_there_yet_is_awaited(rig: Rig) -> None:
    rig.script.results = deque([RUNS])
    await rig.advance(job(S.EXPIRED, errand=Errand.AWAIT_LATE_RESULT, due_at=NOW))
    assert rig.shelf.due["req_1"] == at(5)
    assert rig.shelf.changes == []


# --- callbacks


@pytest.mark.parametrize(
    ("own", "default", "url"),
    [
        (None, None, None),
        (None, "https://default.example/", "https://default.example/"),
        ("https://own.example/", "https://default.example/", "https://own.example/"),
    ],
)
async def test_an_end_is_stored_together_with_its_callback(
    rig: Rig, own: str | None, default: str | None, url: str | None
) -> None:
    rig.roll.tenant = tenant(webhook=default)
    rig.script.results = deque([DONE])
    await rig.advance(job(S.COLLECTING, webhook=own))
    (change,) = rig.shelf.changes
    assert change.after.state is S.SUCCEEDED
    assert [delivery.url for delivery in change.deliveries] == ([url] if url else [])
    assert {delivery.event for delivery in change.deliveries} <= {EventType.COMPLETED}


async def test_a_step_on_the_way_is_told_when_it_was_asked_for(rig: Rig) -> None:
    rig.script.statuses = deque([RUNS])
    await rig.advance(job(S.RUNNING, webhook="https://own.example/", webhook_intermediate=True))
    (change,) = rig.shelf.changes
    assert [delivery.event for delivery in change.deliveries] == [EventType.IN_PROGRESS]


async def test_a_move_is_told_with_all_that_a_reader_needs(rig: Rig) -> None:
    rig.script.results = deque([DONE])
    await rig.clock.advance(60 * SECOND)
    await rig.advance(job(S.COLLECTING))
    moved, settled = rig.events
    assert moved == JobTransitioned(
        job_id="req_1",
        tenant="video-team",
        model_id="kling/image-to-video",
        trigger=F.COLLECTED,
        before=S.COLLECTING,
        after=S.SUCCEEDED,
        age=60 * SECOND,
        upstream_id="up-1",
        run_duration=60 * SECOND,
    )
    verdict = Verdict.SPENT
    assert settled == CostSettled("req_1", "video-team", "kling/image-to-video", verdict, COST)


# --- room for polls


async def test_submits_that_hang_do_not_fill_the_worker() -> None:
    """Jobs beyond the places and the queue for them are put off, so that polls keep their room."""
    rig = Rig(policy=replace(POLICY, submits_at_once=1, submits_queued=1))
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        reached.set()
        await let_go.wait()

    rig.script.meanwhile = hang
    rig.script.submits.extend([Accepted("up-1"), Accepted("up-2")])
    first = asyncio.create_task(rig.advance(job(S.QUEUED)))
    await reached.wait()
    after = await rig.advance(job(S.QUEUED, id="req_2"))
    assert after is not None
    assert (after.state, rig.shelf.due["req_2"]) == (S.QUEUED, at(1))
    assert rig.script.sent == 1
    let_go.set()
    await first
    later = await rig.advance(job(S.QUEUED, id="req_2"))
    assert later is not None
    assert later.state is S.RUNNING
