"""The job store: a job's admission, its changes, what is due, and what its owner may read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.billing.settlement import standing
from core.clock import MILLISECOND, Clock, to_ms
from core.deduplication.coalescing import reusable_until, time_limit, worth
from core.errors import CallerError, NotFound
from core.jobs.job import Job, JobRecord, JobState
from core.jobs.query import place_of
from core.jobs.run_times import KEPT, run_time
from core.jobs.timeline import TimelineEntry
from core.retention import KEEP_AFTER, RETENTION
from core.store import keys
from core.store.admission import (
    Call,
    admission_arguments,
    admission_keys,
    raise_refusal,
    read_admitted,
)
from core.store.client import Argument, Wire
from core.store.codecs import ENTRIES, JOBS
from core.store.deliveries import life_seconds, posted_arguments, posted_keys
from core.store.scripts import Scripts
from core.store.wake_queue import (
    MESSAGE_LIFE,
    RING_GRACE,
    Message,
    dispatch_arguments,
    dispatch_template,
    ring_for,
)
from core.tenants.api_keys import Credential, Scope
from core.tenants.limits import spans_at
from core.transactions.admission import Admission, Admitted
from core.transactions.job_update import Change, Heir, Outcome


class Depth(StrEnum):
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

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """Raises `Unauthenticated` or `NotPermitted` when the key may not act (within `scope`)."""
        verdict = await self._scripts.call(
            "authenticate", key_pair(credential), self._caller(credential, scope)
        )
        raise_refusal(verdict)

    async def admit(self, admission: Admission) -> Admitted:
        """Take a job in, atomically with its money, its place in the queue and its ring.

        An identical request's result serves it where it may. Raises `Unauthenticated`,
        `NotPermitted`, `IdempotencyKeyMissing`, `IdempotencyMismatch`, `RequestDeleted`, or what
        `core.store.refusals` makes of a limit.
        """
        call = Call((admission,))
        arguments = admission_arguments(call, self._clock.now())
        (admitted,) = read_admitted(
            await self._scripts.call("admit_jobs", admission_keys(call), arguments)
        )
        if isinstance(admitted, CallerError):
            raise admitted
        return admitted

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """One of the credential's own jobs. Raises `NotFound`, for another tenant's job too."""
        answer = await self._scripts.call(
            "read_job",
            [
                *key_pair(credential),
                keys.job(job_id),
                keys.timeline(job_id),
                keys.job_deliveries(job_id),
            ],
            [*self._caller(credential, scope), depth],
        )
        raise_refusal(answer[0])
        job = JOBS.read(answer[1])
        if job.tenant != credential.tenant:
            raise NotFound
        return JobView(
            record=JobRecord(job=job, polls=int(answer[2]), output=answer[3] or None),
            timeline=tuple(ENTRIES.read(entry) for entry in answer[4]),
            delivery_ids=tuple(name.decode() for name in answer[5]),
        )

    async def load(self, job_id: str) -> JobRecord | None:
        """Any job, for a worker or an operator."""
        return _record(
            await self._wire.execute("HMGET", keys.job(job_id), "doc", "polls", "output")
        )

    async def view(self, job_id: str) -> JobView | None:
        """Any job with its history, for an operator."""
        record, entries, names = await asyncio.gather(
            self.load(job_id),
            self._wire.execute("LRANGE", keys.timeline(job_id), 0, -1),
            self._wire.execute("LRANGE", keys.job_deliveries(job_id), 0, -1),
        )
        if record is None:
            return None
        return JobView(
            record=record,
            timeline=tuple(ENTRIES.read(entry) for entry in entries),
            delivery_ids=tuple(name.decode() for name in names),
        )

    async def input(self, job_id: str) -> bytes | None:
        """The body that the caller sent, byte for byte."""
        body: bytes | None = await self._wire.execute("HGET", keys.job(job_id), "input")
        return body

    async def store(self, change: Change) -> Outcome:
        """Make a change true, all of it, unless the record is no longer `change.before`."""
        now = self._clock.now()
        if change.after.state is JobState.QUEUED and change.before.state is JobState.FOLLOWING:
            return await self._promote(change, now)
        message = ring_for(change.after, now) if change.ring else None
        verdict = await self._scripts.call(
            "update_job",
            _change_keys(change, message),
            [
                *_record_arguments(change, now),
                *_ring_arguments(message),
                *_ending_arguments(change.after),
                dispatch_template(now),
                to_ms(now + RING_GRACE),
                *_run_arguments(change),
                *_listing_arguments(change),
                *_reuse_arguments(change, now),
                *_heir_arguments(change.heir),
                change.setup_mark or "",
                len(change.entries),
                *(ENTRIES.write(entry) for entry in change.entries),
                *posted_arguments(change.deliveries, now),
            ],
        )
        return Outcome(verdict.decode())

    async def _promote(self, change: Change, now: datetime) -> Outcome:
        job, (entry,) = change.after, change.entries
        limit = time_limit(job)
        verdict = await self._scripts.call(
            "promote_follower",
            [
                keys.job(job.id),
                keys.timeline(job.id),
                keys.DUE,
                keys.STATES,
                keys.tenant(job.tenant),
                *_window_keys(job),
                keys.WALLET,
                keys.OUTBOX,
                keys.job_deliveries(job.id),
                keys.webhooks(job.tenant),
                *posted_keys(change.deliveries),
            ],
            [
                change.before.version,
                job.id,
                job.version,
                JOBS.write(job),
                ENTRIES.write(entry),
                to_ms(now),
                job.tenant,
                job.model_id,
                int(job.priority),
                "" if job.estimate is None else int(job.estimate),
                "" if limit is None else to_ms(limit),
                *dispatch_arguments(now),
                change.before.status,
                job.status,
                place_of(job),
                change.instead_of or "",
                change.setup_mark or "",
                *posted_arguments(change.deliveries, now),
            ],
        )
        return Outcome(verdict.decode())

    async def heir(self, job_id: str) -> Job | None:
        """Of those who follow a job, the one whose time lasts longest."""
        ids = await self._wire.execute("ZRANGE", keys.followers(job_id), 0, 0, "REV")
        record = await self.load(ids[0].decode()) if ids else None
        return None if record is None else record.job

    async def leader(self, job: Job) -> JobRecord | None:
        """The job that a follower follows now: its leader, or who took that one's place."""
        return _record(await self._scripts.call("read_leader", [keys.job(job.id)], []))

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """Jobs that are due, now under a lease: nobody else gets them before it runs out."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.DUE, keys.LIMITS, keys.POLL_RATE],
            [keys.JOB_PREFIX, to_ms(now), to_ms(now + lease), limit, "polls_per_second"],
        )
        return [JOBS.read(document) for document in documents]

    async def put_off(self, job: Job, due_at: datetime, *, polled: bool = False) -> bool:
        """Move a job's next look, unchanged otherwise. False: it is no longer this version."""
        moved = await self._scripts.call(
            "renew_lease",
            [keys.job(job.id), keys.DUE],
            [job.version, job.id, to_ms(due_at), int(polled)],
        )
        return bool(moved)

    async def doubts(self, limit: int) -> Sequence[Job]:
        """Jobs in doubt, the longest first."""
        ids = await self._wire.execute("ZRANGE", keys.DOUBTS, 0, limit - 1)
        records = await asyncio.gather(*(self.load(name.decode()) for name in ids))
        return [record.job for record in records if record is not None]

    def _caller(self, credential: Credential, scope: Scope | None) -> tuple[Argument, ...]:
        return to_ms(self._clock.now()), credential.tenant, scope or ""


def key_pair(credential: Credential) -> tuple[str, str]:
    """What a script looks a key up by."""
    return keys.api_key(credential.digest), keys.tenant(credential.tenant)


def _record(row: Sequence[bytes | None]) -> JobRecord | None:
    doc, polls, output = row or (None, None, None)
    if doc is None:
        return None
    return JobRecord(job=JOBS.read(doc), polls=int(polls or 0), output=output)


def _ring_arguments(message: Message | None) -> tuple[Argument, ...]:
    """The change's own message, if it has one; the life is that of dispatch's messages too."""
    name, body = (message.name, message.body) if message else ("", "")
    return name, body, MESSAGE_LIFE // MILLISECOND


def _run_arguments(change: Change) -> tuple[Argument, ...]:
    took = run_time(change.before, change.after)
    return "" if took is None else took // MILLISECOND, KEPT


def _reuse_arguments(change: Change, now: datetime) -> tuple[Argument, ...]:
    """Whether followers wake; what a success is worth to others, and until when; what is saved."""
    before, after = change.before, change.after
    news = after.status is not before.status or (after.final and not before.final)
    value = worth(after)
    first = after.state is JobState.SUCCEEDED and before.state is JobState.FOLLOWING
    return (
        int(news),
        "" if value is None else int(value),
        to_ms(reusable_until(after, now)),
        int(after.saved or 0) if first else "",
    )


def _heir_arguments(heir: Heir | None) -> tuple[Argument, ...]:
    if heir is None:
        return ("",) * 11
    before, after = heir.before, heir.after
    return (
        after.id,
        before.version,
        after.version,
        JOBS.write(after),
        after.tenant,
        ENTRIES.write(heir.entry),
        *_window_keys(after),
        before.status,
        after.status,
        place_of(after),
    )


def _listing_arguments(change: Change) -> tuple[Argument, ...]:
    before, after = change.before, change.after
    return before.status, after.status, place_of(after), KEEP_AFTER // MILLISECOND


def _next_look(before: Job, after: Job) -> Argument:
    """A change that sets no new time must not cut short the lease of whoever works on the job."""
    if after.due_at is None:
        return ""
    return "keep" if after.due_at == before.due_at else to_ms(after.due_at)


def _window_keys(job: Job) -> list[str]:
    return [keys.use(job.tenant, span.name) for span in spans_at(job.created_at)]


def _change_keys(change: Change, message: Message | None) -> list[str]:
    job = change.after
    return [
        keys.job(job.id),
        keys.timeline(job.id),
        keys.DUE,
        keys.STATES,
        keys.DOUBTS,
        keys.OUTBOX,
        keys.job_deliveries(job.id),
        message.key if message else keys.BELL,
        keys.BELL,
        *_window_keys(job),
        keys.tenant(job.tenant),
        keys.webhooks(job.tenant),
        *posted_keys(change.deliveries),
    ]


def _record_arguments(change: Change, now: datetime) -> list[Argument]:
    before, after = change.before, change.after
    return [
        before.version,
        after.id,
        after.version,
        JOBS.write(after),
        before.state,
        after.state,
        _next_look(before, after),
        change.output or b"",
        life_seconds(RETENTION),
        to_ms(now),
    ]


def _ending_arguments(job: Job) -> list[Argument]:
    at = standing(job)
    return [job.tenant, job.model_id, int(job.final), at.verdict, int(at.cost)]
