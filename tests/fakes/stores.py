"""Twins of the stores over one shared memory; `tests/contract` holds them to what Redis does.

Each method does all its work in one turn of the event loop, as a Lua script does in one of Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from core.changes import Admission, Admitted, Change, Outcome
from core.clock import to_ms
from core.errors import NotFound, NotPermitted, Unauthenticated
from core.history import KEPT, RunHistory, run_time
from core.jobs import JobRecord, JobState
from core.ledger import Booking, booked, standing
from core.limits import spans_at
from core.listing import place_of
from core.money import MicroUsd
from core.store.doorbell import ring_for
from core.store.jobs import MILLISECOND, Depth, JobView
from core.store.records import ENTRIES, JOBS
from core.tenants import Scope
from tests.fakes.listing import MemoryListedJobs, forget_input, keep
from tests.fakes.memory import Account, Memory, Row, due_first, write_due
from tests.fakes.outbox import MemoryDeliveryStore, MemoryReplayStore, MemoryWebhookStore, post
from tests.fakes.quotas import Ruling, Standing, allowance
from tests.fakes.shared import MemoryBreakerStore, MemoryCatalogueStore, MemoryPresence
from tests.fakes.tenancy import (
    MemoryControlStore,
    MemoryTenantStore,
    MemoryUsageStore,
    hand_out,
    summon,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from core.clock import Clock
    from core.deliveries import Delivery
    from core.jobs import Job
    from core.tenants import Credential

AFTER_AN_ADMISSION: Final = 2
AFTER_AN_END: Final = 4
USE_NOTED_EVERY: Final = timedelta(minutes=1)


class MemoryJobStore:
    """Twin of `core.store.jobs.JobStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `JobStore.authenticate`."""
        self._authenticate(credential, scope)

    async def admit(self, admission: Admission) -> Admitted:
        """See `JobStore.admit`."""
        self._authenticate(admission.credential, Scope.SUBMIT)
        memory, job = self._memory, admission.job
        ruling = Ruling(job, memory.clock.now(), self._standing(job))
        ruling.check()
        if ruling.arrival is not None:
            memory.rates[job.tenant] = ruling.arrival
        self._write(admission, MicroUsd(ruling.amount))
        if ruling.at.at_once:
            memory.turns.give(job.id, job.tenant, job.model_id)
            summon(memory, job.id)
        else:
            memory.turns.wait(job)
            hand_out(memory, AFTER_AN_ADMISSION)
        memory.changed()
        runs = job.id in memory.turns.slots
        return Admitted(runs, MicroUsd(ruling.amount), tuple(ruling.rows))

    def _standing(self, job: Job) -> Standing:
        memory = self._memory
        day, month = spans_at(job.created_at)
        return Standing(
            limits=memory.limits_of(job.tenant),
            wallet=memory.wallet,
            day=memory.use(job.tenant, day),
            month=memory.use(job.tenant, month),
            arrival=memory.rates.get(job.tenant),
            running=memory.turns.running()[f"tenant:{job.tenant}"],
            waiting=memory.turns.waits(job.tenant),
            at_once=memory.turns.runs_at_once(job.tenant, job.model_id),
        )

    def _write(self, admission: Admission, amount: MicroUsd) -> None:
        memory, job = self._memory, admission.job
        memory.jobs[job.id] = Row(job.version, JOBS.write(job), input=admission.input)
        memory.timelines.setdefault(job.id, []).append(ENTRIES.write(admission.entry))
        memory.states[job.state] += 1
        memory.tenant_jobs.setdefault(job.tenant, {})[job.id] = place_of(job)
        spans = frozenset(span.name for span in spans_at(job.created_at))
        memory.accounts[job.id] = Account(job.tenant, job.model_id, spans, Booking(amount))
        limits = [limit for limit in (job.start_by, job.finish_by) if limit is not None]
        write_due(memory.due, job.id, min(limits, default=None))

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """See `JobStore.read`."""
        self._authenticate(credential, scope)
        row = self._memory.job(job_id)
        if row is None or (job := JOBS.read(row.doc)).tenant != credential.tenant:
            raise NotFound
        output = None if depth is Depth.STATUS else row.output
        record = JobRecord(job=job, polls=row.polls, output=output)
        if depth is not Depth.ALL:
            return JobView(record=record)
        return self._with_history(record)

    def _with_history(self, record: JobRecord) -> JobView:
        memory, job_id = self._memory, record.job.id
        return JobView(
            record=record,
            timeline=tuple(ENTRIES.read(entry) for entry in memory.timelines.get(job_id, ())),
            delivery_ids=tuple(memory.job_deliveries.get(job_id, ())),
        )

    async def load(self, job_id: str) -> JobRecord | None:
        """See `JobStore.load`."""
        row = self._memory.job(job_id)
        if row is None:
            return None
        return JobRecord(job=JOBS.read(row.doc), polls=row.polls, output=row.output)

    async def view(self, job_id: str) -> JobView | None:
        """See `JobStore.view`."""
        record = await self.load(job_id)
        return None if record is None else self._with_history(record)

    async def input(self, job_id: str) -> bytes | None:
        """See `JobStore.input`."""
        row = self._memory.job(job_id)
        return None if row is None else row.input

    async def store(self, change: Change) -> Outcome:
        """See `JobStore.store`."""
        memory, before, after = self._memory, change.before, change.after
        row = memory.job(after.id)
        if row is None:
            return Outcome.UNKNOWN
        if row.version != before.version:
            return Outcome.STALE
        claimed = before.state is JobState.QUEUED and after.state is JobState.SUBMITTING
        if claimed and after.id not in memory.turns.slots:
            return Outcome.NO_SLOT
        row.version, row.doc = after.version, JOBS.write(after)
        row.output = change.output or row.output
        self._count(before, after)
        if before.state is not after.state:
            forget_input(memory, row, after)
        if after.due_at is None or after.due_at != before.due_at:
            write_due(memory.due, after.id, after.due_at)
        memory.timelines.setdefault(after.id, []).extend(map(ENTRIES.write, change.entries))
        self._write_deliveries(after, change.deliveries)
        if change.ring:
            memory.ring(ring_for(after, memory.clock.now()))
        if after.final:
            self._end(row, after)
        self._remember(before, after)
        memory.told(after.id, after.version, ended=after.final)
        memory.changed()
        return Outcome.STORED

    def _end(self, row: Row, job: Job) -> None:
        memory = self._memory
        keep(memory, row, job)
        account = memory.accounts[job.id]
        booking = booked(account.booking.reserved, standing(job))
        memory.accounts[job.id] = replace(account, booking=booking)
        if memory.turns.end(job.id):
            hand_out(memory, AFTER_AN_END)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """See `JobStore.claim_due`."""
        memory, per_second = self._memory, self._memory.turns.limits.polls_per_second
        room = min(limit, len(due_first(memory.due, memory.now, limit)))
        if per_second is not None and room:
            room, memory.poll_rate, _ = allowance(memory.poll_rate, per_second, room, memory.now)
        rows = _claim(memory, memory.due, memory.jobs, lease, room)
        return [JOBS.read(row.doc) for row in rows]

    async def put_off(self, job: Job, due_at: datetime, *, polled: bool = False) -> bool:
        """See `JobStore.put_off`."""
        memory, row = self._memory, self._memory.job(job.id)
        if row is None or row.version != job.version:
            return False
        if job.id in memory.due:
            write_due(memory.due, job.id, due_at)
        row.polls += polled
        memory.changed()
        return True

    async def doubts(self, limit: int) -> Sequence[Job]:
        """See `JobStore.doubts`."""
        oldest = sorted((since, name) for name, since in self._memory.doubts.items())
        records = [await self.load(name) for _, name in oldest[:limit]]
        return [record.job for record in records if record is not None]

    def _authenticate(self, credential: Credential, scope: Scope | None) -> None:
        memory, key = self._memory, self._memory.keys.get(credential.digest)
        if key is None or key.tenant != credential.tenant:
            raise Unauthenticated
        if key.expires_at is not None and key.expires_at <= memory.now:
            raise Unauthenticated
        tenant = memory.tenants.get(credential.tenant)
        if tenant is None or tenant.disabled:
            raise Unauthenticated
        if scope is not None and scope not in key.scopes:
            raise NotPermitted
        if memory.now - (key.used or 0) > USE_NOTED_EVERY // MILLISECOND:
            key.used = memory.now

    def _count(self, before: Job, after: Job) -> None:
        memory = self._memory
        if before.state is after.state:
            return
        memory.states[before.state] -= 1
        memory.states[after.state] += 1
        if after.state is JobState.IN_DOUBT:
            memory.doubts[after.id] = memory.now
        if before.state is JobState.IN_DOUBT:
            memory.doubts.pop(after.id, None)

    def _remember(self, before: Job, after: Job) -> None:
        took = run_time(before, after)
        if took is not None:
            runs = self._memory.runs.setdefault(after.model_id, [])
            runs.insert(0, took // timedelta(milliseconds=1))
            del runs[KEPT:]
            self._memory.run_counts[after.model_id] += 1

    def _write_deliveries(self, job: Job, deliveries: Sequence[Delivery]) -> None:
        memory = self._memory
        for delivery in deliveries:
            post(memory, delivery)
            memory.job_deliveries.setdefault(job.id, []).append(delivery.id)


class MemoryHistoryStore:
    """Twin of `core.store.history.HistoryStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def counts(self) -> Mapping[str, int]:
        """See `HistoryStore.counts`."""
        return dict(self._memory.run_counts)

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]:
        """See `HistoryStore.load`."""
        return {
            model: RunHistory.of(
                timedelta(milliseconds=took) for took in self._memory.runs.get(model, ())
            )
            for model in models
        }


@dataclass(frozen=True, slots=True)
class MemoryStores:
    """One of each, over the same memory."""

    memory: Memory
    jobs: MemoryJobStore
    listed: MemoryListedJobs
    histories: MemoryHistoryStore
    deliveries: MemoryDeliveryStore
    tenants: MemoryTenantStore
    webhooks: MemoryWebhookStore
    replays: MemoryReplayStore
    usage: MemoryUsageStore
    controls: MemoryControlStore
    breakers: MemoryBreakerStore
    catalogue: MemoryCatalogueStore
    presence: MemoryPresence


def memory_stores(clock: Clock) -> MemoryStores:
    """Empty stores that go by `clock`."""
    memory = Memory(clock)
    return MemoryStores(
        memory=memory,
        jobs=MemoryJobStore(memory),
        listed=MemoryListedJobs(memory),
        histories=MemoryHistoryStore(memory),
        deliveries=MemoryDeliveryStore(memory),
        tenants=MemoryTenantStore(memory),
        webhooks=MemoryWebhookStore(memory),
        replays=MemoryReplayStore(memory),
        usage=MemoryUsageStore(memory),
        controls=MemoryControlStore(memory),
        breakers=MemoryBreakerStore(memory),
        catalogue=MemoryCatalogueStore(memory),
        presence=MemoryPresence(memory),
    )


def _claim(
    memory: Memory, index: dict[str, int], rows: dict[str, Row], lease: timedelta, limit: int
) -> list[Row]:
    """What is due, each now under a lease; a member without a record is swept out."""
    until = to_ms(memory.clock.now() + lease)
    claimed: list[Row] = []
    for name in due_first(index, memory.now, limit):
        row = rows.get(name)
        if row is None or (row.expires_at is not None and row.expires_at <= memory.now):
            del index[name]
            continue
        index[name] = until
        claimed.append(row)
    return claimed
