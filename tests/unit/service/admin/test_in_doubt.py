"""Submits in doubt: their details, and resolutions that take effect once."""

from typing import Any

import httpx
import pytest

from core.billing.settlement import SettlementStatus
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.in_doubt import Attach, Resolution
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import AdminAction, CostSettled, JobTransitioned
from core.store.codecs import DELIVERY_CODEC, JOB_CODEC
from core.transactions.job_update import Change, WriteResult
from service.admin.in_doubt import list_in_doubt, resolve_in_doubt
from service.operator_context import AdminContext
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness
from tests.support.memory_store.jobs import MemoryJobStore
from tests.support.records import SECOND

TOKEN = "operators-token-of-32-characters"


@pytest.fixture
def admin_context(app: AppHarness) -> AdminContext:
    """The operator's context over the app's stores."""
    return app.resources.admin


@pytest.fixture
async def job_in_doubt(app: AppHarness) -> Job:
    """A job in doubt of a tenant with a webhook."""
    key = await app.tenant("ads", webhook="https://hooks.example.com/x")
    async with app.client(key) as caller:
        answer = await caller.post(f"{KLING_PATH}?reference=order-7", json=KLING_INPUT)
    sent = await apply_trigger(
        app, answer.json()["request_id"], Trigger.CLAIMED, sent_at=app.clock.now()
    )
    return await apply_trigger(
        app,
        sent.id,
        Trigger.NO_ANSWER,
        in_doubt_since=app.clock.now(),
        next_run_at=app.clock.now() + 900 * SECOND,
        billed=BillingStatus.UNKNOWN,
    )


async def apply_trigger(app: AppHarness, job_id: str, fact: Trigger, **parts: Any) -> Job:  # noqa: ANN401 - fields of a job
    before = JOB_CODEC.decode(app.stores.memory.jobs[job_id].doc)
    now = app.clock.now()
    after = before.transition(fact, now, **parts)
    status = 502 if fact is Trigger.NO_ANSWER else None
    entry = TimelineEntry(now, TimelineKind.UPSTREAM, fact, after.state, "server_error: no", status)
    assert await app.stores.jobs.store(Change(before, after, entry)) is WriteResult.STORED
    return after


async def test_all_that_is_known_is_shown(app: AppHarness, job_in_doubt: Job) -> None:
    async with operator(app) as http:
        answer = await http.get("/admin/v1/doubts")
    (doubt,) = answer.json()["doubts"]
    assert doubt["request_id"] == job_in_doubt.id
    assert (doubt["tenant"], doubt["model_id"]) == ("ads", KLING)
    assert doubt["sent_at"] == "2026-03-01T12:00:00Z"
    assert doubt["held_until"] == "2026-03-01T12:15:00Z"
    assert doubt["what_came_back"] == "HTTP 502: server_error: no"
    assert doubt["fingerprint"] == job_in_doubt.fingerprint
    assert doubt["estimated_cost"] == 0.63
    assert doubt["reference"] == "order-7"
    assert [entry["what"] for entry in doubt["submits"]] == ["claimed", "no_answer"]


def operator(app: AppHarness) -> httpx.AsyncClient:
    app.enable_admin_api(TOKEN)
    return app.client(TOKEN)


@pytest.mark.parametrize(
    ("resolution", "state", "rung", "settled"),
    [
        (Attach("up-7"), JobState.RUNNING, True, []),
        ("resend", JobState.QUEUED, True, []),
        ("lost", JobState.FAILED, False, [SettlementStatus.ESTIMATED]),
    ],
)
async def test_a_decision_is_carried_out_told_and_noted(
    app: AppHarness,
    admin_context: AdminContext,
    job_in_doubt: Job,
    resolution: Resolution,
    state: JobState,
    settled: list[SettlementStatus],
    *,
    rung: bool,
) -> None:
    app.stores.memory.wake_queue.clear()
    job = await resolve_in_doubt(admin_context, job_in_doubt.id, resolution)

    assert job.state is state
    assert JOB_CODEC.decode(app.stores.memory.jobs[job.id].doc) == job
    assert (f"{job.id}:{job.version}" in app.stores.memory.wake_queue) is rung
    assert [moved.after for moved in app.events_of(JobTransitioned)] == [state]
    assert [cost.settlement for cost in app.events_of(CostSettled)] == settled
    assert [done.action for done in app.events_of(AdminAction)] == ["doubt.resolve"]
    (entry,) = await admin_context.stores.audit.list_entries(10)
    assert (entry.actor, entry.subject) == ("admin-api", job.id)
    assert await list_in_doubt(admin_context) == []


async def test_a_lost_one_is_called_back_and_may_have_been_charged(
    app: AppHarness, admin_context: AdminContext, job_in_doubt: Job
) -> None:
    job = await resolve_in_doubt(admin_context, job_in_doubt.id, "lost")
    assert job.billed is BillingStatus.UNKNOWN
    (row,) = app.stores.memory.deliveries.values()
    assert DELIVERY_CODEC.decode(row.doc).url == "https://hooks.example.com/x"


async def test_what_is_not_in_doubt_is_no_matter_for_a_decision(
    admin_context: AdminContext, job_in_doubt: Job
) -> None:
    await resolve_in_doubt(admin_context, job_in_doubt.id, "resend")
    with pytest.raises(Conflict):
        await resolve_in_doubt(admin_context, job_in_doubt.id, "resend")
    with pytest.raises(NotFound):
        await resolve_in_doubt(admin_context, "req_0", "lost")
    assert len(await admin_context.stores.audit.list_entries(10)) == 1


@pytest.mark.parametrize("upstream_id", ["", "../x", "a b", "x" * 129, "é"])
async def test_what_can_be_no_id_is_not_attached(
    admin_context: AdminContext, job_in_doubt: Job, upstream_id: str
) -> None:
    with pytest.raises(InvalidInput):
        await resolve_in_doubt(admin_context, job_in_doubt.id, Attach(upstream_id))
    assert len(await list_in_doubt(admin_context)) == 1


async def test_a_worker_that_comes_first_is_built_upon(app: AppHarness, job_in_doubt: Job) -> None:
    """A cancel request was stored between the operator's read and the decision."""

    class Overtaken(MemoryJobStore):
        async def store(self, change: Change) -> WriteResult:
            if not app.events_of(AdminAction) and self.first:
                self.first = False
                noted = change.before.evolve(app.clock.now(), cancel_requested_at=app.clock.now())
                await super().store(Change(change.before, noted))
            return await super().store(change)

        first = True

    app.replace_resources(admin=app.admin_context_with(jobs=Overtaken(app.stores.memory)))
    job = await resolve_in_doubt(app.resources.admin, job_in_doubt.id, Attach("up-7"))
    assert job.cancel_requested_at is not None
    assert job.upstream_id == "up-7"
