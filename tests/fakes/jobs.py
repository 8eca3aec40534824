"""The twin of the job store; see `tests.fakes.stores`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from core.billing.settlement import booked, standing
from core.clock import to_ms
from core.errors import NotFound
from core.jobs.job import JobRecord, JobState
from core.jobs.run_times import KEPT, run_time
from core.store.codecs import ENTRIES, JOBS
from core.store.jobs import Depth, JobView
from core.store.wake_queue import ring_for
from core.tenants.api_keys import Scope
from core.transactions.admission import Admission, Admitted
from core.transactions.job_update import Change, Outcome
from tests.fakes.admissions import admit, authenticate, count_states
from tests.fakes.batches import note_end
from tests.fakes.joint import is_current, promote, tell_flight, wanted
from tests.fakes.listing import forget_input, keep
from tests.fakes.memory import Memory, Row, due_first, write_due
from tests.fakes.outbox import setup_changed, write_deliveries
from tests.fakes.quotas import allowance
from tests.fakes.tenancy import hand_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from core.jobs.job import Job
    from core.tenants.api_keys import Credential

AFTER_AN_END: Final = 4


class MemoryJobStore:
    """Twin of `core.store.jobs.JobStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `JobStore.authenticate`."""
        authenticate(self._memory, credential, scope)

    async def admit(self, admission: Admission) -> Admitted:
        """See `JobStore.admit`."""
        return admit(self._memory, admission)

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """See `JobStore.read`."""
        authenticate(self._memory, credential, scope)
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
        return JobRecord(
            job=JOBS.read(row.doc),
            polls=row.polls,
            output=row.output,
        )

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
        if before.state is JobState.FOLLOWING and after.state is JobState.QUEUED:
            return promote(memory, row, change)
        return self._hindrance(change) or self._carry_out(row, change)

    def _hindrance(self, change: Change) -> Outcome | None:
        memory, before, after = self._memory, change.before, change.after
        if wanted(memory, before, after, change.heir):
            return Outcome.WANTED
        if change.heir is not None and not is_current(memory, change.heir.before):
            return Outcome.HEIR_STALE
        if setup_changed(memory, change):
            return Outcome.SETUP_CHANGED
        claimed = before.state is JobState.QUEUED and after.state is JobState.SUBMITTING
        return Outcome.NO_SLOT if claimed and after.id not in memory.turns.slots else None

    def _carry_out(self, row: Row, change: Change) -> Outcome:
        memory, before, after = self._memory, change.before, change.after
        row.version, row.doc = after.version, JOBS.write(after)
        row.output = change.output or row.output
        count_states(memory, before, after)
        if before.state is not after.state:
            forget_input(memory, row, after)
        if after.due_at is None or after.due_at != before.due_at:
            write_due(memory.due, after.id, after.due_at)
        memory.timelines.setdefault(after.id, []).extend(map(ENTRIES.write, change.entries))
        write_deliveries(memory, after, change.deliveries)
        if change.ring:
            memory.ring(ring_for(after, memory.clock.now()))
        tell_flight(memory, before, after, change)
        if after.final:
            self._end(row, after)
        self._remember(before, after)
        note_end(memory, after)
        memory.told(after.id, after.version, ended=after.final)
        memory.changed()
        return Outcome.STORED

    async def heir(self, job_id: str) -> Job | None:
        """See `JobStore.heir`."""
        followers = self._memory.flights.followed(job_id)
        if not followers:
            return None
        record = await self.load(max(followers, key=lambda name: (followers[name], name)))
        return None if record is None else record.job

    async def leader(self, job: Job) -> JobRecord | None:
        """See `JobStore.leader`."""
        leader = self._memory.flights.leaders.get(job.id)
        return None if leader is None else await self.load(leader)

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

    def _remember(self, before: Job, after: Job) -> None:
        took = run_time(before, after)
        if took is not None:
            runs = self._memory.runs.setdefault(after.model_id, [])
            runs.insert(0, took // timedelta(milliseconds=1))
            del runs[KEPT:]
            self._memory.run_counts[after.model_id] += 1


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
