"""A tenant's jobs as a list in Redis: a page of them, one taken out, and indexes kept to size."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter

from core.clock import MILLISECOND, Clock, to_ms
from core.jobs.job import Job, PublicStatus
from core.jobs.query import PARTS, Cursor, JobPage, JobQuery, part_of, reference_number
from core.store import keys
from core.store.admission import raise_refusal
from core.store.client import Argument, Wire
from core.store.codecs import JOBS
from core.store.jobs import key_pair
from core.store.scripts import Scripts
from core.tenants.api_keys import Credential, Scope

MOST_READ: Final = 1_000
"""Records that one page reads for those that fit: some milliseconds of Redis' time."""
MOST_PASSED: Final = 2_000
"""Jobs of other models that it passes over: as long."""
TRIM_STEP: Final = 200
INDEXED: Final = frozenset(PublicStatus) - {PublicStatus.COMPLETED}
"""Statuses with an index of their own. Most jobs complete: those are found among all."""
_TEXT: Final = TypeAdapter(str)
_SUCCEEDED: Final = b'"state":"succeeded"'


class Deletion(StrEnum):
    """What became of the wish to delete a job."""

    DELETED = "deleted"
    STALE = "stale"
    """Somebody else changed the record first; nothing was deleted."""
    AWAITED = "awaited"
    """A callback about it, or what it cost, is still to come."""
    UNKNOWN = "unknown"


class ListedJobs:
    """Jobs in Redis, by tenant."""

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def page(self, credential: Credential, query: JobQuery) -> JobPage:
        """Some of the credential's own jobs. Raises `Unauthenticated` or `NotPermitted`.

        It may hold fewer than asked for and still have a cursor: a page looks through a bounded
        number of records.
        """
        return await self._page(key_pair(credential), credential.tenant, query)

    async def page_of(self, tenant: str, query: JobQuery) -> JobPage:
        """The same of any tenant, for an operator."""
        return await self._page(("", keys.tenant(tenant)), tenant, query)

    async def _page(self, pair: tuple[str, str], tenant: str, query: JobQuery) -> JobPage:
        index, low, high = _stretch(tenant, query)
        answer = await self._scripts.call(
            "list_jobs",
            [*pair, index, keys.tenant_jobs(tenant)],
            [
                to_ms(self._clock.now()),
                tenant,
                Scope.READ,
                low,
                high,
                *_place(query),
                query.limit,
                *_bounds(query),
                *_needles(query),
            ],
        )
        raise_refusal(answer[0])
        jobs = (JOBS.read(document) for document in answer[1])
        cursor = Cursor(float(answer[3]), answer[2].decode()) if answer[2] else None
        return JobPage(tuple(job for job in jobs if query.takes(job)), cursor)

    async def delete(self, job: Job) -> Deletion:
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
        return Deletion(verdict.decode())

    async def trim(self, tenant: str, passed: int, horizon: datetime) -> tuple[int, int | None]:
        """Take jobs whose records are gone out of the indexes: a bounded step, oldest first.

        It looks at those made before `horizon`, after the `passed` that are still there. Returns
        how many were gone, and how many have been passed then (None: all were looked at).
        """
        gone, following = await self._scripts.call(
            "prune_indexes",
            [keys.tenant_jobs(tenant)],
            [tenant, passed, to_ms(horizon), TRIM_STEP],
        )
        return int(gone), None if following == b"" else int(following)

    async def take_turn(self, worker: str, lease: timedelta) -> bool:
        """Whether it is this worker's turn to trim: one of them does until the lease has ended."""
        span = lease // MILLISECOND
        taken = await self._wire.execute("SET", keys.TRIMMER, worker, "NX", "PX", span)
        return taken is not None


def _stretch(tenant: str, query: JobQuery) -> tuple[str, Argument, Argument]:
    """The index that holds the fewest jobs beside those asked for, and between which scores."""
    if query.reference is not None:
        number = reference_number(query.reference)
        return keys.references(tenant), number, number
    low: Argument = "-inf" if query.after is None else to_ms(query.after)
    high: Argument = "+inf" if query.before is None else to_ms(query.before) - 1 / PARTS
    if query.status in INDEXED:
        return keys.jobs_with_status(tenant, query.status), low, high
    return keys.tenant_jobs(tenant), low, high


def _place(query: JobQuery) -> tuple[Argument, Argument]:
    if query.cursor is None:
        return "", ""
    if query.reference is not None:
        return reference_number(query.reference), query.cursor.job_id
    return query.cursor.place, query.cursor.job_id


def _bounds(query: JobQuery) -> tuple[Argument, Argument, Argument]:
    alike = query.model_id is None or query.reference is not None
    return "" if alike else part_of(query.model_id or ""), MOST_READ, MOST_PASSED


def _needles(query: JobQuery) -> list[Argument]:
    """Texts that the documents of jobs asked for hold, as `JOBS` writes them.

    No value can hold them: quotes are escaped within texts.
    """
    found = [_SUCCEEDED] if query.status is PublicStatus.COMPLETED else []
    for name, value in (("model_id", query.model_id), ("reference", query.reference)):
        if value is not None:
            found.append(f'"{name}":'.encode() + _TEXT.dump_json(value))
    return list(found)
