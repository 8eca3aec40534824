"""Operators' use case: keep outputs of requests that have ended, while RunComfy still has them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import Field

from core.archive import ArchiveMode
from core.jobs.job import Job, JobState
from core.jobs.query import MAX_JOBS_PER_PAGE, JobQuery
from core.transactions.job_update import Change, WriteResult
from service.operator_context import EVERYBODY, AdminContext
from service.parsing.request_models import Document, RequestModel, Timestamp
from service.tenants.settings import TenantName
from service.tenants.tenants import load_tenant_or_deleted


class BackfillRequest(RequestModel):
    """Which requests' outputs are kept now."""

    since: Timestamp = Field(description="Requests created at this time or later.")
    tenant: TenantName | None = Field(None, description="null: every tenant.")


class BackfillResult(Document):
    """How many requests a backfill found."""

    scheduled: int = Field(description="Requests whose outputs workers keep now.")
    kept: int = Field(description="Requests whose outputs were kept, or pending, already.")
    expired: int = Field(description="Requests whose outputs RunComfy has deleted by now.")


async def backfill_outputs(admin: AdminContext, request: BackfillRequest) -> BackfillResult:
    """Let workers keep outputs that are not kept; also those that were given up.

    Independent of the mode in force. Raises `NotFound` for an unknown tenant.
    """
    counted = BackfillResult(scheduled=0, kept=0, expired=0)
    names = await _tenant_names(admin, request)
    try:
        async for job in _ended_jobs(admin, names, request.since):
            if job.archive_due_at is not None or job.has_kept_all:
                counted.kept += 1
            elif admin.clock.now() >= job.outputs_deleted_at:
                counted.expired += 1
            else:
                counted.scheduled += await _schedule(admin, job)
    finally:  # what was done before a failure is in the audit log too
        change = f"since {request.since.isoformat()}: {counted.scheduled} requests"
        if counted.scheduled:
            await admin.record_action("archive.backfill", request.tenant or EVERYBODY, change)
    return counted


async def _tenant_names(admin: AdminContext, request: BackfillRequest) -> Sequence[str]:
    if request.tenant is None:
        return sorted(await admin.stores.tenants.list_names())
    return [(await load_tenant_or_deleted(admin, request.tenant)).name]


async def _ended_jobs(
    admin: AdminContext, names: Sequence[str], since: datetime
) -> AsyncIterator[Job]:
    for name in names:
        query = JobQuery(created_after=since, limit=MAX_JOBS_PER_PAGE)
        while True:
            page = await admin.stores.job_index.list_page_for_tenant(name, query)
            for job in page.items:
                if job.state is JobState.SUCCEEDED or (job.is_final and job.late):
                    yield job
            if page.cursor is None:
                break
            query = replace(query, cursor=page.cursor)


async def _schedule(admin: AdminContext, job: Job) -> bool:
    """Return False if the job has changed meanwhile: it is being worked on."""
    now = admin.clock.now()
    after = job.evolve(
        now,
        archive=ArchiveMode.AFTER if job.archive is ArchiveMode.OFF else job.archive,
        archive_due_at=now,
        archive_attempts=0,
        link_secret=job.link_secret or admin.ids.secret().hex(),
        outputs=tuple(
            output if output.file_id is not None else replace(output, error=None)
            for output in job.outputs
        ),
    )
    return await admin.stores.jobs.store(Change(job, after)) is WriteResult.STORED
