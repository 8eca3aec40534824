"""What happened in a run, and a job store that writes it down and judges each change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from core.jobs.job import TRANSITIONS, JobState
from core.store.codecs import JOB_CODEC
from core.transactions.job_update import WriteResult
from tests.support.memory_store.jobs import MemoryJobStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from core.clock import Clock
    from core.jobs.job import CancelOutcome, Job
    from core.observability.events import Event
    from core.transactions.admission import Admission, AdmissionResult
    from core.transactions.job_update import Change
    from tests.support.memory_store.state import MemoryState

SERVES: Final = frozenset(JobState) - {JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
STEPS: Final = frozenset((before, after) for (before, _), after in TRANSITIONS.items())


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that happened: when, where, what, to which job."""

    at: timedelta
    where: str
    text: object
    job_id: str | None = None

    def __str__(self) -> str:
        """For people."""
        return f"{self.at.total_seconds():12.3f} {self.where:10} {self.text} {self.job_id or ''}"


@dataclass(slots=True)
class SimulationLog:
    """The run's story, what broke on the way, and every event of every process."""

    clock: Clock
    entries: list[LogEntry] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    events: list[tuple[str, Event]] = field(default_factory=list)
    cancels: dict[str, list[CancelOutcome]] = field(default_factory=dict)
    """What callers were told of their cancels, by job."""

    def note(self, where: str, what: object, job_id: str | None = None) -> None:
        """Write a line."""
        self.entries.append(LogEntry(self.clock.monotonic(), where, what, job_id))

    def emit_for(self, process: str) -> Callable[[Event], None]:
        """A process' `Emit`."""

        def emit(event: Event) -> None:
            self.events.append((process, event))
            self.note(process, event, getattr(event, "job_id", None))

        return emit

    def story(self) -> str:
        """All lines."""
        return "\n".join(map(str, self.entries))


class CheckedJobStore(MemoryJobStore):
    """The twin, with a witness: each stored change must be a legal step from what was there."""

    def __init__(self, memory: MemoryState, journal: SimulationLog) -> None:
        """Breaches go to `journal`."""
        super().__init__(memory)
        self._log = journal
        self._given_up: set[str] = set()

    async def admit(self, admission: Admission) -> AdmissionResult:
        """See `JobStore.admit`."""
        admitted = await super().admit(admission)
        self._log.note("store", f"admitted {admitted.cache_status}", admission.job.id)
        self._check_coalescing()
        return admitted

    async def store(self, change: Change) -> WriteResult:
        """See `JobStore.store`."""
        before, after = change.before, change.after
        held, leader = self._current(after.id), self._leader_of(after.id)
        heir = None if change.successor is None else self._current(change.successor.after.id)
        outcome = await super().store(change)
        what = f"{before.state} v{before.version} -> {after.state} v{after.version}: {outcome} "
        if (entry := change.entry) is not None:
            what += f"[{entry.code} {entry.detail or ''}]"
        self._log.note("store", what, after.id)
        if outcome is WriteResult.STORED and held is not None:
            self._check_transition(held, before, after)
        if outcome is WriteResult.STORED and heir is not None and change.successor is not None:
            self._check_transition(heir, change.successor.before, change.successor.after)
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
        """Of identical requests under way one is paid for, but for what is being cancelled."""
        flights = self._memory.coalescing
        leading: Counter[object] = Counter()
        for name, part in flights.dedup_keys.items():
            job = self._current(name)
            if name in flights.leaders or name in self._given_up or job is None or job.is_final:
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
