"""A tenant's jobs as a list in Redis: a page of them, one taken out, and indexes kept to size."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter

from core.clock import MILLISECOND, Clock, to_ms
from core.jobs.job import Job, PublicStatus
from core.jobs.query import (
    SCORE_STEPS_PER_MS,
    Cursor,
    JobPage,
    JobQuery,
    reference_score,
    score_fraction_of,
)
from core.store import keys
from core.store.admission import raise_if_rejected
from core.store.client import Argument, RedisClient
from core.store.codecs import JOB_CODEC
from core.store.jobs import credential_keys
from core.store.scripts import LuaScripts
from core.tenants.api_keys import Credential, Scope

MAX_RECORDS_READ: Final = 1_000
"""Records that one page reads for those that fit: some milliseconds of Redis' time."""
MAX_ENTRIES_SKIPPED: Final = 2_000
"""Jobs of other models that it passes over: as long."""
PRUNE_BATCH_SIZE: Final = 200
INDEXED_STATUSES: Final = frozenset(PublicStatus) - {PublicStatus.COMPLETED}
"""Statuses with an index of their own. Most jobs complete: those are found among all."""
_JSON_TEXT: Final = TypeAdapter(str)
_SUCCEEDED_JSON: Final = b'"state":"succeeded"'


class DeletionResult(StrEnum):
    """What became of the wish to delete a job."""

    DELETED = "deleted"
    CONFLICT = "conflict"
    """Somebody else changed the record first; nothing was deleted."""
    HAS_PENDING_WORK = "has_pending_work"
    """A callback about it, or what it cost, is still to come."""
    NOT_FOUND = "not_found"


class JobIndex:
    """Jobs in Redis, by tenant."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def list_page(self, credential: Credential, query: JobQuery) -> JobPage:
        """Some of the credential's own jobs. Raises `Unauthenticated` or `NotPermitted`.

        It may hold fewer than asked for and still have a cursor: a page looks through a bounded
        number of records.
        """
        return await self._list_page(credential_keys(credential), credential.tenant, query)

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> JobPage:
        """The same of any tenant, for an operator."""
        return await self._list_page(("", keys.tenant(tenant)), tenant, query)

    async def _list_page(
        self, credential_keys: tuple[str, str], tenant: str, query: JobQuery
    ) -> JobPage:
        index, low, high = _index_range(tenant, query)
        answer = await self._scripts.call(
            "list_jobs",
            [*credential_keys, index, keys.tenant_jobs(tenant)],
            [
                to_ms(self._clock.now()),
                tenant,
                Scope.READ,
                low,
                high,
                *_cursor_position(query),
                query.limit,
                *_scan_bounds(query),
                *_required_texts(query),
            ],
        )
        raise_if_rejected(answer[0])
        jobs = (JOB_CODEC.decode(document) for document in answer[1])
        cursor = Cursor(float(answer[3]), answer[2].decode()) if answer[2] else None
        return JobPage(tuple(job for job in jobs if query.matches(job)), cursor)

    async def delete(self, job: Job) -> DeletionResult:
        """Take a job that has ended out of everything but the books, if it still is `job`."""
        verdict = await self._scripts.call(
            "delete_job",
            [
                keys.job(job.id),
                keys.timeline(job.id),
                keys.job_deliveries(job.id),
                keys.tenant_deliveries(job.tenant),
            ],
            [job.version, job.id, job.tenant],
        )
        return DeletionResult(verdict.decode())

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]:
        """Take jobs whose records are gone out of the indexes: a bounded step, oldest first.

        It looks at those made before `horizon`, after the `passed` that are still there. Returns
        how many were gone, and how many have been passed then (None: all were looked at).
        """
        gone, following = await self._scripts.call(
            "prune_indexes",
            [keys.tenant_jobs(tenant)],
            [tenant, offset, to_ms(created_before), PRUNE_BATCH_SIZE],
        )
        return int(gone), None if following == b"" else int(following)

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool:
        """Whether it is this worker's turn to trim: one of them does until the lease has ended."""
        span = lease // MILLISECOND
        taken = await self._wire.execute("SET", keys.PRUNE_LOCK, worker, "NX", "PX", span)
        return taken is not None


def _index_range(tenant: str, query: JobQuery) -> tuple[str, Argument, Argument]:
    """The index that holds the fewest jobs beside those asked for, and between which scores."""
    if query.reference is not None:
        number = reference_score(query.reference)
        return keys.references(tenant), number, number
    low: Argument = "-inf" if query.created_after is None else to_ms(query.created_after)
    high: Argument = (
        "+inf"
        if query.created_before is None
        else to_ms(query.created_before) - 1 / SCORE_STEPS_PER_MS
    )
    if query.status in INDEXED_STATUSES:
        return keys.jobs_with_status(tenant, query.status), low, high
    return keys.tenant_jobs(tenant), low, high


def _cursor_position(query: JobQuery) -> tuple[Argument, Argument]:
    if query.cursor is None:
        return "", ""
    if query.reference is not None:
        return reference_score(query.reference), query.cursor.job_id
    return query.cursor.score, query.cursor.job_id


def _scan_bounds(query: JobQuery) -> tuple[Argument, Argument, Argument]:
    alike = query.model_id is None or query.reference is not None
    return (
        "" if alike else score_fraction_of(query.model_id or ""),
        MAX_RECORDS_READ,
        MAX_ENTRIES_SKIPPED,
    )


def _required_texts(query: JobQuery) -> list[Argument]:
    """Texts that the documents of jobs asked for hold, as `JOBS` writes them.

    No value can hold them: quotes are escaped within texts.
    """
    found = [_SUCCEEDED_JSON] if query.status is PublicStatus.COMPLETED else []
    for name, value in (("model_id", query.model_id), ("reference", query.reference)):
        if value is not None:
            found.append(f'"{name}":'.encode() + _JSON_TEXT.dump_json(value))
    return list(found)
