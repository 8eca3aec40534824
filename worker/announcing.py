"""Stores a job's changes with the callbacks that each calls for. Decides none of them.

A tenant's endpoints are read once and kept: the store refuses what was made for others.
"""

from typing import Final

from core.changes import Change, Outcome
from core.clock import Clock
from core.endpoints import MarkedSetup
from core.ids import IdSource
from core.notices import announced, may_notify
from worker.ports import Jobs, Setups

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
