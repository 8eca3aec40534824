"""What happened in a run, and a job store that writes it down and judges each change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from core.jobs.job import TRANSITIONS, JobState
from core.store.codecs import JOBS
from core.transactions.job_update import Outcome
from tests.fakes.jobs import MemoryJobStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from core.clock import Clock
    from core.jobs.job import CancelOutcome, Job
    from core.observability.events import Event
    from core.transactions.admission import Admission, Admitted
    from core.transactions.job_update import Change
    from tests.fakes.memory import Memory

SERVES: Final = frozenset(JobState) - {JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
STEPS: Final = frozenset((before, after) for (before, _), after in TRANSITIONS.items())


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened: when, where, what, to which job."""

    at: timedelta
    where: str
    what: object
    job_id: str | None = None

    def __str__(self) -> str:
        """For people."""
        return f"{self.at.total_seconds():12.3f} {self.where:10} {self.what} {self.job_id or ''}"


@dataclass(slots=True)
class Journal:
    """The run's story, what broke on the way, and every event of every process."""

    clock: Clock
    lines: list[Line] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    events: list[tuple[str, Event]] = field(default_factory=list)
    cancels: dict[str, list[CancelOutcome]] = field(default_factory=dict)
    """What callers were told of their cancels, by job."""

    def note(self, where: str, what: object, job_id: str | None = None) -> None:
        """Write a line."""
        self.lines.append(Line(self.clock.monotonic(), where, what, job_id))

    def emit_for(self, process: str) -> Callable[[Event], None]:
        """A process' `Emit`."""

        def emit(event: Event) -> None:
            self.events.append((process, event))
            self.note(process, event, getattr(event, "job_id", None))

        return emit

    def story(self) -> str:
        """All lines."""
        return "\n".join(map(str, self.lines))


class WatchedJobStore(MemoryJobStore):
    """The twin, with a witness: each stored change must be a legal step from what was there."""

    def __init__(self, memory: Memory, journal: Journal) -> None:
        """Breaches go to `journal`."""
        super().__init__(memory)
        self._journal = journal
        self._given_up: set[str] = set()

    async def admit(self, admission: Admission) -> Admitted:
        """See `JobStore.admit`."""
        admitted = await super().admit(admission)
        self._journal.note("store", f"admitted {admitted.reuse}", admission.job.id)
        self._judge_flights()
        return admitted

    async def store(self, change: Change) -> Outcome:
        """See `JobStore.store`."""
        before, after = change.before, change.after
        held, leader = self._held(after.id), self._leader_of(after.id)
        heir = None if change.heir is None else self._held(change.heir.after.id)
        outcome = await super().store(change)
        what = f"{before.state} v{before.version} -> {after.state} v{after.version}: {outcome} "
        what += " ".join(f"[{entry.what} {entry.detail or ''}]" for entry in change.entries)
        self._journal.note("store", what, after.id)
        if outcome is Outcome.STORED and held is not None:
            self._judge(held, before, after)
        if outcome is Outcome.STORED and heir is not None and change.heir is not None:
            self._judge(heir, change.heir.before, change.heir.after)
        promoted = before.state is JobState.FOLLOWING and after.state is JobState.QUEUED
        if promoted and outcome is Outcome.STORED and (leader is None or leader.state in SERVES):
            self._breach(f"{after.id}: is paid for while its leader serves it: {leader}")
        if after.state is JobState.CANCELLING:
            self._given_up.add(after.id)
        self._judge_flights()
        return outcome

    def _held(self, job_id: str) -> Job | None:
        row = self._memory.job(job_id)
        return None if row is None else JOBS.read(row.doc)

    def _leader_of(self, job_id: str) -> Job | None:
        leader = self._memory.flights.leaders.get(job_id)
        return None if leader is None else self._held(leader)

    def _judge_flights(self) -> None:
        """Of identical requests under way one is paid for, but for what is being cancelled."""
        flights = self._memory.flights
        leading: Counter[object] = Counter()
        for name, part in flights.parts.items():
            job = self._held(name)
            if name in flights.leaders or name in self._given_up or job is None or job.final:
                continue
            leading[part.once] += 1
        if any(number > 1 for number in leading.values()):
            self._breach(f"more than one is paid for at a time: {leading}")

    def _judge(self, held: Job, before: Job, after: Job) -> None:
        job = f"{after.id} {before.state}->{after.state}"
        if held != before:
            self._breach(f"{job}: another record than the one that was read was overwritten")
        if after.version != before.version + 1:
            self._breach(f"{job}: version {before.version} was followed by {after.version}")
        if before.state is not after.state and not _legal(before.state, after.state):
            self._breach(f"{job}: the table has no such step")

    def _breach(self, what: str) -> None:
        self._journal.breaches.append(what)


def _legal(before: JobState, after: JobState) -> bool:
    return (before, after) in STEPS
