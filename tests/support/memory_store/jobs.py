"""The fake of the job store; see `tests.support.memory_store.stores`."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from core.billing.charges import Charge, charge_changes, charge_name, name_without_id
from core.billing.settlement import ReservationTotals, settlement_of
from core.clock import to_ms
from core.errors import NotFound, RecordUnreadable
from core.jobs.job import Job, JobRecord, JobState, WaitingFor
from core.jobs.query import score_of
from core.jobs.refusal_costs import RefusalCosts, refusal_charged
from core.jobs.run_times import MAX_RUNS, run_time
from core.jobs.submission import IdempotencyRecord, Submission
from core.money import MicroUsd
from core.quotas import CallRate
from core.store.codecs import JOB_CODEC, TENANT_CODEC, TIMELINE_ENTRY_CODEC
from core.store.identity import RESTORED_CLAIM
from core.store.jobs import JobView, Projection
from core.store.wake_queue import wake_message
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import Admission, AdmissionResult, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from core.transactions.restoration import Restoration, RestorationResult
from tests.support.memory_store.admission import (
    admit,
    authenticate,
    authenticate_call,
    find_replay,
    move_state_count,
)
from tests.support.memory_store.batches import record_end
from tests.support.memory_store.followers import (
    has_followers,
    is_current,
    leave_leader,
    promote,
    update_coalescing,
)
from tests.support.memory_store.job_index import forget_input, start_retention
from tests.support.memory_store.quotas import allowance
from tests.support.memory_store.settlement import totals_of
from tests.support.memory_store.state import (
    MemoryState,
    StoredRecord,
    due_members,
    set_score,
)
from tests.support.memory_store.tenants import dispatch_slots
from tests.support.memory_store.webhooks import webhook_config_changed, write_deliveries

MAX_DISPATCHED_PER_END: Final = 4
MAX_DISPATCHED_PER_QUEUED: Final = 2


class MemoryJobStore:
    """Fake of `core.store.jobs.JobStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None:
        authenticate_call(self._memory, credential, scope, rate=rate)

    async def admit(self, admission: Admission) -> AdmissionResult:
        return admit(self._memory, admission)

    async def find_replay(
        self, credential: Credential, claim: IdempotencyClaim
    ) -> AdmissionResult | None:
        authenticate(self._memory, credential, Scope.SUBMIT)
        return find_replay(self._memory, credential, claim)

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        authenticate_call(self._memory, credential, scope)
        row = self._memory.job(job_id)
        if row is None or (job := JOB_CODEC.decode(row.doc)).tenant != credential.tenant:
            raise NotFound
        output = None if projection is Projection.STATUS else row.output
        record = JobRecord(job=job, polls=row.polls, output=output)
        if projection is not Projection.ALL:
            return JobView(record=record)
        view = self._with_history(record)
        own = self._memory.tenant_jobs.get(credential.tenant, {})
        return view.naming_only([name for name in view.named_jobs if name in own])

    def _with_history(self, record: JobRecord) -> JobView:
        memory, job_id = self._memory, record.job.id
        return JobView(
            record=record,
            timeline=tuple(
                TIMELINE_ENTRY_CODEC.decode(entry) for entry in memory.timelines.get(job_id, ())
            ),
            delivery_ids=tuple(memory.job_deliveries.get(job_id, ())),
        )

    async def load(self, job_id: str) -> JobRecord | None:
        row = self._memory.job(job_id)
        if row is None:
            return None
        return JobRecord(
            job=JOB_CODEC.decode(row.doc),
            polls=row.polls,
            output=row.output,
        )

    async def load_view(self, job_id: str) -> JobView | None:
        record = await self.load(job_id)
        return None if record is None else self._with_history(record)

    async def load_input(self, job_id: str) -> bytes | None:
        row = self._memory.job(job_id)
        return None if row is None else row.input

    async def load_submission(self, job: Job) -> Submission | None:
        memory, row = self._memory, self._memory.job(job.id)
        if row is None or row.input is None:
            return None
        tenant = memory.tenant(job.tenant)
        keys = (
            IdempotencyRecord(digest, fingerprint)
            for (name, digest), (fingerprint, admitted) in memory.idempotency.items()
            if name == job.tenant and admitted in {job.id, job.batch}
        )
        return Submission(
            input=row.input,
            reserved=MicroUsd(memory.accounts[job.id].booking.reserved),
            keeps_input=tenant is None or TENANT_CODEC.decode(tenant.doc).keep_inputs,
            idempotency=next(keys, None),
        )

    async def find_by_upstream_id(self, upstream_id: str) -> str | None:
        return self._memory.upstream_ids.get(upstream_id)

    async def store(self, change: Change) -> WriteResult:
        memory, before, after = self._memory, change.before, change.after
        row = memory.job(after.id)
        if row is None:
            return WriteResult.NOT_FOUND
        if not is_current(memory, before):
            return WriteResult.CONFLICT
        if before.state is JobState.FOLLOWING and after.state is JobState.QUEUED:
            return promote(memory, row, change)
        return self._conflict(change) or self._carry_out(row, change)

    def _conflict(self, change: Change) -> WriteResult | None:
        memory, before, after = self._memory, change.before, change.after
        if has_followers(memory, before, after, change.successor):
            return WriteResult.HAS_FOLLOWERS
        if change.successor is not None and not is_current(memory, change.successor.before):
            return WriteResult.SUCCESSOR_CONFLICT
        taken = change.taken_upstream_id
        if (
            change.if_upstream_id_free
            and memory.upstream_ids.get(taken or "", after.id) != after.id
        ):
            return WriteResult.UPSTREAM_ID_TAKEN
        if webhook_config_changed(memory, change):
            return WriteResult.WEBHOOK_CONFIG_CHANGED
        claimed = before.state is JobState.QUEUED and after.state is JobState.SUBMITTING
        return WriteResult.NO_SLOT if claimed and after.id not in memory.fair_queue.slots else None

    def _carry_out(self, row: StoredRecord, change: Change) -> WriteResult:
        memory, before, after = self._memory, change.before, change.after
        row.version, row.doc = after.version, JOB_CODEC.encode(after)
        if after.state is JobState.SUBMITTING and before.state is not after.state:
            memory.count_claim(after)
        row.output = change.output or row.output
        if change.taken_upstream_id is not None:
            memory.upstream_ids.setdefault(change.taken_upstream_id, after.id)
        move_state_count(memory, before, after)
        if before.state is not after.state:
            forget_input(memory, row, after)
        self._schedule(before, after)
        timeline = memory.timelines.setdefault(after.id, [])
        if change.entry is not None:
            timeline.append(TIMELINE_ENTRY_CODEC.encode(change.entry))
        write_deliveries(memory, after, change.deliveries)
        if change.wake_worker:
            memory.wake(wake_message(after, memory.clock.now()))
        update_coalescing(memory, before, after, change)
        self._move_between_queues(before, after)
        if after.is_final:
            self._end(row, after)
        memory.recount(after)
        self._record_charge(before, after)
        self._remember(before, after)
        record_end(memory, after)
        memory.on_job_change(after.id, after.version, ended=after.is_final)
        memory.on_due_change()
        return WriteResult.STORED

    def _may_be_submitted(self, job_id: str) -> bool:
        row = self._memory.job(job_id)
        unsent = {JobState.QUEUED, JobState.SUBMITTING, JobState.FOLLOWING}
        return row is not None and JOB_CODEC.decode(row.doc).state in unsent

    async def restore(self, restoration: Restoration) -> RestorationResult:
        follower = restoration.follower
        is_gone = self._memory.job(restoration.job.id) is None
        if not (is_gone if follower is None else is_current(self._memory, follower)):
            return RestorationResult(is_stored=False)
        position = self._memory.position
        if position is None or position.compare_since is None:
            return RestorationResult(is_stored=False, is_marked=False)
        repetition = self._take_key_again(restoration)
        if repetition is not None:
            return RestorationResult(is_stored=False, repetition=repetition)
        self._write_restored(restoration)
        return RestorationResult(is_stored=True)

    def _take_key_again(self, restoration: Restoration) -> str | None:
        """Let the key lead to the job again; return a repetition that must be ended first."""
        memory, job = self._memory, restoration.job
        known: set[str | None] = {restoration.admitted_as}
        if not any(map(self._may_be_submitted, restoration.settled_jobs)):
            known |= {restoration.settled_repetition}
        if (used := restoration.submission.idempotency) is not None:
            key = (job.tenant, used.digest)
            fingerprint, admitted = memory.idempotency.get(key, (None, None))
            if fingerprint == used.fingerprint and admitted not in known:
                return admitted
            is_retaken = fingerprint == used.fingerprint and restoration.batch is None
            if fingerprint is None or is_retaken:
                memory.idempotency[key] = (used.fingerprint, restoration.admitted_as)
        return None

    def _write_restored(self, restoration: Restoration) -> None:
        memory, job, submission = self._memory, restoration.job, restoration.submission
        if restoration.follower is None:
            memory.jobs[job.id] = StoredRecord(
                job.version, JOB_CODEC.encode(job), input=submission.input
            )
            memory.states[job.state] += 1
            memory.count(job, ReservationTotals(submission.reserved))
        else:
            leave_leader(memory, restoration.follower, job, submission.reserved)
        line = TIMELINE_ENTRY_CODEC.encode(restoration.entry)
        memory.timelines.setdefault(job.id, []).append(line)
        if job.upstream_id is not None:
            memory.upstream_ids.setdefault(job.upstream_id, job.id)
        if job.state is JobState.IN_DOUBT:
            memory.in_doubt[job.id] = memory.now
        memory.tenant_jobs.setdefault(job.tenant, {})[job.id] = score_of(job)
        memory.fair_queue.assign_slot(job.id, job.tenant, job.model_id)
        set_score(memory.due, job.id, job.next_run_at)
        memory.count_claim(job, RESTORED_CLAIM)
        memory.on_due_change()

    def _schedule(self, before: Job, after: Job) -> None:
        memory = self._memory
        if after.next_run_at is None or after.next_run_at != before.next_run_at:
            set_score(memory.due, after.id, after.next_run_at)
        if after.archive_due_at != before.archive_due_at:
            set_score(memory.archives, after.id, after.archive_due_at)

    def _move_between_queues(self, before: Job, after: Job) -> None:
        """Let a job begin or end to wait for something other than its turn, or leave its slot."""
        if after.state is JobState.ARCHIVING and before.state is not after.state:
            self._free_slot(after)
        memory, turns = self._memory, self._memory.fair_queue
        if before.waiting_for is not None:
            memory.waiting_for[before.waiting_for].pop(after.id, None)
        if after.waiting_for is not None:
            price = math.inf if after.estimate is None else after.estimate
            memory.waiting_for.setdefault(after.waiting_for, {})[after.id] = price
            if turns.remove(after.id):
                dispatch_slots(memory, MAX_DISPATCHED_PER_END)
        elif before.waiting_for is not None and after.state is JobState.QUEUED:
            turns.enqueue(after)
            dispatch_slots(memory, MAX_DISPATCHED_PER_QUEUED)
        elif before.waiting_for is not None and not after.is_final:
            turns.occupy_slot(after)

    async def wake_waiting(self, waiting_for: WaitingFor) -> int:
        memory = self._memory
        waiting = memory.waiting_for.get(waiting_for, {})
        memory.due |= {name: memory.now for name in waiting if name in memory.due}
        memory.on_due_change()
        return len(waiting)

    async def find_cheapest_waiting(self, waiting_for: WaitingFor) -> str | None:
        waiting = self._memory.waiting_for.get(waiting_for, {})
        return min(waiting, key=lambda name: (waiting[name], name), default=None)

    async def load_successor(self, job_id: str) -> Job | None:
        followers = self._memory.coalescing.followers_of(job_id)
        if not followers:
            return None
        record = await self.load(max(followers, key=lambda name: (followers[name], name)))
        return None if record is None else record.job

    async def load_leader(self, job: Job) -> JobRecord | None:
        leader = self._memory.coalescing.leaders.get(job.id)
        return None if leader is None else await self.load(leader)

    def _end(self, row: StoredRecord, job: Job) -> None:
        memory = self._memory
        start_retention(memory, row, job)
        reserved = memory.accounts[job.id].booking.reserved
        memory.recount(job, totals_of(reserved, settlement_of(job)))
        self._free_slot(job)

    def _record_charge(self, before: Job, after: Job) -> None:
        if not charge_changes(before, after):
            return
        charges = self._memory.charges.setdefault(after.created_at.date(), {})
        charges.pop(name_without_id(after), None)
        amount = self._memory.accounts[after.id].booking.settled
        status = settlement_of(after).status
        charges[charge_name(after) or ""] = Charge(after.tenant, status, MicroUsd(amount))

    def _free_slot(self, job: Job) -> None:
        if self._memory.fair_queue.remove(job.id):
            dispatch_slots(self._memory, MAX_DISPATCHED_PER_END)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        memory, per_second = self._memory, self._memory.fair_queue.limits.polls_per_second
        room = min(limit, len(due_members(memory.due, memory.now, limit)))
        if per_second is not None and room:
            room, memory.poll_rate, _ = allowance(memory.poll_rate, per_second, room, memory.now)
        jobs = []
        for name, row in _claim(memory, memory.due, memory.jobs, lease, room):
            try:
                jobs.append(JOB_CODEC.decode(row.doc))
            except RecordUnreadable:
                memory.unreadable.setdefault(name, memory.now)
                del memory.due[name]
        return jobs

    async def claim_archives(self, lease: timedelta, limit: int) -> Sequence[Job]:
        memory = self._memory
        claimed = _claim(memory, memory.archives, memory.jobs, lease, limit)
        return [JOB_CODEC.decode(row.doc) for _, row in claimed]

    async def postpone_archive(self, job_id: str, due_at: datetime) -> None:
        if job_id in self._memory.archives:
            set_score(self._memory.archives, job_id, due_at)

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        memory, row = self._memory, self._memory.job(job.id)
        if row is None or row.version != job.version:
            return False
        if job.id in memory.due:
            set_score(memory.due, job.id, next_run_at)
        row.polls += polled
        memory.on_due_change()
        return True

    async def list_in_doubt(self, limit: int) -> Sequence[Job]:
        oldest = sorted((since, name) for name, since in self._memory.in_doubt.items())
        records = [await self.load(name) for _, name in oldest[:limit]]
        return [record.job for record in records if record is not None]

    async def list_unsubmitted(self) -> Sequence[Job]:
        unsubmitted = {JobState.QUEUED, JobState.SUBMITTING}
        return [job for job in self._memory.all_jobs() if job.state in unsubmitted]

    def _remember(self, before: Job, after: Job) -> None:
        took = run_time(before, after)
        if took is not None:
            runs = self._memory.run_times.setdefault(after.model_id, [])
            runs.insert(0, took // timedelta(milliseconds=1))
            del runs[MAX_RUNS:]
            self._memory.run_counts[after.model_id] += 1
        charged = refusal_charged(before, after)
        if charged is not None:
            known = self._memory.refusal_costs.get(after.model_id, RefusalCosts())
            self._memory.refusal_costs[after.model_id] = (
                replace(known, charged=known.charged + 1)
                if charged
                else replace(known, free=known.free + 1)
            )


def _claim(
    memory: MemoryState,
    index: dict[str, int],
    rows: dict[str, StoredRecord],
    lease: timedelta,
    limit: int,
) -> list[tuple[str, StoredRecord]]:
    """Lease what is due; remove members without a record."""
    until = to_ms(memory.clock.now() + lease)
    claimed: list[tuple[str, StoredRecord]] = []
    for name in due_members(index, memory.now, limit):
        row = rows.get(name)
        if row is None or (row.expires_at is not None and row.expires_at <= memory.now):
            del index[name]
            continue
        index[name] = until
        claimed.append((name, row))
    return claimed
