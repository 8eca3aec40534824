"""The fakes of the job list and of `lib/retention.lua`."""

from datetime import datetime, timedelta

from core.billing.settlement import SettlementStatus, settlement_of
from core.clock import to_ms
from core.jobs.job import Job, JobState
from core.jobs.query import Cursor, JobQuery, score_fraction_of
from core.page import Page
from core.retention import RESULT_GRACE_PERIOD, RETENTION
from core.store.codecs import DELIVERY_CODEC, JOB_CODEC, TENANT_CODEC
from core.store.job_index import (
    INDEXED_STATUSES,
    MAX_ENTRIES_SKIPPED,
    MAX_RECORDS_READ,
    PRUNE_BATCH_SIZE,
    DeletionResult,
)
from core.tenants.api_keys import Credential, Scope
from core.tenants.tenant import Tenant
from tests.support.memory_store.admission import authenticate_call
from tests.support.memory_store.state import MemoryState, StoredRecord

SENDABLE = frozenset({JobState.QUEUED, JobState.SUBMITTING, JobState.IN_DOUBT, JobState.FOLLOWING})


def _tenant(memory: MemoryState, name: str) -> Tenant | None:
    row = memory.tenant(name)
    return None if row is None else TENANT_CODEC.decode(row.doc)


def forget_input(memory: MemoryState, row: StoredRecord, job: Job) -> None:
    """As the part of the Lua scripts with this name."""
    tenant = _tenant(memory, job.tenant)
    unpaid = job.state is JobState.CANCELLED and settlement_of(job).status is SettlementStatus.FREE
    dropped = tenant is not None and not tenant.keep_inputs and job.state not in SENDABLE
    if dropped or unpaid:
        row.input = None


def has_pending_delivery(memory: MemoryState, job_id: str) -> bool:
    """Whether a delivery of the job is still pending."""
    rows = (memory.delivery(name) for name in memory.job_deliveries.get(job_id, ()))
    return any(
        row is not None and DELIVERY_CODEC.decode(row.doc).next_attempt_at is not None
        for row in rows
    )


def start_retention(memory: MemoryState, row: StoredRecord, job: Job) -> None:
    """As the part of the Lua scripts with this name."""
    tenant, left = _tenant(memory, job.tenant), RETENTION
    own = tenant.result_ttl if tenant is not None else None
    kept_for = timedelta() if job.kept_until is None else job.kept_until - memory.clock.now()
    left = max(left, kept_for)
    if kept_for:
        row.retained_until = None
    if own is not None and max(own, kept_for) < left:
        own = max(own, kept_for)
        if job.next_run_at is not None or _is_needed(memory, job.id):
            row.retained_until = memory.ms_after(own)
        else:
            needed = memory.coalescing.followers_of(job.id) or memory.job_deliveries.get(job.id)
            left = max(own, RESULT_GRACE_PERIOD) if needed else own
    row.expires_at = memory.ms_after(left)


def _is_needed(memory: MemoryState, job_id: str) -> bool:
    return job_id in memory.archives or has_pending_delivery(memory, job_id)


def update_retention(memory: MemoryState, row: StoredRecord, job_id: str) -> None:
    """As the part of the Lua scripts with this name."""
    if row.retained_until is None or job_id in memory.due or _is_needed(memory, job_id):
        return
    row.expires_at = max(row.retained_until, memory.ms_after(RESULT_GRACE_PERIOD))


def _matches_model(place: float, query: JobQuery) -> bool:
    """Whether an entry is of the requested model, where the query names one."""
    if query.model_id is None or query.reference is not None:
        return True
    return place % 1 == score_fraction_of(query.model_id)


class MemoryJobIndex:
    """Fake of `core.store.job_index.JobIndex`: it sorts and filters all jobs."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def list_page(self, credential: Credential, query: JobQuery) -> Page[Job, Cursor]:
        authenticate_call(self._memory, credential, Scope.READ)
        return await self.list_page_for_tenant(credential.tenant, query)

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> Page[Job, Cursor]:
        found: list[Job] = []
        read, behind = 0, self._index(tenant, query)
        for number, (place, name) in enumerate(behind, start=1):
            if _matches_model(place, query):
                read += 1
                row = self._memory.job(name)
                if row is not None and query.matches(job := JOB_CODEC.decode(row.doc)):
                    found.append(job)
            if (
                len(found) == query.limit
                or read == MAX_RECORDS_READ
                or number == MAX_ENTRIES_SKIPPED
            ):
                more = number < len(behind)
                return Page(tuple(found), Cursor(place, name) if more else None)
        return Page(tuple(found))

    def _index(self, tenant: str, query: JobQuery) -> list[tuple[float, str]]:
        """The candidates of a page: jobs of its reference or status, or all."""
        cursor = query.cursor
        behind = None if cursor is None else (cursor.score, cursor.job_id)
        stretch = query.reference is None
        return [
            (place, name)
            for place, name in sorted(
                ((place, name) for name, place in self._memory.tenant_jobs.get(tenant, {}).items()),
                reverse=True,
            )
            if (behind is None or (place, name) < behind)
            and (not stretch or query.created_after is None or place >= to_ms(query.created_after))
            and (not stretch or query.created_before is None or place < to_ms(query.created_before))
            and self._is_indexed(name, query)
        ]

    def _is_indexed(self, job_id: str, query: JobQuery) -> bool:
        row = self._memory.jobs.get(job_id)
        if query.reference is not None:
            return row is not None and JOB_CODEC.decode(row.doc).reference == query.reference
        if query.status not in INDEXED_STATUSES:
            return True
        return row is not None and JOB_CODEC.decode(row.doc).status is query.status

    async def delete(self, job: Job) -> DeletionResult:
        memory, row = self._memory, self._memory.job(job.id)
        if row is None:
            return DeletionResult.NOT_FOUND
        if row.version != job.version:
            return DeletionResult.CONFLICT
        followed = bool(memory.coalescing.followers_of(job.id))
        if followed or job.id in memory.due or has_pending_delivery(memory, job.id):
            return DeletionResult.HAS_PENDING_WORK
        for name in memory.job_deliveries.pop(job.id, ()):
            memory.deliveries.pop(name, None)
            memory.attempts.pop(name, None)
            memory.job_index.get(job.tenant, {}).pop(name, None)
        memory.coalescing.forget_result(job.id)
        del memory.jobs[job.id]
        memory.archives.pop(job.id, None)
        memory.timelines.pop(job.id, None)
        del memory.tenant_jobs[job.tenant][job.id]
        return DeletionResult.DELETED

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]:
        index = self._memory.tenant_jobs.get(tenant, {})
        step = sorted((place, name) for name, place in index.items())[offset:][:PRUNE_BATCH_SIZE]
        ripe = [name for place, name in step if place < to_ms(created_before)]
        gone = [name for name in ripe if self._memory.job(name) is None]
        for name in gone:
            del index[name]
        over = len(ripe) < PRUNE_BATCH_SIZE
        return len(gone), None if over else offset + len(ripe) - len(gone)

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool:
        return self._memory.acquire_lock("prune", worker, lease)
