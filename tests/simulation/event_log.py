"""The log of a run, and a job store that logs and checks every change."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from core.clock import Clock
from core.jobs.job import TRANSITIONS, CancelOutcome, Job, JobState, Trigger
from core.observability.events import Event
from core.store.codecs import JOB_CODEC
from core.transactions.admission import Admission, AdmissionResult
from core.transactions.job_update import Change, WriteResult
from tests.support.memory_store.jobs import MemoryJobStore
from tests.support.memory_store.snapshots import Snapshot, restore_snapshot, take_snapshot
from tests.support.memory_store.state import MemoryState

SERVES: Final = frozenset(JobState) - {JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
HISTORY: Final = 40
"""How many changes a store may forget that goes back."""
END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
STEPS: Final = frozenset((before, after) for (before, _), after in TRANSITIONS.items())


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of the log: time, process, text, job."""

    at: timedelta
    where: str
    text: object
    job_id: str | None = None

    def __str__(self) -> str:
        """Return the line as a report prints it."""
        return f"{self.at.total_seconds():12.3f} {self.where:10} {self.text} {self.job_id or ''}"


@dataclass(slots=True)
class SimulationLog:
    """Lines in order, violations found on the way, and every event of every process."""

    clock: Clock
    entries: list[LogEntry] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    events: list[tuple[str, Event]] = field(default_factory=list)
    cancels: dict[str, list[CancelOutcome]] = field(default_factory=dict)
    """Outcomes that callers' cancels returned, by job."""

    approvals: Counter[str] = field(default_factory=Counter)
    """How many resends were approved, by job, whatever the store forgot of them."""
    repeated: dict[str, list[str]] = field(default_factory=dict)
    """The jobs of all submits with one idempotency key, of which one is to be paid for."""
    rewinds: int = 0
    """How often store or journal went back."""
    admitted_at: dict[str, datetime] = field(default_factory=dict)
    """When each job was admitted, whatever the store forgot of it."""
    copied_at: datetime = END_OF_TIME
    """When the oldest backup was made that was restored."""

    def note(self, where: str, what: object, job_id: str | None = None) -> None:
        """Add a line."""
        self.entries.append(LogEntry(self.clock.monotonic(), where, what, job_id))

    def emit_for(self, process: str) -> Callable[[Event], None]:
        """The `Emit` of a process."""

        def emit(event: Event) -> None:
            self.events.append((process, event))
            self.note(process, event, getattr(event, "job_id", None))

        return emit

    def text(self) -> str:
        """All lines as text."""
        return "\n".join(map(str, self.entries))


class CheckedJobStore(MemoryJobStore):
    """Checks that each stored change is a legal transition from the record it replaces."""

    def __init__(
        self, memory: MemoryState, log: SimulationLog, can_go_back: Callable[[], bool]
    ) -> None:
        """Violations are added to `log`. `can_go_back`: whether the store can do so from now on."""
        super().__init__(memory)
        self._log = log
        self._can_go_back = can_go_back
        self._history: list[tuple[datetime, Snapshot]] = []
        self._given_up: set[str] = set()

    def go_back(self, rng: Random) -> datetime | None:
        """Forget any number of the last changes; return since when. None: there are none."""
        if not self._history:
            return None
        steps = min(len(self._history), rng.choice((1, 2, 3, 5, 10, HISTORY)))
        at, snapshot = self._history[-steps]
        restore_snapshot(self._memory, snapshot)
        del self._history[-steps + 1 :]
        self._log.rewinds += 1
        self._log.note("store", f"goes back by {steps} changes")
        return at

    def _remember_state(self) -> None:
        if self._can_go_back():
            self._history.append((self._memory.clock.now(), take_snapshot(self._memory)))
            del self._history[:-HISTORY]

    async def admit(self, admission: Admission) -> AdmissionResult:
        """See `JobStore.admit`."""
        self._remember_state()
        admitted = await super().admit(admission)
        self._log.note("store", f"admitted {admitted.cache_status}", admission.job.id)
        self._log.admitted_at.setdefault(admission.job.id, self._memory.clock.now())
        self._check_coalescing()
        return admitted

    async def store(self, change: Change) -> WriteResult:
        """See `JobStore.store`."""
        before, after = change.before, change.after
        held, leader = self._current(after.id), self._leader_of(after.id)
        successor = None if change.successor is None else self._current(change.successor.after.id)
        self._remember_state()
        outcome = await super().store(change)
        what = f"{before.state} v{before.version} -> {after.state} v{after.version}: {outcome} "
        if (entry := change.entry) is not None:
            what += f"[{entry.code} {entry.detail or ''}]"
        self._log.note("store", what, after.id)
        if outcome is WriteResult.STORED and change.trigger is Trigger.RESEND_APPROVED:
            self._log.approvals[after.id] += 1
        if outcome is WriteResult.STORED and held is not None:
            self._check_transition(held, before, after)
        if outcome is WriteResult.STORED and successor is not None and change.successor is not None:
            self._check_transition(successor, change.successor.before, change.successor.after)
        promoted = before.state is JobState.FOLLOWING and after.state is JobState.QUEUED
        if (
            promoted
            and outcome is WriteResult.STORED
            and (leader is None or leader.state in SERVES)
        ):
            self._report(f"{after.id}: is paid for while its leader serves it: {leader}")
        if after.state is JobState.CANCELLING:
            self._given_up.add(after.id)
        self._check_coalescing()
        return outcome

    def _current(self, job_id: str) -> Job | None:
        row = self._memory.job(job_id)
        return None if row is None else JOB_CODEC.decode(row.doc)

    def _leader_of(self, job_id: str) -> Job | None:
        leader = self._memory.coalescing.leaders.get(job_id)
        return None if leader is None else self._current(leader)

    def _check_coalescing(self) -> None:
        """Of identical requests in flight one is paid for; those being cancelled do not count."""
        coalescing = self._memory.coalescing
        leading: Counter[object] = Counter()
        for name, part in coalescing.dedup_keys.items():
            job = self._current(name)
            if name in coalescing.leaders or name in self._given_up or job is None or job.is_final:
                continue
            leading[part.scope_and_fingerprint] += 1
        if any(number > 1 for number in leading.values()):
            self._report(f"more than one is paid for at a time: {leading}")

    def _check_transition(self, held: Job, before: Job, after: Job) -> None:
        job = f"{after.id} {before.state}->{after.state}"
        if held != before:
            self._report(f"{job}: another record than the one that was read was overwritten")
        if after.version != before.version + 1:
            self._report(f"{job}: version {before.version} was followed by {after.version}")
        if before.state is not after.state and not _legal(before.state, after.state):
            self._report(f"{job}: the table has no such step")

    def _report(self, what: str) -> None:
        self._log.violations.append(what)


def _legal(before: JobState, after: JobState) -> bool:
    return (before, after) in STEPS
