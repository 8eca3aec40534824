"""The steps of a job: call, decide, store, emit. Submits have their own file."""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import timedelta

import pytest

from core.billing.settlement import SettlementStatus
from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobState, Trigger
from core.journal.records import attempts_prefix, entry_name
from core.money import MicroUsd
from core.observability.events import CostSettled, JobPolled, JobTransitioned, SubmitAnswered
from core.tenants.tenant import DoubtPolicy
from core.webhooks.delivery import WebhookEventType
from tests.support.records import NOW, POLICY, SECOND, at, fault, job, tenant, webhook_config
from tests.support.worker import BODY, WorkerHarness
from worker.ports import (
    Accepted,
    Finished,
    Indeterminate,
    InProgress,
    RequestNotFound,
    RunCompleted,
    Unreachable,
    UpstreamTimes,
)

S, F = JobState, Trigger
RUNS = InProgress(is_running=True, status_word="in_progress")
COST = MicroUsd(840_000)
DONE = RunCompleted(b'{"video": "https://cdn.example/a.mp4"}', COST, UpstreamTimes())
DOWN = Unreachable(fault())


@pytest.fixture
def worker() -> WorkerHarness:
    return WorkerHarness()


def test_every_state_has_a_step(worker: WorkerHarness) -> None:
    assert set(worker.lifecycle.states) == set(JobState)


async def test_from_the_queue_to_the_result(worker: WorkerHarness) -> None:
    worker.webhook_configs.config = webhook_config("https://hooks.example/")
    worker.upstream.submits = deque([Accepted("up-9")])
    worker.upstream.statuses = deque([RUNS, Finished("completed")])
    worker.upstream.results = deque([DONE])

    accepted = await worker.advance(job())
    assert accepted is not None
    assert (accepted.state, accepted.next_run_at) == (S.RUNNING, NOW + POLICY.initial_poll_delay)
    await worker.clock.advance(2 * SECOND)
    await worker.lifecycle.advance(accepted)
    await worker.lifecycle.advance(worker.jobs.job())

    record = worker.jobs.records["req_1"]
    assert (record.job.state, record.job.billed, record.job.cost) == (
        S.SUCCEEDED,
        BillingStatus.YES,
        COST,
    )
    assert record.output == DONE.output
    assert worker.triggers == [F.CLAIMED, F.ACCEPTED, F.STILL_RUNNING, F.FINISHED, F.COLLECTED]
    assert worker.upstream.bodies == [BODY]
    assert worker.upstream.calls == [
        ("submit", "kling/image-to-video"),
        ("status", "up-9"),
        ("status", "up-9"),
        ("result", "up-9"),
    ]
    assert [change.entry is not None for change in worker.jobs.changes] == [True] * 5


async def test_the_intent_is_stored_before_anything_leaves(worker: WorkerHarness) -> None:
    seen: list[Job] = []

    async def look() -> None:
        seen.append(worker.jobs.job())

    worker.upstream.during_submit = look
    worker.upstream.submits = deque([Accepted("up-9")])
    await worker.advance(job())
    assert [(held.state, held.lease_holder) for held in seen] == [(S.SUBMITTING, "worker-a")]


async def test_the_answer_is_told_before_it_is_stored(worker: WorkerHarness) -> None:
    worker.upstream.submits = deque([Accepted("up-9")])
    await worker.advance(job())
    kinds = [type(event) for event in worker.events]
    assert kinds == [JobTransitioned, SubmitAnswered, JobTransitioned]
    told = worker.events[1]
    assert isinstance(told, SubmitAnswered)
    assert (told.outcome, told.upstream_id, told.detail) == (F.ACCEPTED, "up-9", None)


# --- running


async def test_a_poll_without_news_is_only_counted(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([RUNS])
    running = job(S.RUNNING, upstream_status="in_progress", upstream_running=True)
    assert await worker.advance(running) == running
    assert (worker.jobs.due["req_1"], worker.jobs.polls) == (at(1), 1)
    assert worker.events == [JobPolled("req_1", "video-team", "kling/image-to-video", "running")]


async def test_a_poll_that_lost_a_race_changes_and_tells_nothing(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([Finished("completed")])
    worker.jobs.add(job(S.CANCELLED, version=9))
    await worker.lifecycle.advance(job(S.RUNNING))
    assert worker.jobs.job().state is S.CANCELLED
    assert worker.events == [JobPolled("req_1", "video-team", "kling/image-to-video", "ended")]
    assert worker.jobs.changes == []


async def test_a_result_that_is_away_is_left_for_its_time(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([Finished("completed")])
    worker.upstream.results = deque([DOWN, DOWN, DONE])
    away = await worker.advance(job(S.RUNNING))
    assert away is not None
    assert (away.state, away.next_run_at) == (S.COLLECTING, at(2))
    await worker.lifecycle.advance(away)
    assert worker.jobs.job() == away
    await worker.lifecycle.advance(away)
    assert worker.jobs.job().state is S.SUCCEEDED


async def test_a_running_job_without_an_id_is_a_defect(worker: WorkerHarness) -> None:
    after = await worker.advance(job(S.RUNNING, upstream_id=None))

    assert after is not None
    assert (after.state, after.step_failures) == (S.RUNNING, 1)
    assert worker.warnings == ["job_step_failed"]


# --- cancels


async def test_a_wish_from_the_submit_is_passed_on_and_ends_free(worker: WorkerHarness) -> None:
    worker.upstream.cancels = deque([CancelOutcome.CANCELLED])
    wish = job(S.RUNNING, cancel_requested_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)
    ended = await worker.advance(wish)
    assert ended is not None
    assert (ended.state, ended.billed) == (S.CANCELLED, BillingStatus.NO)
    assert ended.cancel_outcome is CancelOutcome.CANCELLED
    assert worker.triggers == [F.CANCEL_REQUESTED, F.CANCEL_DONE]


async def test_a_cancel_that_is_refused_goes_on_with_the_poll(worker: WorkerHarness) -> None:
    worker.upstream.cancels = deque([CancelOutcome.NOT_CANCELLABLE])
    worker.upstream.statuses = deque([RUNS])
    after = await worker.advance(job(S.CANCELLING, cancel_outcome=CancelOutcome.REQUESTED))
    assert after is not None
    assert (after.state, after.cancel_outcome) == (S.RUNNING, CancelOutcome.NOT_CANCELLABLE)
    assert [name for name, _ in worker.upstream.calls] == ["cancel", "status"]


async def test_a_wish_noted_while_the_submit_is_on_its_way(worker: WorkerHarness) -> None:
    async def wish() -> None:
        worker.last_change(cancel_requested_at=NOW, cancel_outcome=CancelOutcome.REQUESTED)

    worker.upstream.during_submit = wish
    worker.upstream.submits = deque([Accepted("up-9")])
    worker.upstream.cancels = deque([CancelOutcome.CANCELLED])
    ended = await worker.advance(job())
    assert ended is not None
    assert (ended.state, ended.upstream_id, ended.billed) == (S.CANCELLED, "up-9", BillingStatus.NO)
    assert worker.triggers == [F.CLAIMED, F.ACCEPTED, F.CANCEL_REQUESTED, F.CANCEL_DONE]


# --- deadlines


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
async def test_out_of_time_is_cancelled_and_its_late_result_fetched(
    worker: WorkerHarness, state: JobState
) -> None:
    worker.upstream.statuses = deque([RUNS])
    worker.upstream.cancels = deque([CancelOutcome.NOT_CANCELLABLE])
    worker.upstream.results = deque([DONE])
    late = await worker.advance(job(state, deadline=NOW))
    assert late is not None
    assert (late.state, late.late, late.billed, late.cost) == (
        S.EXPIRED,
        True,
        BillingStatus.YES,
        COST,
    )
    names = [name for name, _ in worker.upstream.calls]
    assert sorted(names[:2]) == ["cancel", "status"]
    assert names[2:] == ["result"]
    assert worker.triggers == [F.DEADLINE_EXCEEDED]


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
async def test_what_finished_is_a_success_after_the_deadline_too(
    worker: WorkerHarness, state: JobState
) -> None:
    worker.upstream.statuses = deque([Finished("completed")])
    worker.upstream.cancels = deque([CancelOutcome.NOT_CANCELLABLE])
    worker.upstream.results = deque([DONE])
    ended = await worker.advance(job(state, deadline=NOW))
    assert ended is not None
    assert (ended.state, ended.late, ended.cost) == (S.SUCCEEDED, False, COST)


async def test_an_unanswered_cancel_looks_at_the_status_too(worker: WorkerHarness) -> None:
    worker.upstream.cancels = deque([DOWN])
    worker.upstream.statuses = deque([Finished("completed")])
    worker.upstream.results = deque([DONE])
    ended = await worker.advance(job(S.CANCELLING, cancel_outcome=CancelOutcome.REQUESTED))
    assert ended is not None
    assert (ended.state, ended.cancel_outcome) == (S.SUCCEEDED, CancelOutcome.NOT_CANCELLABLE)
    assert [name for name, _ in worker.upstream.calls] == ["cancel", "status", "result"]


@pytest.mark.parametrize(("state", "end"), [(S.RUNNING, S.EXPIRED), (S.CANCELLING, S.CANCELLED)])
async def test_out_of_time_and_cancelled_in_time_is_over(
    worker: WorkerHarness, state: JobState, end: JobState
) -> None:
    """A job that was cancelled in time is `cancelled`, even if its deadline passes too."""
    worker.upstream.cancels = deque([CancelOutcome.CANCELLED])
    worker.upstream.statuses = deque([RUNS])
    ended = await worker.advance(job(state, deadline=NOW))
    assert ended is not None
    assert (ended.state, ended.billed, ended.follow_up) == (end, BillingStatus.NO, None)
    assert worker.upstream.calls[-1] == ("cancel", "up-1")


# --- doubt


async def test_a_submit_that_nobody_renewed_is_in_doubt(worker: WorkerHarness) -> None:
    worker.objects.put(entry_name(attempts_prefix(job()), 1), b"")
    after = await worker.advance(job(S.SUBMITTING))
    assert after is not None
    assert (after.state, after.next_run_at) == (S.IN_DOUBT, NOW + POLICY.doubt_hold)
    assert worker.upstream.calls == []


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
    rig = WorkerHarness(policy=replace(POLICY, doubt_policy=operators))
    rig.tenants.tenant = tenant(doubt=own)
    rig.upstream.submits = deque([Indeterminate(fault())] * 3)
    after = await rig.advance(job())
    assert after is not None
    assert (after.state, after.billed, rig.upstream.sent) == (state, BillingStatus.UNKNOWN, sent)


async def test_a_held_doubt_is_given_up_when_its_hold_runs_out(worker: WorkerHarness) -> None:
    worker.tenants.tenant = None
    after = await worker.advance(job(S.IN_DOUBT))
    assert after is not None
    assert (after.state, worker.triggers) == (S.FAILED, [F.MARKED_LOST])


@pytest.mark.parametrize("policy", [DoubtPolicy.HOLD, DoubtPolicy.FAIL, DoubtPolicy.RESEND])
async def test_after_an_undo_a_job_is_held_as_long_as_the_setting_says(policy: DoubtPolicy) -> None:
    hold = timedelta(hours=2)
    worker = WorkerHarness(policy=replace(POLICY, doubt_policy=policy, doubt_hold=hold))
    after = await worker.advance(job(S.IN_DOUBT, in_doubt_since=None))
    assert after is not None
    assert (after.state, after.in_doubt_since) == (S.IN_DOUBT, NOW)
    assert after.next_run_at == NOW + hold
    assert worker.upstream.calls == []


async def test_an_id_that_runcomfy_knows_is_attached_and_polled(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([RUNS, Finished("completed")])
    worker.upstream.results = deque([DONE])
    after = await worker.advance(job(S.IN_DOUBT, attach_id="up-7"))
    assert after is not None
    assert (after.state, after.upstream_id, after.attach_id) == (S.SUCCEEDED, "up-7", None)
    assert after.is_attached
    assert worker.upstream.calls[0] == ("status", "up-7")
    assert [type(event) for event in worker.events].count(JobPolled) == 2
    assert worker.jobs.changes[0].if_upstream_id_free


async def test_an_id_that_runcomfy_does_not_know_leaves_the_job_in_doubt(
    worker: WorkerHarness,
) -> None:
    worker.upstream.statuses = deque([RequestNotFound(fault("not_found", 404))])
    after = await worker.advance(job(S.IN_DOUBT, attach_id="up-7"))
    assert after is not None
    assert (after.state, after.attach_id, after.upstream_id) == (S.IN_DOUBT, None, None)
    assert after.next_run_at == NOW + POLICY.doubt_hold
    assert worker.jobs.changes[-1].entry is not None
    assert worker.jobs.changes[-1].entry.code == "attach_refused"


async def test_while_runcomfy_does_not_answer_it_is_asked_again(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([DOWN] * 2)
    asked = job(S.IN_DOUBT, attach_id="up-7")
    assert await worker.advance(asked) == asked
    due_at = worker.jobs.due[asked.id]
    assert due_at is not None
    assert NOW < due_at < NOW + POLICY.doubt_hold
    worker.clock.move(POLICY.doubt_hold)
    after = await worker.advance(asked)
    assert after is not None
    assert (after.state, after.attach_id) == (S.IN_DOUBT, None)


async def test_an_id_that_another_job_took_meanwhile_is_not_attached(
    worker: WorkerHarness,
) -> None:
    worker.jobs.taken_upstream_ids = {"up-7"}
    worker.upstream.statuses = deque([Finished("completed")])
    after = await worker.advance(job(S.IN_DOUBT, attach_id="up-7"))
    assert after is not None
    assert (after.state, after.attach_id) == (S.IN_DOUBT, None)


# --- errands


async def test_an_absent_cost_is_read_after_the_end(worker: WorkerHarness) -> None:
    worker.upstream.results = deque([DONE])
    after = await worker.advance(job(S.SUCCEEDED, follow_up=FollowUp.READ_COST, next_run_at=NOW))
    assert after is not None
    assert (after.cost, after.follow_up, worker.triggers) == (COST, None, [])


async def test_an_ended_job_without_an_errand_is_left_alone(worker: WorkerHarness) -> None:
    for record in (job(S.FAILED), job(S.FAILED, follow_up=FollowUp.READ_COST, upstream_id=None)):
        assert await worker.advance(record) == record
    assert worker.upstream.calls == []


async def test_a_late_result_that_is_not_there_yet_is_awaited(worker: WorkerHarness) -> None:
    worker.upstream.results = deque([RUNS])
    await worker.advance(job(S.EXPIRED, follow_up=FollowUp.AWAIT_LATE_RESULT, next_run_at=NOW))
    assert worker.jobs.due["req_1"] == at(5)
    assert worker.jobs.changes == []


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
    worker: WorkerHarness, own: str | None, default: str | None, url: str | None
) -> None:
    worker.webhook_configs.config = webhook_config(default)
    worker.upstream.results = deque([DONE])
    await worker.advance(job(S.COLLECTING, webhook=own))
    (change,) = worker.jobs.changes
    assert change.after.state is S.SUCCEEDED
    assert [delivery.url for delivery in change.deliveries] == ([url] if url else [])
    assert {delivery.event for delivery in change.deliveries} <= {WebhookEventType.COMPLETED}


async def test_a_step_on_the_way_is_told_when_it_was_asked_for(worker: WorkerHarness) -> None:
    worker.upstream.statuses = deque([RUNS])
    await worker.advance(job(S.RUNNING, webhook="https://own.example/", webhook_intermediate=True))
    (change,) = worker.jobs.changes
    assert [delivery.event for delivery in change.deliveries] == [WebhookEventType.IN_PROGRESS]


async def test_a_move_is_told_with_all_that_a_reader_needs(worker: WorkerHarness) -> None:
    worker.upstream.results = deque([DONE])
    await worker.clock.advance(60 * SECOND)
    await worker.advance(job(S.COLLECTING))
    moved, settled = worker.events
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
    verdict = SettlementStatus.SPENT
    assert settled == CostSettled("req_1", "video-team", "kling/image-to-video", verdict, COST)


# --- room for polls


async def test_submits_that_hang_do_not_fill_the_worker() -> None:
    """Jobs beyond the submit slots and their queue are postponed, so that polls keep theirs."""
    rig = WorkerHarness(policy=replace(POLICY, max_concurrent_submits=1, max_pending_submits=1))
    reached, let_go = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        reached.set()
        await let_go.wait()

    rig.upstream.during_submit = hang
    rig.upstream.submits.extend([Accepted("up-1"), Accepted("up-2")])
    first = asyncio.create_task(rig.advance(job(S.QUEUED)))
    await reached.wait()
    after = await rig.advance(job(S.QUEUED, id="req_2"))
    assert after is not None
    assert (after.state, rig.jobs.due["req_2"]) == (S.QUEUED, at(1))
    assert rig.upstream.sent == 1
    let_go.set()
    await first
    later = await rig.advance(job(S.QUEUED, id="req_2"))
    assert later is not None
    assert later.state is S.RUNNING
