"""A cancel's effect in each state, and its races with workers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from core.billing.settlement import SettlementStatus
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, PublicStatus, Trigger
from core.jobs.timeline import TimelineKind
from core.observability.events import CostSettled, JobAdmitted, JobTransitioned
from core.store.codecs import DELIVERY_CODEC, JOB_CODEC, TIMELINE_ENTRY_CODEC
from core.tenants.api_keys import Scope
from core.transactions.job_update import Change, WriteResult
from core.webhooks.delivery import WebhookEventType
from service.jobs.cancel import DECISIONS, MAX_CANCEL_WAIT, MAX_TRIES, decide_cancel
from service.streaming.subscriptions import Subscriptions
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.clock import run_ready_tasks
from tests.support.job_steps import apply_trigger, finish_run, only_job, start_run
from tests.support.memory_store.jobs import MemoryJobStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
S, C = JobState, CancelOutcome


def job(state: JobState, **parts: object) -> Job:
    """A job in `state`."""
    known = Job("req_1", "video-team", KLING, "1:x", NOW, NOW, state=state, next_run_at=NOW)
    return known.evolve(NOW, **parts) if parts else known


def test_every_state_has_its_decision() -> None:
    assert set(DECISIONS) == set(JobState)


@pytest.mark.parametrize(
    ("state", "outcome", "after"),
    [
        (S.QUEUED, C.CANCELLED, S.CANCELLED),
        (S.SUBMITTING, C.REQUESTED, S.SUBMITTING),
        (S.IN_DOUBT, C.REQUESTED, S.IN_DOUBT),
        (S.RUNNING, C.REQUESTED, S.CANCELLING),
        (S.CANCELLING, C.REQUESTED, None),
        (S.COLLECTING, C.NOT_CANCELLABLE, None),
        (S.ARCHIVING, C.NOT_CANCELLABLE, None),
        (S.SUCCEEDED, C.NOT_CANCELLABLE, None),
        (S.FAILED, C.NOT_CANCELLABLE, None),
        (S.EXPIRED, C.NOT_CANCELLABLE, None),
        (S.CANCELLED, C.CANCELLED, None),
    ],
)
def test_a_cancel_means(state: JobState, outcome: CancelOutcome, after: JobState | None) -> None:
    decision = decide_cancel(job(state), NOW)
    assert decision.outcome is outcome
    assert (decision.after.state if decision.after else None) is after


def test_a_waiting_job_ends_at_once_and_free() -> None:
    after = decide_cancel(job(S.QUEUED), NOW).after
    assert after is not None
    assert (after.finished_at, after.next_run_at) == (NOW, None)
    assert (after.billed, after.cancel_outcome) == (BillingStatus.NO, C.CANCELLED)


def test_a_job_that_waits_for_its_second_submit_is_not_called_free() -> None:
    after = decide_cancel(job(S.QUEUED, resends_approved=1), NOW).after
    assert after is not None
    assert after.billed is BillingStatus.UNKNOWN


def test_a_running_job_is_rung_for_now() -> None:
    later = NOW + timedelta(seconds=9)
    decision = decide_cancel(job(S.RUNNING, next_run_at=later), NOW)
    assert decision.wake_worker
    assert decision.after is not None
    assert decision.after.next_run_at == NOW


@pytest.mark.parametrize("state", [S.SUBMITTING, S.IN_DOUBT])
def test_a_wish_is_written_down_once_and_keeps_the_lease(state: JobState) -> None:
    lease = NOW + timedelta(seconds=15)
    first = decide_cancel(job(state, next_run_at=lease), NOW).after
    assert first is not None
    assert (first.cancel_requested_at, first.next_run_at) == (NOW, lease)
    assert decide_cancel(first, NOW).after is None
    assert decide_cancel(first, NOW).outcome is C.REQUESTED


def test_runcomfy_s_refusal_is_told_and_not_asked_for_again() -> None:
    told = job(S.RUNNING, cancel_outcome=C.NOT_CANCELLABLE)
    decision = decide_cancel(told, NOW)
    assert (decision.outcome, decision.after) == (C.NOT_CANCELLABLE, None)


# --- through the face


async def submitted(caller: httpx.AsyncClient) -> str:
    """Submit a job and return its id."""
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    job_id: str = answer.json()["request_id"]
    return job_id


async def cancel(caller: httpx.AsyncClient, job_id: str) -> httpx.Response:
    """Request the cancel."""
    return await caller.post(f"/v1/requests/{job_id}/cancel")


async def test_cancelling_a_waiting_job(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(caller)

    answer = await cancel(caller, job_id)

    assert answer.status_code == 202
    assert answer.json() == {
        "request_id": job_id,
        "status": "cancelled",
        "gateway_status": PublicStatus.CANCELLED,
        "outcome": "cancelled",
    }
    entries = [TIMELINE_ENTRY_CODEC.decode(entry) for entry in app.stores.memory.timelines[job_id]]
    assert (entries[-1].kind, entries[-1].code) == (TimelineKind.CALLER, "cancel_requested")
    assert job_id not in app.stores.memory.due
    (moved,) = app.events_of(JobTransitioned)
    assert (moved.trigger, moved.after) == (Trigger.CANCEL_REQUESTED, S.CANCELLED)
    (admitted,), (settled,) = app.events_of(JobAdmitted), app.events_of(CostSettled)
    assert (settled.settlement, settled.amount) == (SettlementStatus.FREE, admitted.estimate)


async def pending_cancel(app: AppHarness, caller: httpx.AsyncClient) -> asyncio.Task[Any]:
    """The cancel of a running job, which waits for RunComfy's answer."""
    job_id = await submitted(caller)
    await start_run(app)
    task = asyncio.create_task(cancel(caller, job_id))
    await run_ready_tasks()
    assert not task.done()
    return task


@pytest.mark.parametrize(
    ("trigger", "changes", "outcome", "status"),
    [
        (Trigger.CANCEL_DONE, {"cancel_outcome": C.CANCELLED}, "cancelled", "cancelled"),
        (
            Trigger.NOT_CANCELLABLE,
            {"cancel_outcome": C.NOT_CANCELLABLE},
            "not_cancellable",
            "in_progress",
        ),
        (Trigger.RUN_FAILED, {}, "not_cancellable", "completed"),
    ],
)
async def test_a_cancel_of_a_running_job_waits_for_runcomfys_word(
    app: AppHarness,
    caller: httpx.AsyncClient,
    trigger: Trigger,
    changes: dict[str, Any],
    outcome: str,
    status: str,
) -> None:
    task = await pending_cancel(app, caller)
    await app.clock.advance(timedelta(seconds=1))
    await apply_trigger(app, trigger, **changes)
    answer = await task
    assert answer.status_code == 202
    assert (answer.json()["outcome"], answer.json()["status"]) == (outcome, status)
    assert len(app.resources.subscriptions) == 0


async def test_a_cancel_that_gets_no_answer_is_requested(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    task = await pending_cancel(app, caller)
    await app.clock.advance(MAX_CANCEL_WAIT - timedelta(milliseconds=1))
    assert not task.done()
    await app.clock.advance(timedelta(milliseconds=1))
    answer = await task
    assert (answer.status_code, answer.json()["outcome"]) == (202, "requested")
    assert only_job(app).state is S.CANCELLING
    # A later cancel waits for the same answer.
    again = asyncio.create_task(cancel(caller, only_job(app).id))
    await run_ready_tasks()
    await apply_trigger(app, Trigger.CANCEL_DONE, cancel_outcome=C.CANCELLED)
    assert (await again).json()["outcome"] == "cancelled"


async def test_the_change_of_another_kind_ends_no_wait(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    await apply_trigger(app, Trigger.CLAIMED, attempts=1, sent_at=app.clock.now())
    task = asyncio.create_task(cancel(caller, job_id))
    await run_ready_tasks()
    await apply_trigger(app, Trigger.ACCEPTED, upstream_id="up-1")
    await run_ready_tasks()
    assert not task.done()
    await app.clock.advance(MAX_CANCEL_WAIT)
    assert (await task).json()["outcome"] == "requested"


async def test_where_no_wait_is_free_a_cancel_is_answered_immediately(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    await start_run(app)
    app.replace_resources(subscriptions=Subscriptions(app.clock, 0, 0))
    answer = await cancel(caller, job_id)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "requested")


async def test_a_key_that_may_only_cancel_is_answered_too(app: AppHarness) -> None:
    key = await app.tenant("team", scopes=frozenset({Scope.SUBMIT, Scope.CANCEL}))
    async with app.client(key) as caller:
        task = await pending_cancel(app, caller)
        await apply_trigger(app, Trigger.CANCEL_DONE, cancel_outcome=C.CANCELLED)
        assert (await task).json()["outcome"] == "cancelled"


async def test_nothing_is_done_for_a_job_that_has_ended(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    await start_run(app)
    await finish_run(app)
    answer = await cancel(caller, job_id)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "not_cancellable")


async def test_who_follows_another_s_work_has_nothing_to_be_given_back(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    ids = [
        (await caller.post(KLING_PATH, params={"cache": "use"}, json=KLING_INPUT)).json()
        for _ in range(2)
    ]
    assert (await cancel(caller, ids[1]["request_id"])).json()["outcome"] == "cancelled"
    assert [moved.before for moved in app.events_of(JobTransitioned)] == [S.FOLLOWING]
    assert app.events_of(CostSettled) == []


async def test_twice_is_one_cancel(app: AppHarness, caller: httpx.AsyncClient) -> None:
    job_id = await submitted(caller)
    answers = [(await cancel(caller, job_id)).json()["outcome"] for _ in range(2)]
    assert answers == ["cancelled", "cancelled"]
    assert len(app.events_of(JobTransitioned)) == 1


async def test_the_tenant_s_own_webhook_hears_of_it(app: AppHarness) -> None:
    key = await app.tenant("called-back", webhook="https://hooks.example.com/")
    async with app.client(key) as caller:
        await cancel(caller, await submitted(caller))

    (row,) = app.stores.memory.deliveries.values()
    delivery = DELIVERY_CODEC.decode(row.doc)
    assert (delivery.event, delivery.url) == (
        WebhookEventType.CANCELLED,
        "https://hooks.example.com/",
    )


async def test_a_job_s_own_webhook_comes_first(app: AppHarness) -> None:
    key = await app.tenant("called-back", webhook="https://hooks.example.com/")
    async with app.client(key) as caller:
        answer = await caller.post(
            KLING_PATH, params={"webhook": "https://own.example.com/"}, json=KLING_INPUT
        )
        await cancel(caller, answer.json()["request_id"])

    (row,) = app.stores.memory.deliveries.values()
    assert DELIVERY_CODEC.decode(row.doc).url == "https://own.example.com/"


async def test_another_tenant_s_job_is_not_there(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    other = await app.tenant("other-team")
    async with app.client(other) as stranger:
        assert (await cancel(stranger, job_id)).status_code == 404
    assert app.stores.memory.all_jobs()[0].state is S.QUEUED


async def test_a_key_that_may_only_read_cannot_cancel(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    job_id = await submitted(caller)
    reader = await app.tenant("reader", scopes=frozenset({Scope.READ}))
    async with app.client(reader) as stranger:
        assert (await cancel(stranger, job_id)).status_code == 403


class ContendedJobStore(MemoryJobStore):
    """Loses the first `losses` writes to a worker."""

    lost_races = 1

    async def store(self, change: Change) -> WriteResult:
        if self.lost_races:
            self.lost_races -= 1
            row = self._memory.jobs[change.before.id]
            won = (
                change.before.transition(Trigger.CLAIMED, NOW)
                if change.before.can(Trigger.CLAIMED)
                else change.before.evolve(NOW, cancel_requested_at=None)
            )
            row.version, row.doc = won.version, JOB_CODEC.encode(won)
            return WriteResult.CONFLICT
        return await super().store(change)


async def test_a_cancel_that_lost_to_a_claim_is_decided_anew(app: AppHarness, key: str) -> None:
    app.replace_stores(jobs=ContendedJobStore(app.stores.memory))
    async with app.client(key) as caller:
        task = asyncio.create_task(cancel(caller, await submitted(caller)))
        await app.clock.advance(MAX_CANCEL_WAIT)
        answer = await task

    assert answer.json()["outcome"] == "requested"
    (stored,) = app.stores.memory.all_jobs()
    assert (stored.state, stored.cancel_requested_at) == (S.SUBMITTING, NOW)


async def test_a_race_without_end_is_told_as_such(app: AppHarness, key: str) -> None:
    raced = ContendedJobStore(app.stores.memory)
    raced.lost_races = MAX_TRIES
    app.replace_stores(jobs=raced)
    async with app.client(key) as caller:
        answer = await cancel(caller, await submitted(caller))
    assert (answer.status_code, answer.json()["code"]) == (409, "job_contended")
    assert answer.json()["retryable"] is True


class VanishingJobStore(MemoryJobStore):
    """The record disappears between the read and the write."""

    async def store(self, change: Change) -> WriteResult:
        assert change.after.id
        return WriteResult.NOT_FOUND


async def test_a_job_that_is_gone_by_then_is_404(app: AppHarness, key: str) -> None:
    app.replace_stores(jobs=VanishingJobStore(app.stores.memory))
    async with app.client(key) as caller:
        assert (await cancel(caller, await submitted(caller))).status_code == 404
