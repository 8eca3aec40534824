"""Submits in doubt: their details, and resolutions that take effect once."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from core.billing.settlement import SettlementStatus
from core.errors import Conflict, InvalidInput, NotFound
from core.jobs.in_doubt import ATTACH_REFUSED, Attach, Resolution, attach
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import AdminAction, CostSettled, JobTransitioned
from core.store.codecs import DELIVERY_CODEC, JOB_CODEC, TENANT_CODEC
from core.transactions.job_update import Change, WriteResult
from service.admin.in_doubt import (
    ATTACH_TIMEOUT,
    list_in_doubt,
    prompt_excerpt,
    resolve_in_doubt,
)
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
    assert doubt["prompt"] == KLING_INPUT["prompt"][:80]
    assert doubt["attach_id"] is None
    assert [entry["what"] for entry in doubt["submits"]] == ["claimed", "no_answer"]


def operator(app: AppHarness) -> httpx.AsyncClient:
    app.enable_admin_api(TOKEN)
    return app.client(TOKEN)


@pytest.mark.parametrize(
    ("resolution", "state", "rung", "settled"),
    [
        (Attach("up-7", force=True), JobState.RUNNING, True, []),
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
    job = await resolve_in_doubt(app.resources.admin, job_in_doubt.id, Attach("up-7", force=True))
    assert job.cancel_requested_at is not None
    assert job.upstream_id == "up-7"


# --- attach: RunComfy is asked first


async def wait_for_attach(app: AppHarness, job: Job) -> asyncio.Task[Job]:
    """An operator's attach, as it waits for a worker."""
    waiting = asyncio.create_task(resolve_in_doubt(app.resources.admin, job.id, Attach("up-7")))
    await app.clock.advance(SECOND)
    return waiting


async def test_an_attach_waits_until_a_worker_has_asked_runcomfy(
    app: AppHarness, job_in_doubt: Job
) -> None:
    app.stores.memory.wake_queue.clear()
    waiting = await wait_for_attach(app, job_in_doubt)
    asked = await stored(app, job_in_doubt)
    assert (asked.state, asked.attach_id) == (JobState.IN_DOUBT, "up-7")
    assert f"{asked.id}:{asked.version}" in app.stores.memory.wake_queue
    known = attach(asked, "up-7", app.clock.now())
    await app.stores.jobs.store(Change(asked, known, if_upstream_id_free=True))
    await app.clock.advance(SECOND)
    assert (await waiting).upstream_id == "up-7"
    assert await app.stores.jobs.find_by_upstream_id("up-7") == asked.id


async def test_an_id_that_runcomfy_does_not_know_is_refused(
    app: AppHarness, job_in_doubt: Job
) -> None:
    waiting = await wait_for_attach(app, job_in_doubt)
    asked, now = await stored(app, job_in_doubt), app.clock.now()
    entry = TimelineEntry(now, TimelineKind.UPSTREAM, ATTACH_REFUSED, asked.state, "Not known.")
    await app.stores.jobs.store(Change(asked, asked.evolve(now, attach_id=None), entry))
    await app.clock.advance(SECOND)
    with pytest.raises(Conflict, match=r"Not known\. Check the id; `force`"):
        await waiting


async def test_an_attach_that_no_worker_answers_stays_requested(
    app: AppHarness, job_in_doubt: Job
) -> None:
    waiting = await wait_for_attach(app, job_in_doubt)
    await app.clock.advance(ATTACH_TIMEOUT)
    with pytest.raises(Conflict, match="as soon as RunComfy confirms it"):
        await waiting
    assert (await stored(app, job_in_doubt)).attach_id == "up-7"


@pytest.mark.parametrize("force", [False, True])
async def test_an_id_that_another_job_has_or_had_is_never_attached(
    app: AppHarness, admin_context: AdminContext, job_in_doubt: Job, *, force: bool
) -> None:
    app.stores.memory.upstream_ids["up-7"] = "req_another"
    with pytest.raises(Conflict, match="job req_another"):
        await resolve_in_doubt(admin_context, job_in_doubt.id, Attach("up-7", force=force))
    assert await stored(app, job_in_doubt) == job_in_doubt


async def test_an_attached_id_can_be_undone_while_runcomfy_does_not_know_it(
    app: AppHarness, admin_context: AdminContext, job_in_doubt: Job
) -> None:
    job = await resolve_in_doubt(admin_context, job_in_doubt.id, Attach("up-7", force=True))
    with pytest.raises(Conflict, match="knows the attached id"):
        await resolve_in_doubt(admin_context, job.id, "undo")
    missed = job.evolve(app.clock.now(), upstream_error="not_found")
    await app.stores.jobs.store(Change(job, missed))
    undone = await resolve_in_doubt(admin_context, job.id, "undo")
    assert (undone.state, undone.upstream_id) == (JobState.IN_DOUBT, None)
    assert undone.upstream_error is None
    (listed,) = await list_in_doubt(admin_context)
    assert listed.view.record.job == undone
    with pytest.raises(Conflict, match="not running under an attached id"):
        await resolve_in_doubt(admin_context, job.id, "undo")


async def test_what_runcomfy_accepted_by_itself_is_not_undone(
    app: AppHarness, admin_context: AdminContext, job_in_doubt: Job
) -> None:
    now = app.clock.now()
    running = job_in_doubt.accept("up-8", now, now).evolve(now, upstream_error="not_found")
    await app.stores.jobs.store(
        Change(job_in_doubt, replace(running, version=job_in_doubt.version + 1))
    )
    with pytest.raises(Conflict, match="not running under an attached id"):
        await resolve_in_doubt(admin_context, job_in_doubt.id, "undo")


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        (b'{"prompt": "a cat"}', "a cat"),
        (b'{"prompt": "%s"}' % (b"x" * 90), "x" * 80),
        (b'{"image": "u"}', '{"image": "u"}'),
        (b'{"prompt": 5}', '{"prompt": 5}'),
        (b"[1]", "[1]"),
        (b"no json", "no json"),
    ],
)
def test_the_excerpt_of_a_prompt(text: bytes, excerpt: str) -> None:
    assert prompt_excerpt(text) == excerpt


async def test_no_prompt_is_shown_where_inputs_are_not_kept(
    app: AppHarness, admin_context: AdminContext, job_in_doubt: Job
) -> None:
    tenant = await app.stores.tenants.load(job_in_doubt.tenant)
    assert tenant is not None
    app.stores.memory.tenants["ads"].doc = TENANT_CODEC.encode(replace(tenant, keep_inputs=False))
    (listed,) = await list_in_doubt(admin_context)
    assert listed.prompt is None


async def stored(app: AppHarness, job: Job) -> Job:
    record = await app.stores.jobs.load(job.id)
    assert record is not None
    return record.job


@pytest.mark.parametrize(
    "body",
    [
        {"resolution": "attach"},
        {"resolution": "lost", "upstream_request_id": "up-7"},
        {"resolution": "lost", "force": True},
        {"resolution": "attach", "upstream_request_id": "up-7", "force": "yes"},
    ],
)
async def test_a_resolution_that_makes_no_sense_is_refused(
    app: AppHarness, job_in_doubt: Job, body: dict[str, Any]
) -> None:
    async with operator(app) as http:
        answer = await http.post(f"/admin/v1/doubts/{job_in_doubt.id}", json=body)
    assert answer.status_code in {400, 422}
