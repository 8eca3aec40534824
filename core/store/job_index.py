"""Each tenant's index of jobs: pages, deletion, and pruning of expired jobs.

No index has the jobs of all tenants. `gw:due` also has ended jobs with follow-up work, and
`gw:states` only counts.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter

from core.clock import Clock, to_ms
from core.jobs.job import Job, PublicStatus
from core.jobs.query import SCORE_STEPS_PER_MS, Cursor, JobQuery, reference_score, score_fraction_of
from core.page import Page
from core.store import keys
from core.store.admission import raise_if_rejected
from core.store.client import Argument, RedisClient
from core.store.codecs import JOB_CODEC, decode_readable
from core.store.jobs import credential_keys, rate_argument
from core.store.scripts import LuaScripts
from core.tenants.addresses import address_bits
from core.tenants.api_keys import Credential, Scope

MAX_RECORDS_READ: Final = 1_000
"""Records that one page reads at most to find matching ones: a few milliseconds of Redis."""
MAX_ENTRIES_SKIPPED: Final = 2_000
"""Jobs of other models that one page skips at most: about as long."""
PRUNE_BATCH_SIZE: Final = 200
INDEXED_STATUSES: Final = frozenset(PublicStatus) - {PublicStatus.COMPLETED}
"""Statuses with an index of their own. Most jobs are completed, so the full index finds them."""
_JSON_TEXT: Final = TypeAdapter(str)
_SUCCEEDED_JSON: Final = b'"state":"succeeded"'


class DeletionResult(StrEnum):
    """The result of a deletion."""

    DELETED = "deleted"
    CONFLICT = "conflict"
    """The record has changed since it was read; nothing was deleted."""
    HAS_PENDING_WORK = "has_pending_work"
    """A delivery, its cost or its late result is still pending; nothing was deleted."""
    NOT_FOUND = "not_found"


class JobIndex:
    """The tenants' job indexes in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def list_page(self, credential: Credential, query: JobQuery) -> Page[Job, Cursor]:
        """Return a page of the credential's jobs. Raises `Unauthenticated` or `NotPermitted`.

        A page with fewer jobs than the limit may still have a cursor, because a call reads a
        bounded number of records.
        """
        return await self._list_page(credential, query, Scope.READ)

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> Page[Job, Cursor]:
        """Return a page of any tenant's jobs, for an operator."""
        return await self._list_page(Credential(tenant, ""), query, None)

    async def _list_page(
        self, credential: Credential, query: JobQuery, scope: Scope | None
    ) -> Page[Job, Cursor]:
        """`scope` None: without a check of the credential."""
        tenant = credential.tenant
        index, low, high = _index_range(tenant, query)
        answer = await self._scripts.call(
            "list_jobs",
            [*credential_keys(credential), index, keys.tenant_jobs(tenant)],
            [
                to_ms(self._clock.now()),
                tenant,
                scope or "",
                address_bits(credential.address),
                rate_argument(credential),
                low,
                high,
                *_cursor_position(query),
                query.limit,
                *_scan_bounds(query),
                *_required_texts(query),
            ],
        )
        raise_if_rejected(answer[0])
        jobs = decode_readable(JOB_CODEC, answer[1])
        cursor = Cursor(float(answer[3]), answer[2].decode()) if answer[2] else None
        return Page(tuple(job for job in jobs if query.matches(job)), cursor)

    async def delete(self, job: Job) -> DeletionResult:
        """Delete a finished job, except from its tenant's usage, if the record is still `job`."""
        result = await self._scripts.call(
            "delete_job",
            [
                keys.job(job.id),
                keys.timeline(job.id),
                keys.job_deliveries(job.id),
                keys.tenant_deliveries(job.tenant),
            ],
            [job.version, job.id, job.tenant],
        )
        return DeletionResult(result.decode())

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]:
        """Remove expired jobs from the tenant's indexes: one bounded step, oldest first.

        Checks jobs created before `created_before`, after the first `offset` that still exist.
        Returns how many were removed, and the next step's offset (None: all were checked).
        """
        removed, offset_after = await self._scripts.call(
            "prune_indexes",
            [keys.tenant_jobs(tenant)],
            [tenant, offset, to_ms(created_before), PRUNE_BATCH_SIZE],
        )
        return int(removed), None if offset_after == b"" else int(offset_after)

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool:
        """Return whether this worker may prune: one worker at a time does, until `lease` ends."""
        return await self._scripts.acquire_lock(keys.PRUNE_LOCK, worker, lease)


def _index_range(tenant: str, query: JobQuery) -> tuple[str, Argument, Argument]:
    """Return the index with the fewest jobs that do not match, and the range of scores to read."""
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
    any_model = query.model_id is None or query.reference is not None
    return (
        "" if any_model else score_fraction_of(query.model_id or ""),
        MAX_RECORDS_READ,
        MAX_ENTRIES_SKIPPED,
    )


def _required_texts(query: JobQuery) -> list[Argument]:
    """Return texts that the JSON of every matching job contains, as `JOB_CODEC` encodes it.

    A caller's text cannot contain them, because JSON escapes its quotes; it can be equal to a
    label, and such a job is left out of the page afterwards.
    """
    texts = [_SUCCEEDED_JSON] if query.status is PublicStatus.COMPLETED else []
    for name, value in (("model_id", query.model_id), ("reference", query.reference)):
        if value is not None:
            texts.append(f'"{name}":'.encode() + _JSON_TEXT.dump_json(value))
    texts += [_JSON_TEXT.dump_json(label) for label in query.labels]
    return list(texts)
