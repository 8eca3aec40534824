"""Twin of the list of jobs, and of how long what is known of a job is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.clock import MILLISECOND, to_ms
from core.errors import NotPermitted, Unauthenticated
from core.jobs.job import JobState
from core.jobs.query import Cursor, JobPage, part_of
from core.retention import KEEP_AFTER, RETENTION
from core.store.codecs import DELIVERIES, JOBS, TENANTS
from core.store.job_index import INDEXED, MOST_PASSED, MOST_READ, TRIM_STEP, Deletion
from core.tenants.api_keys import Scope

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from core.jobs.job import Job
    from core.jobs.query import JobQuery
    from core.tenants.api_keys import Credential
    from core.tenants.tenant import Tenant
    from tests.fakes.memory import Memory, Row

SENDABLE = frozenset({JobState.QUEUED, JobState.SUBMITTING, JobState.IN_DOUBT, JobState.FOLLOWING})


def _tenant(memory: Memory, name: str) -> Tenant | None:
    row = memory.tenant(name)
    return None if row is None else TENANTS.read(row.doc)


def forget_input(memory: Memory, row: Row, job: Job) -> None:
    """As the script part of that name."""
    tenant = _tenant(memory, job.tenant)
    if tenant is not None and not tenant.keep_inputs and job.state not in SENDABLE:
        row.input = None


def is_awaited(memory: Memory, job_id: str) -> bool:
    """Whether a callback about the job is still to be tried."""
    rows = (memory.delivery(name) for name in memory.job_deliveries.get(job_id, ()))
    return any(row is not None and DELIVERIES.read(row.doc).due_at is not None for row in rows)


def keep(memory: Memory, row: Row, job: Job) -> None:
    """As the script part of that name."""
    tenant, left = _tenant(memory, job.tenant), RETENTION
    own = tenant.result_ttl if tenant is not None else None
    if own is not None and own < left:
        if job.due_at is not None or is_awaited(memory, job.id):
            row.until = memory.after(own)
        else:
            needed = memory.flights.followed(job.id) or memory.job_deliveries.get(job.id)
            left = max(own, KEEP_AFTER) if needed else own
    row.expires_at = memory.after(left)


def release(memory: Memory, row: Row, job_id: str) -> None:
    """As the script part of that name."""
    if row.until is None or job_id in memory.due or is_awaited(memory, job_id):
        return
    row.expires_at = max(row.until, memory.after(KEEP_AFTER))


def _may_fit(place: float, query: JobQuery) -> bool:
    """Whether a place is one of the model asked for, where that is looked at."""
    if query.model_id is None or query.reference is not None:
        return True
    return place % 1 == part_of(query.model_id)


class MemoryListedJobs:
    """Twin of `core.store.job_index.ListedJobs`: it sorts all jobs and looks at each."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def page(self, credential: Credential, query: JobQuery) -> JobPage:
        """See `ListedJobs.page`."""
        memory, key = self._memory, self._memory.keys.get(credential.digest)
        tenant = memory.tenants.get(credential.tenant)
        if key is None or key.tenant != credential.tenant or tenant is None or tenant.disabled:
            raise Unauthenticated
        if key.expires_at is not None and key.expires_at <= memory.now:
            raise Unauthenticated
        if Scope.READ not in key.scopes:
            raise NotPermitted
        return await self.page_of(credential.tenant, query)

    async def page_of(self, tenant: str, query: JobQuery) -> JobPage:
        """See `ListedJobs.page_of`."""
        found: list[Job] = []
        read, behind = 0, self._index(tenant, query)
        for number, (place, name) in enumerate(behind, start=1):
            if _may_fit(place, query):
                read += 1
                row = self._memory.job(name)
                if row is not None and query.takes(job := JOBS.read(row.doc)):
                    found.append(job)
            if len(found) == query.limit or read == MOST_READ or number == MOST_PASSED:
                more = number < len(behind)
                return JobPage(tuple(found), Cursor(place, name) if more else None)
        return JobPage(tuple(found))

    def _index(self, tenant: str, query: JobQuery) -> list[tuple[float, str]]:
        """What the page goes through: those of its reference or its status, or all."""
        cursor = query.cursor
        behind = None if cursor is None else (cursor.place, cursor.job_id)
        stretch = query.reference is None
        return [
            (place, name)
            for place, name in sorted(
                ((place, name) for name, place in self._memory.tenant_jobs.get(tenant, {}).items()),
                reverse=True,
            )
            if (behind is None or (place, name) < behind)
            and (not stretch or query.after is None or place >= to_ms(query.after))
            and (not stretch or query.before is None or place < to_ms(query.before))
            and self._is_indexed(name, query)
        ]

    def _is_indexed(self, job_id: str, query: JobQuery) -> bool:
        row = self._memory.jobs.get(job_id)
        if query.reference is not None:
            return row is not None and JOBS.read(row.doc).reference == query.reference
        if query.status not in INDEXED:
            return True
        return row is not None and JOBS.read(row.doc).status is query.status

    async def delete(self, job: Job) -> Deletion:
        """See `ListedJobs.delete`."""
        memory, row = self._memory, self._memory.job(job.id)
        if row is None:
            return Deletion.UNKNOWN
        if row.version != job.version:
            return Deletion.STALE
        followed = bool(memory.flights.followed(job.id))
        if followed or job.id in memory.due or is_awaited(memory, job.id):
            return Deletion.AWAITED
        for name in memory.job_deliveries.pop(job.id, ()):
            memory.deliveries.pop(name, None)
            memory.attempts.pop(name, None)
            memory.listed.get(job.tenant, {}).pop(name, None)
        del memory.jobs[job.id]
        memory.timelines.pop(job.id, None)
        del memory.tenant_jobs[job.tenant][job.id]
        return Deletion.DELETED

    async def trim(self, tenant: str, passed: int, horizon: datetime) -> tuple[int, int | None]:
        """See `ListedJobs.trim`."""
        index = self._memory.tenant_jobs.get(tenant, {})
        step = sorted((place, name) for name, place in index.items())[passed:][:TRIM_STEP]
        ripe = [name for place, name in step if place < to_ms(horizon)]
        gone = [name for name in ripe if self._memory.job(name) is None]
        for name in gone:
            del index[name]
        over = len(ripe) < TRIM_STEP
        return len(gone), None if over else passed + len(ripe) - len(gone)

    async def take_turn(self, worker: str, lease: timedelta) -> bool:
        """See `ListedJobs.take_turn`."""
        memory = self._memory
        if not worker or memory.now < memory.trimmer_until:
            return False
        memory.trimmer_until = memory.now + lease // MILLISECOND
        return True
