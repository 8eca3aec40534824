"""Writes job updates together with the webhook deliveries that they cause."""

from dataclasses import dataclass
from typing import Final

from core.clock import Clock
from core.ids import IdSource
from core.jobs.job import Job
from core.observability.events import Emit
from core.observability.job_events import told_of_handover
from core.transactions.job_update import Change, Outcome
from core.transactions.notifications import announced, may_notify
from core.webhooks.config import MarkedSetup
from worker.jobs import job_events as telling
from worker.jobs.decisions.transition import Move, Rules, Wait
from worker.ports import Gate, Jobs, Setups, Tenants, Upstream


@dataclass(frozen=True, slots=True)
class Hands:
    """What the lifecycle works with. `name` is this worker's own, unlike any other's."""

    name: str
    jobs: Jobs
    tenants: Tenants
    webhooks: Setups
    upstream: Upstream
    gate: Gate
    clock: Clock
    ids: IdSource
    emit: Emit
    rules: Rules


class Recorder:
    """Writes what was decided."""

    def __init__(self, hands: Hands) -> None:
        """Write by `hands`."""
        self._hands = hands
        self._announcer = Announcer(hands.jobs, hands.webhooks, hands.ids, hands.clock)

    async def take(self, job: Job, decided: Move | Wait) -> Job | None:
        """Make a decision true. None: there is nothing more to do here, or somebody was first."""
        if isinstance(decided, Wait):
            await self._hands.jobs.put_off(job, decided.due_at, polled=True)
            return None
        stored = await self.move(job, decided) is Outcome.STORED
        return decided.after if stored else None

    async def move(self, job: Job, decided: Move) -> Outcome:
        """Make a move true, or say what stood in its way."""
        change = Change(
            before=job,
            after=decided.after,
            entries=() if decided.entry is None else (decided.entry,),
            output=decided.output,
            instead_of=decided.instead_of,
        )
        outcome = await self._announcer.store(change)
        if outcome is Outcome.STORED:
            for event in telling.stored(change, decided):
                self._hands.emit(event)
        return outcome

    async def hand_over(self, change: Change) -> None:
        """Write a handover (see `core.deduplication.coalescing`), unless the record has changed."""
        if await self._announcer.store(change) is Outcome.STORED:
            for event in told_of_handover(change):
                self._hands.emit(event)


MOST_SETUPS: Final = 1000


_TRIES: Final = 5
"""Endpoints change by hand; a change that is refused more often waits for the job's next look."""


class Announcer:
    """What stands before the job store, and knows whom a change is to be told to."""

    def __init__(self, jobs: Jobs, setups: Setups, ids: IdSource, clock: Clock) -> None:
        """Read no endpoints yet."""
        self._jobs = jobs
        self._setups = SetupShelf(setups)
        self._ids = ids
        self._clock = clock

    async def store(self, change: Change) -> Outcome:
        """Make a change true, or say why not. Its callbacks are made here."""
        if not may_notify(change.before, change.after):
            return await self._jobs.store(change)
        outcome = Outcome.SETUP_CHANGED
        for _ in range(_TRIES):
            known = await self._setups.of(change.after.tenant)
            announcing = announced(change, known, self._ids, self._clock.now())
            outcome = await self._jobs.store(announcing)
            if outcome is not Outcome.SETUP_CHANGED:
                break
            self._setups.forget(known)
        return outcome


class SetupShelf:
    """Tenants' endpoints as they were read last. Whether they still are, only the store knows."""

    def __init__(self, setups: Setups, most: int = MOST_SETUPS) -> None:
        """Keep at most so many."""
        self._setups = setups
        self._most = most
        self._kept: dict[str, MarkedSetup] = {}

    async def of(self, tenant: str) -> MarkedSetup:
        """A tenant's endpoints, from the store only where they are not kept."""
        kept = self._kept.get(tenant)
        if kept is not None:
            return kept
        found = await self._setups.marked(tenant)
        if len(self._kept) >= self._most:
            self._kept.pop(next(iter(self._kept)))
        self._kept[tenant] = found
        return found

    def forget(self, known: MarkedSetup) -> None:
        """These are in force no more. What was read since stays."""
        if self._kept.get(known.setup.tenant) is known:
            del self._kept[known.setup.tenant]
