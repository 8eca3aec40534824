"""The job store: a job's admission, its changes, what is due, and what its owner may read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.billing.settlement import settlement_of
from core.clock import MILLISECOND, Clock, to_ms
from core.deduplication.coalescing import cacheable_until, first_deadline, shared_cost
from core.errors import CallerError, NotFound
from core.jobs.job import Job, JobRecord, JobState
from core.jobs.query import score_of
from core.jobs.run_times import MAX_RUNS, run_time
from core.jobs.timeline import TimelineEntry
from core.retention import MESSAGE_TTL, RESULT_GRACE_PERIOD, RETENTION
from core.store import keys
from core.store.admission import (
    AdmissionScriptCall,
    admission_arguments,
    admission_keys,
    parse_admission_answer,
    raise_if_rejected,
)
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import JOB_CODEC, TIMELINE_ENTRY_CODEC
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.scripts import LuaScripts
from core.store.wake_queue import (
    WAKE_GRACE,
    WakeMessage,
    dispatch_arguments,
    dispatch_template,
    wake_message,
)
from core.tenants.api_keys import Credential, Scope
from core.tenants.limits import usage_windows_at
from core.transactions.admission import Admission, AdmissionResult
from core.transactions.job_update import Change, Successor, WriteResult


class Projection(StrEnum):
    """How much of a job is read."""

    STATUS = "status"
    RESULT = "result"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner reads it; what was not asked for is empty."""

    record: JobRecord
    timeline: tuple[TimelineEntry, ...] = ()
    delivery_ids: tuple[str, ...] = ()


class JobStore:
    """Jobs in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """Raises `Unauthenticated` or `NotPermitted` when the key may not act (within `scope`)."""
        verdict = await self._scripts.call(
            "authenticate",
            credential_keys(credential),
            self._authentication_arguments(credential, scope),
        )
        raise_if_rejected(verdict)

    async def admit(self, admission: Admission) -> AdmissionResult:
        """Take a job in, atomically with its money, its place in the queue and its ring.

        An identical request's result serves it where it may. Raises `Unauthenticated`,
        `NotPermitted`, `IdempotencyKeyMissing`, `IdempotencyMismatch`, `RequestDeleted`, or what
        `core.store.refusals` makes of a limit.
        """
        call = AdmissionScriptCall((admission,))
        arguments = admission_arguments(call, self._clock.now())
        (admitted,) = parse_admission_answer(
            await self._scripts.call("admit_jobs", admission_keys(call), arguments)
        )
        if isinstance(admitted, CallerError):
            raise admitted
        return admitted

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        """One of the credential's own jobs. Raises `NotFound`, for another tenant's job too."""
        answer = await self._scripts.call(
            "read_job",
            [
                *credential_keys(credential),
                keys.job(job_id),
                keys.timeline(job_id),
                keys.job_deliveries(job_id),
            ],
            [*self._authentication_arguments(credential, scope), projection],
        )
        raise_if_rejected(answer[0])
        job = JOB_CODEC.decode(answer[1])
        if job.tenant != credential.tenant:
            raise NotFound
        return JobView(
            record=JobRecord(job=job, polls=int(answer[2]), output=answer[3] or None),
            timeline=tuple(TIMELINE_ENTRY_CODEC.decode(entry) for entry in answer[4]),
            delivery_ids=tuple(name.decode() for name in answer[5]),
        )

    async def load(self, job_id: str) -> JobRecord | None:
        """Any job, for a worker or an operator."""
        return _parse_record(
            await self._client.execute("HMGET", keys.job(job_id), "doc", "polls", "output")
        )

    async def load_view(self, job_id: str) -> JobView | None:
        """Any job with its history, for an operator."""
        record, entries, names = await asyncio.gather(
            self.load(job_id),
            self._client.execute("LRANGE", keys.timeline(job_id), 0, -1),
            self._client.execute("LRANGE", keys.job_deliveries(job_id), 0, -1),
        )
        if record is None:
            return None
        return JobView(
            record=record,
            timeline=tuple(TIMELINE_ENTRY_CODEC.decode(entry) for entry in entries),
            delivery_ids=tuple(name.decode() for name in names),
        )

    async def load_input(self, job_id: str) -> bytes | None:
        """The body that the caller sent, byte for byte."""
        body: bytes | None = await self._client.execute("HGET", keys.job(job_id), "input")
        return body

    async def store(self, change: Change) -> WriteResult:
        """Make a change true, all of it, unless the record is no longer `change.before`."""
        now = self._clock.now()
        if change.after.state is JobState.QUEUED and change.before.state is JobState.FOLLOWING:
            return await self._promote(change, now)
        message = wake_message(change.after, now) if change.wake_worker else None
        verdict = await self._scripts.call(
            "update_job",
            _update_keys(change, message),
            [
                *_record_arguments(change, now),
                *_wake_arguments(message),
                *_settlement_arguments(change.after),
                dispatch_template(now),
                to_ms(now + WAKE_GRACE),
                *_run_time_arguments(change),
                *_index_arguments(change),
                *_cache_arguments(change, now),
                *_successor_arguments(change.successor),
                change.config_digest or "",
                *_timeline_arguments(change.entry),
                *new_delivery_arguments(change.deliveries, now),
            ],
        )
        return WriteResult(verdict.decode())

    async def _promote(self, change: Change, now: datetime) -> WriteResult:
        job, entry = change.after, change.entry
        if entry is None:
            raise ValueError("a promotion adds a line to the timeline")
        limit = first_deadline(job)
        verdict = await self._scripts.call(
            "promote_follower",
            [
                keys.job(job.id),
                keys.timeline(job.id),
                keys.DUE,
                keys.STATE_COUNTS,
                keys.tenant(job.tenant),
                *_usage_keys(job),
                keys.ACCOUNT_BALANCE,
                keys.OUTBOX,
                keys.job_deliveries(job.id),
                keys.webhooks(job.tenant),
                *new_delivery_keys(change.deliveries),
            ],
            [
                change.before.version,
                job.id,
                job.version,
                JOB_CODEC.encode(job),
                TIMELINE_ENTRY_CODEC.encode(entry),
                to_ms(now),
                job.tenant,
                job.model_id,
                int(job.priority),
                "" if job.estimate is None else int(job.estimate),
                "" if limit is None else to_ms(limit),
                *dispatch_arguments(now),
                change.before.status,
                job.status,
                score_of(job),
                change.expected_leader or "",
                change.config_digest or "",
                *new_delivery_arguments(change.deliveries, now),
            ],
        )
        return WriteResult(verdict.decode())

    async def load_successor(self, job_id: str) -> Job | None:
        """Of those who follow a job, the one whose time lasts longest."""
        ids = await self._client.execute("ZRANGE", keys.followers(job_id), 0, 0, "REV")
        record = await self.load(ids[0].decode()) if ids else None
        return None if record is None else record.job

    async def load_leader(self, job: Job) -> JobRecord | None:
        """The job that a follower follows now: its leader, or who took that one's place."""
        return _parse_record(await self._scripts.call("read_leader", [keys.job(job.id)], []))

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """Jobs that are due, now under a lease: nobody else gets them before it runs out."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.DUE, keys.LIMITS, keys.POLL_RATE],
            [keys.JOB_PREFIX, to_ms(now), to_ms(now + lease), limit, "polls_per_second"],
        )
        return [JOB_CODEC.decode(document) for document in documents]

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        """Move a job's next look, unchanged otherwise. False: it is no longer this version."""
        moved = await self._scripts.call(
            "renew_lease",
            [keys.job(job.id), keys.DUE],
            [job.version, job.id, to_ms(next_run_at), int(polled)],
        )
        return bool(moved)

    async def list_in_doubt(self, limit: int) -> Sequence[Job]:
        """Jobs in doubt, the longest first."""
        ids = await self._client.execute("ZRANGE", keys.IN_DOUBT, 0, limit - 1)
        records = await asyncio.gather(*(self.load(name.decode()) for name in ids))
        return [record.job for record in records if record is not None]

    def _authentication_arguments(
        self, credential: Credential, scope: Scope | None
    ) -> tuple[Argument, ...]:
        return to_ms(self._clock.now()), credential.tenant, scope or ""


def credential_keys(credential: Credential) -> tuple[str, str]:
    """What a script looks a key up by."""
    return keys.api_key(credential.digest), keys.tenant(credential.tenant)


def _parse_record(row: Sequence[bytes | None]) -> JobRecord | None:
    doc, polls, output = row or (None, None, None)
    if doc is None:
        return None
    return JobRecord(job=JOB_CODEC.decode(doc), polls=int(polls or 0), output=output)


def _wake_arguments(message: WakeMessage | None) -> tuple[Argument, ...]:
    """The change's own message, if it has one; the life is that of dispatch's messages too."""
    name, body = (message.name, message.body) if message else ("", "")
    return name, body, MESSAGE_TTL // MILLISECOND


def _run_time_arguments(change: Change) -> tuple[Argument, ...]:
    took = run_time(change.before, change.after)
    return "" if took is None else took // MILLISECOND, MAX_RUNS


def _cache_arguments(change: Change, now: datetime) -> tuple[Argument, ...]:
    """Whether followers wake; what a success is worth to others, and until when; what is saved."""
    before, after = change.before, change.after
    news = after.status is not before.status or (after.is_final and not before.is_final)
    value = shared_cost(after)
    first = after.state is JobState.SUCCEEDED and before.state is JobState.FOLLOWING
    return (
        int(news),
        "" if value is None else int(value),
        to_ms(cacheable_until(after, now)),
        int(after.cost_saved or 0) if first else "",
    )


def _successor_arguments(successor: Successor | None) -> tuple[Argument, ...]:
    if successor is None:
        return ("",) * 11
    before, after = successor.before, successor.after
    return (
        after.id,
        before.version,
        after.version,
        JOB_CODEC.encode(after),
        after.tenant,
        TIMELINE_ENTRY_CODEC.encode(successor.entry),
        *_usage_keys(after),
        before.status,
        after.status,
        score_of(after),
    )


def _index_arguments(change: Change) -> tuple[Argument, ...]:
    before, after = change.before, change.after
    return before.status, after.status, score_of(after), RESULT_GRACE_PERIOD // MILLISECOND


def _next_run_argument(before: Job, after: Job) -> Argument:
    """A change that sets no new time must not cut short the lease of whoever works on the job."""
    if after.next_run_at is None:
        return ""
    return "keep" if after.next_run_at == before.next_run_at else to_ms(after.next_run_at)


def _usage_keys(job: Job) -> list[str]:
    return [keys.usage(job.tenant, span.name) for span in usage_windows_at(job.created_at)]


def _update_keys(change: Change, message: WakeMessage | None) -> list[str]:
    job = change.after
    return [
        keys.job(job.id),
        keys.timeline(job.id),
        keys.DUE,
        keys.STATE_COUNTS,
        keys.IN_DOUBT,
        keys.OUTBOX,
        keys.job_deliveries(job.id),
        message.key if message else keys.WAKE_QUEUE,
        keys.WAKE_QUEUE,
        *_usage_keys(job),
        keys.tenant(job.tenant),
        keys.webhooks(job.tenant),
        *new_delivery_keys(change.deliveries),
    ]


def _record_arguments(change: Change, now: datetime) -> list[Argument]:
    before, after = change.before, change.after
    return [
        before.version,
        after.id,
        after.version,
        JOB_CODEC.encode(after),
        before.state,
        after.state,
        _next_run_argument(before, after),
        change.output or b"",
        ttl_seconds(RETENTION),
        to_ms(now),
    ]


def _timeline_arguments(entry: TimelineEntry | None) -> list[Argument]:
    return [0] if entry is None else [1, TIMELINE_ENTRY_CODEC.encode(entry)]


def _settlement_arguments(job: Job) -> list[Argument]:
    at = settlement_of(job)
    return [job.tenant, job.model_id, int(job.is_final), at.status, int(at.cost)]
