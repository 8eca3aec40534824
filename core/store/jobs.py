"""Jobs: admission, reads, changes, and claims of due jobs."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from core.archive import UPSTREAM_RETENTION
from core.billing.charges import charge_changes, charge_name, name_without_id
from core.billing.settlement import settlement_of
from core.billing.usage import usage_facts
from core.clock import MILLISECOND, Clock, to_ms
from core.deduplication.coalescing import cacheable_until, first_deadline, shared_cost
from core.errors import CallerError, RecordUnreadable
from core.jobs.job import Job, JobRecord, JobState, Trigger, WaitingFor
from core.jobs.query import reference_score, score_of
from core.jobs.refusal_costs import refusal_charged
from core.jobs.run_times import MAX_RUNS, run_time
from core.jobs.submission import IdempotencyRecord, Submission
from core.jobs.timeline import TimelineEntry, named_jobs, timeline_of_own_jobs
from core.money import MicroUsd
from core.quotas import CallRate
from core.retention import (
    RESULT_GRACE_PERIOD,
    RETENTION,
    UPSTREAM_ID_RETENTION,
    WINDOW_RETENTION,
)
from core.store import keys
from core.store.admission import (
    AdmissionScriptCall,
    parse_admission_answer,
    parse_replayed,
    raise_if_rejected,
)
from core.store.booking import (
    booking_arguments,
    day_text,
    facts_text,
    usage_arguments,
    usage_change_arguments,
    usage_keys,
)
from core.store.calendars import TenantCalendars
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import JOB_CODEC, TIMELINE_ENTRY_CODEC, decode_readable
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.scripts import LuaScripts
from core.store.wake_queue import (
    WakeMessage,
    dispatch_arguments,
    wake_message,
)
from core.tenants.addresses import address_bits
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import Admission, AdmissionResult, IdempotencyClaim
from core.transactions.job_update import Change, Successor, WriteResult
from core.transactions.restoration import Restoration, RestorationResult

LIST_BATCH: Final = 500
"""Records that are read at a time."""
_RESULT_TTL: Final = ttl_seconds(RETENTION)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Projection(StrEnum):
    """How much of a job is read."""

    STATUS = "status"
    RESULT = "result"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with its history; parts that were not requested are empty."""

    record: JobRecord
    timeline: tuple[TimelineEntry, ...] = ()
    delivery_ids: tuple[str, ...] = ()

    @property
    def named_jobs(self) -> frozenset[str]:
        """The ids of other jobs in it; results may be shared among tenants."""
        leader = self.record.job.leader
        return named_jobs(self.timeline) | ({leader} if leader else set())

    def naming_only(self, own_jobs: Collection[str]) -> "JobView":
        """Return the view for the job's tenant; it names no job but `own_jobs`."""
        job = self.record.job
        if job.leader not in own_jobs:
            job = replace(job, leader=None)
        return replace(
            self,
            record=replace(self.record, job=job),
            timeline=timeline_of_own_jobs(self.timeline, own_jobs),
        )


class JobStore:
    """Jobs in Redis. Each change is one script, so that no reader sees half of it."""

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        calendars: TenantCalendars | None = None,
    ) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock
        self._calendars = calendars or TenantCalendars(scripts)

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None:
        """Raise `Unauthenticated` or `NotPermitted` if the key may not act within `scope`.

        The call counts in the tenant's `rate`, unless that is None. Raises
        `LimitReached` beyond it.
        """
        status = await self._scripts.call(
            "authenticate",
            credential_keys(credential),
            [*self._authentication_arguments(credential, scope), rate_argument(credential, rate)],
        )
        raise_if_rejected(status)

    async def admit(self, admission: Admission) -> AdmissionResult:
        """Admit a job, atomically with its reservation, its place in the queue and its message.

        The result of an identical request may serve it. Raises `Unauthenticated`, `NotPermitted`,
        `IdempotencyKeyMissing`, `IdempotencyMismatch`, `RequestDeleted`, or the error of a reached
        limit (`core.store.refusals`).
        """
        call = AdmissionScriptCall((admission,))
        (admitted,) = parse_admission_answer(
            await self._calendars.admit(call, self._clock.now(), replicated=not admission.dry_run)
        )
        if isinstance(admitted, CallerError):
            raise admitted
        return admitted

    async def find_replay(
        self, credential: Credential, claim: IdempotencyClaim
    ) -> AdmissionResult | None:
        """Return the job of a repeated idempotency key; None for a new key.

        For a call that cannot be admitted as it is: what its first sending led to still counts.
        A repetition is a call that is no submit. Raises `Unauthenticated`, `NotPermitted`,
        `IdempotencyMismatch`, `RequestDeleted`, `LimitReached`.
        """
        answer = await self._scripts.call(
            "find_replay",
            [*credential_keys(credential), keys.idempotency(credential.tenant, claim.digest)],
            [*self._authentication_arguments(credential, Scope.SUBMIT), claim.fingerprint],
        )
        raise_if_rejected(answer[0])
        return None if answer[0] == b"new" else parse_replayed(answer)

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        """Return one of the credential's jobs. Raises `NotFound`, for another tenant's job too."""
        answer = await self._scripts.call(
            "read_job",
            [
                *credential_keys(credential),
                keys.job(job_id),
                keys.timeline(job_id),
                keys.job_deliveries(job_id),
                keys.tenant_jobs(credential.tenant),
            ],
            [
                *self._authentication_arguments(credential, scope),
                rate_argument(credential),
                projection,
                job_id,
            ],
        )
        raise_if_rejected(answer[0])
        job = JOB_CODEC.decode(answer[1])
        view = JobView(
            record=JobRecord(job=job, polls=int(answer[2]), output=answer[3] or None),
            timeline=tuple(decode_readable(TIMELINE_ENTRY_CODEC, answer[4])),
            delivery_ids=tuple(name.decode() for name in answer[5]),
        )
        if projection is not Projection.ALL:
            return view
        return view.naming_only(await self._own_jobs(credential.tenant, view.named_jobs))

    async def _own_jobs(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        """Return those of the jobs that are the tenant's, and still stored."""
        if not job_ids:
            return ()
        ids = list(job_ids)
        scores = await self._client.execute("ZMSCORE", keys.tenant_jobs(tenant), *ids)
        return {name for name, score in zip(ids, scores, strict=True) if score is not None}

    async def load(self, job_id: str) -> JobRecord | None:
        """Return any tenant's job, for a worker or an operator; None if there is none."""
        return _parse_record(
            await self._client.execute("HMGET", keys.job(job_id), "doc", "polls", "output")
        )

    async def load_view(self, job_id: str) -> JobView | None:
        """Return any tenant's job with its history, for an operator; None if there is none."""
        record, entries, names = await asyncio.gather(
            self.load(job_id),
            self._client.execute("LRANGE", keys.timeline(job_id), 0, -1),
            self._client.execute("LRANGE", keys.job_deliveries(job_id), 0, -1),
        )
        if record is None:
            return None
        return JobView(
            record=record,
            timeline=tuple(decode_readable(TIMELINE_ENTRY_CODEC, entries)),
            delivery_ids=tuple(name.decode() for name in names),
        )

    async def load_input(self, job_id: str) -> bytes | None:
        """Return the body that the caller sent, byte for byte; None if it is no longer kept."""
        body: bytes | None = await self._client.execute("HGET", keys.job(job_id), "input")
        return body

    async def load_submission(self, job: Job) -> Submission | None:
        """Return what the submit of a job needs; None if its input is no longer kept."""
        found = await self._scripts.call(
            "read_submission", [keys.job(job.id), keys.tenant(job.tenant)], []
        )
        if not found:
            return None
        body, reserved, keeps, key, value = found
        fingerprint, _, admitted = value.decode().partition(" ")
        is_own = admitted in {job.id, job.batch or ""} - {""}
        digest = key.decode().rpartition(":")[2]
        return Submission(
            input=body,
            reserved=MicroUsd(int(reserved)),
            keeps_input=keeps != b"0",
            idempotency=IdempotencyRecord(digest, fingerprint) if is_own else None,
        )

    async def store(self, change: Change) -> WriteResult:
        """Store a change atomically, unless the record has changed since `change.before`."""
        now = self._clock.now()
        if change.after.state is JobState.QUEUED and change.before.state is JobState.FOLLOWING:
            return await self._promote(change, now)
        message = wake_message(change.after, now) if change.wake_worker else None
        result = await self._scripts.call_by_name(
            "update_job",
            _update_keys(change, message),
            _update_arguments(change, message, now),
            new_delivery_keys(change.deliveries),
            new_delivery_arguments(change.deliveries, now),
            # What a claim allows costs money: a fail-over must not forget the claim.
            replicated=change.trigger is Trigger.CLAIMED,
        )
        return WriteResult(result.decode())

    async def _promote(self, change: Change, now: datetime) -> WriteResult:
        result = await self._scripts.call_by_name(
            "promote_follower",
            _promotion_keys(change.after),
            _promotion_arguments(change, now),
            new_delivery_keys(change.deliveries),
            new_delivery_arguments(change.deliveries, now),
        )
        return WriteResult(result.decode())

    async def restore(self, restoration: Restoration) -> RestorationResult:
        """Store a job again that the store has forgotten, unless it is there.

        Only in a store that is marked as gone back (`StoreIdentity.mark_went_back`).
        """
        status, *repetition = await self._scripts.call_by_name(
            "restore_job",
            _restoration_keys(restoration),
            {
                **_restoration_arguments(restoration, self._clock.now()),
                **self._calendars.retention.history_arguments(restoration.job.usage_day),
            },
        )
        found = repetition[0].decode() if repetition else None
        return RestorationResult(status == b"stored", found, status != b"unmarked")

    async def find_by_upstream_id(self, upstream_id: str) -> str | None:
        """Return the job that has or had RunComfy's request of this id; None if none had it."""
        found = await self._client.execute("GET", keys.upstream_id(upstream_id))
        return None if found is None else str(found.decode())

    async def load_successor(self, job_id: str) -> Job | None:
        """Return the follower with the latest deadline; None if the job has no followers."""
        ids = await self._client.execute("ZRANGE", keys.followers(job_id), 0, 0, "REV")
        record = await self.load(ids[0].decode()) if ids else None
        return None if record is None else record.job

    async def load_leader(self, job: Job) -> JobRecord | None:
        """Return the job that a follower waits for; None if it waits for none, or that is gone."""
        return _parse_record(await self._scripts.call("read_leader", [keys.job(job.id)], []))

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """Claim due jobs, oldest first; no other worker gets them during `lease`."""
        now = self._clock.now()
        rows = await self._scripts.call(
            "claim_due",
            [keys.DUE, keys.LIMITS, keys.POLL_RATE],
            [keys.JOB_PREFIX, to_ms(now), to_ms(now + lease), limit, "polls_per_second"],
        )
        jobs = []
        for name, document in zip(rows[::2], rows[1::2], strict=True):
            try:
                jobs.append(JOB_CODEC.decode(document))
            except RecordUnreadable:
                await self._set_aside(name.decode(), now)
        return jobs

    async def claim_archives(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """Claim jobs whose outputs are to be kept now; no other worker gets them during `lease`.

        A job whose record cannot be read stays claimed, and is found again after the lease.
        """
        now = self._clock.now()
        rows = await self._scripts.call(
            "claim_due",
            [keys.ARCHIVES, keys.LIMITS, keys.POLL_RATE],
            [keys.JOB_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return decode_readable(JOB_CODEC, rows[1::2])

    async def postpone_archive(self, job_id: str, due_at: datetime) -> None:
        """Let no other worker claim a job's outputs before `due_at`."""
        await self._client.execute("ZADD", keys.ARCHIVES, "XX", to_ms(due_at), job_id)

    async def _set_aside(self, job_id: str, now: datetime) -> None:
        """Keep a job from being claimed until an operator requeues it.

        One record must not end every worker again and again.
        """
        await self._scripts.write_always("ZADD", keys.UNREADABLE, "NX", to_ms(now), job_id)
        await self._client.execute("ZREM", keys.DUE, job_id)

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        """Change only when a job runs next; return False if its version has changed."""
        moved = await self._scripts.call(
            "renew_lease",
            [keys.job(job.id), keys.DUE],
            [job.version, job.id, to_ms(next_run_at), int(polled)],
        )
        return bool(moved)

    async def wake_waiting(self, waiting_for: WaitingFor) -> int:
        """Make the jobs that wait for `waiting_for` due now; return how many there are."""
        index = keys.waiting_jobs(waiting_for)
        now = to_ms(self._clock.now())
        return int(await self._scripts.call("wake_waiting", [index, keys.DUE], [now]))

    async def find_cheapest_waiting(self, waiting_for: WaitingFor) -> str | None:
        """Return the id of the cheapest job that waits for `waiting_for`; None if none does."""
        ids = await self._client.execute("ZRANGE", keys.waiting_jobs(waiting_for), 0, 0)
        return ids[0].decode() if ids else None

    async def list_in_doubt(self, limit: int) -> Sequence[Job]:
        """Return jobs in doubt, the longest in doubt first."""
        return await self._load_all(
            await self._client.execute("ZRANGE", keys.IN_DOUBT, 0, limit - 1)
        )

    async def list_unsubmitted(self) -> Sequence[Job]:
        """Return the jobs that are queued or being submitted, in any order."""
        ids = await self._client.execute("ZRANGE", keys.UNSUBMITTED, 0, -1)
        found: list[Job] = []
        for first in range(0, len(ids), LIST_BATCH):
            found += await self._load_all(ids[first : first + LIST_BATCH])
        return found

    async def _load_all(self, ids: Sequence[bytes]) -> Sequence[Job]:
        """Return the jobs of these ids, without those that are gone or cannot be read."""
        rows = await asyncio.gather(
            *(self._client.execute("HGET", keys.job(name.decode()), "doc") for name in ids)
        )
        return decode_readable(JOB_CODEC, filter(None, rows))

    def _authentication_arguments(
        self, credential: Credential, scope: Scope | None
    ) -> tuple[Argument, ...]:
        return (
            to_ms(self._clock.now()),
            credential.tenant,
            scope or "",
            address_bits(credential.address),
        )


def credential_keys(credential: Credential) -> tuple[str, str]:
    """Return the keys by which a script checks an API key."""
    return keys.api_key(credential.digest), keys.tenant(credential.tenant)


def rate_argument(credential: Credential, rate: CallRate | None = CallRate.CALLS) -> str:
    """Return the rate of calls in which a script counts the call; '' for none."""
    return rate if rate is not None and credential.is_counted else ""


def _parse_record(row: Sequence[bytes | None]) -> JobRecord | None:
    doc, polls, output = row or (None, None, None)
    if doc is None:
        return None
    return JobRecord(job=JOB_CODEC.decode(doc), polls=int(polls or 0), output=output)


def _common_keys(job: Job) -> dict[str, str]:
    """Return the keys of a job's change that all scripts need."""
    return {
        "job": keys.job(job.id),
        "timeline": keys.timeline(job.id),
        "due": keys.DUE,
        "states": keys.STATE_COUNTS,
        "outbox": keys.OUTBOX,
        "job_deliveries": keys.job_deliveries(job.id),
        "webhooks": keys.webhooks(job.tenant),
    }


def _stamp(at: datetime) -> int:
    """Return when a record was made, in microseconds: it distinguishes equal versions."""
    return (at - _EPOCH) // _MICROSECOND


def _update_keys(change: Change, message: WakeMessage | None) -> dict[str, str]:
    return _common_keys(change.after) | {
        "in_doubt": keys.IN_DOUBT,
        "message": message.key if message else keys.WAKE_QUEUE,
        "wake_queue": keys.WAKE_QUEUE,
    }


def _promotion_keys(job: Job) -> dict[str, str]:
    return _common_keys(job) | {
        **usage_keys(job),
        "tenant": keys.tenant(job.tenant),
        "account_balance": keys.ACCOUNT_BALANCE,
    }


def _common_arguments(change: Change, now: datetime) -> dict[str, Argument]:
    before, after = change.before, change.after
    template, message_ttl, wake_due_at = dispatch_arguments(now)
    status_before, status = before.status, after.status
    return {
        "expected": before.version,
        "expected_stamp": _stamp(before.updated_at),
        "stamp": _stamp(after.updated_at),
        "id": after.id,
        "version": after.version,
        "doc": JOB_CODEC.encode(after),
        "now": to_ms(now),
        "tenant_name": after.tenant,
        "model": after.model_id,
        "entry": "" if change.entry is None else TIMELINE_ENTRY_CODEC.encode(change.entry),
        "message_template": template,
        "message_ttl": message_ttl,
        "wake_due_at": wake_due_at,
        "status_before": status_before,
        "status": status,
        # The index of a status that stays is not changed.
        "index_score": "" if status is status_before else score_of(after),
        "config_digest": change.config_digest or "",
    }


def _update_arguments(
    change: Change, message: WakeMessage | None, now: datetime
) -> dict[str, Argument]:
    before, after = change.before, change.after
    arguments = _common_arguments(change, now) | {
        "before": before.state,
        "state": after.state,
        "due_at": _next_run_argument(before, after),
        "output": change.output or b"",
        "ttl": _RESULT_TTL,
        "min_ttl": RESULT_GRACE_PERIOD // MILLISECOND,
        "is_final": int(after.is_final),
        "priority": int(after.priority),
        **_upstream_id_arguments(change),
        **_waiting_arguments(before, after),
        **_archive_arguments(before, after),
        **usage_change_arguments(before, after),
    }
    if after.is_final:
        arguments |= _end_arguments(before, after, now)
    if change.successor is not None:
        arguments |= _successor_arguments(change.successor)
    if message is not None:
        arguments |= {"message_name": message.name, "message_body": message.body}
    return arguments


def _end_arguments(before: Job, after: Job, now: datetime) -> dict[str, Argument]:
    """Return what a job that has ended cost, what is learned from it, and how it can be shared."""
    settlement, duration = settlement_of(after), run_time(before, after)
    price = shared_cost(after)
    return {
        "settlement_status": settlement.status,
        "cost": int(settlement.cost),
        "run_time": "" if duration is None else duration // MILLISECOND,
        "max_run_times": MAX_RUNS,
        "refusal_charged": _flag_argument(refusal_charged(before, after)),
        "shared_cost": "" if price is None else int(price),
        "output_expires_at": to_ms(cacheable_until(after, now)),
        **_charge_arguments(before, after),
    }


def _upstream_id_arguments(change: Change) -> dict[str, Argument]:
    """Return what remembers the id of RunComfy that the change brings; nothing without one."""
    taken = change.taken_upstream_id
    if taken is None:
        return {}
    return {
        "upstream_id": taken,
        "upstream_id_ttl": UPSTREAM_ID_RETENTION // MILLISECOND,
        "if_free": int(change.if_upstream_id_free),
    }


def _charge_arguments(before: Job, after: Job) -> dict[str, Argument]:
    """Return what records the cost that the change decides; nothing if it decides none."""
    if not charge_changes(before, after):
        return {}
    name, replaced = charge_name(after), name_without_id(after)
    kept = ttl_seconds(WINDOW_RETENTION)
    return {"charge": f"{day_text(after.created_at.date())}\n{kept}\n{name}\n{replaced}"}


def _waiting_arguments(before: Job, after: Job) -> dict[str, Argument]:
    """Return what moves a job among those that wait; nothing if it neither waits nor waited."""
    if before.waiting_for is after.waiting_for is None:
        return {}
    return {
        "waiting_before": before.waiting_for or "",
        "waiting_for": after.waiting_for or "",
        "price": "" if after.estimate is None else int(after.estimate),
    }


def _archive_arguments(before: Job, after: Job) -> dict[str, Argument]:
    """Return what schedules the archive of the outputs, and how long they are kept."""
    kept: dict[str, Argument] = (
        {} if after.kept_until is None else {"kept_until": to_ms(after.kept_until)}
    )
    if before.archive_due_at == after.archive_due_at:
        return kept
    if after.archive_due_at is None:
        return kept | {"archive_at": "none"}
    since = to_ms(after.outputs_deleted_at - UPSTREAM_RETENTION)
    return kept | {"archive_at": to_ms(after.archive_due_at), "archive_since": since}


def _flag_argument(value: bool | None) -> Argument:  # noqa: FBT001 - None is a third value
    return "" if value is None else int(value)


def _successor_arguments(successor: Successor) -> dict[str, Argument]:
    before, after = successor.before, successor.after
    return {
        "successor": after.id,
        "successor_expected": before.version,
        "successor_expected_stamp": _stamp(before.updated_at),
        "successor_stamp": _stamp(after.updated_at),
        "successor_version": after.version,
        "successor_doc": JOB_CODEC.encode(after),
        "successor_tenant": after.tenant,
        "successor_entry": TIMELINE_ENTRY_CODEC.encode(successor.entry),
        **{f"successor_{name}": value for name, value in booking_arguments(after).items()},
        "successor_status_before": before.status,
        "successor_status": after.status,
        "successor_index_score": score_of(after),
    }


def _promotion_arguments(change: Change, now: datetime) -> dict[str, Argument]:
    if change.entry is None:
        raise ValueError("a promotion adds an entry to the timeline")
    job, deadline = change.after, first_deadline(change.after)
    return _common_arguments(change, now) | {
        "priority": int(job.priority),
        "price": "" if job.estimate is None else int(job.estimate),
        "first_deadline": "" if deadline is None else to_ms(deadline),
        "expected_leader": change.expected_leader or "",
        **usage_arguments(job),
    }


def _next_run_argument(before: Job, after: Job) -> Argument:
    # A change that sets no new time must not shorten the lease of the worker that holds the job.
    if after.next_run_at is None:
        return ""
    return "keep" if after.next_run_at == before.next_run_at else to_ms(after.next_run_at)


def _restoration_keys(restoration: Restoration) -> dict[str, str]:
    job, used = restoration.job, restoration.submission.idempotency
    return {
        "job": keys.job(job.id),
        "timeline": keys.timeline(job.id),
        "due": keys.DUE,
        "states": keys.STATE_COUNTS,
        "in_doubt": keys.IN_DOUBT,
        **usage_keys(job),
        "idempotency": keys.STORE if used is None else keys.idempotency(job.tenant, used.digest),
    }


def _restoration_arguments(restoration: Restoration, now: datetime) -> dict[str, Argument]:
    job, submission = restoration.job, restoration.submission
    used = submission.idempotency
    return {
        "id": job.id,
        "version": job.version,
        "stamp": _stamp(job.updated_at),
        "claimed_stamp": _stamp(job.sent_at or job.created_at),
        "doc": JOB_CODEC.encode(job),
        "entry": TIMELINE_ENTRY_CODEC.encode(restoration.entry),
        "state": job.state,
        "now": to_ms(now),
        "due_at": to_ms(job.next_run_at or now),
        "input": submission.input,
        "reserved": int(submission.reserved),
        "upstream_id": job.upstream_id or "",
        "upstream_id_ttl": UPSTREAM_ID_RETENTION // MILLISECOND,
        "tenant_name": job.tenant,
        "model": job.model_id,
        "index_score": score_of(job),
        "reference": "" if job.reference is None else reference_score(job.reference),
        "status": job.status,
        **usage_arguments(job),
        "facts": facts_text(usage_facts(job)),
        "idempotency_fingerprint": "" if used is None else used.fingerprint,
        "admitted_as": restoration.admitted_as,
        "settled_repetition": restoration.settled_repetition or "",
        "settled_jobs": " ".join(restoration.settled_jobs),
        **_follower_arguments(restoration.follower),
    }


def _follower_arguments(job: Job | None) -> dict[str, Argument]:
    if job is None:
        return {}
    return {
        "follower_version": job.version,
        "follower_stamp": _stamp(job.updated_at),
        "follower_status": job.status,
        "follower_facts": facts_text(usage_facts(job)),
    }
