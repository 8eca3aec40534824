"""Makes a decision about a job true, and tells observers of what was stored."""

from core.changes import Change, Outcome
from core.jobs import Job
from core.telling import told_of_handover
from worker import telling
from worker.announcing import Announcer
from worker.decisions.moves import Move, Wait
from worker.hands import Hands


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
        """Make a handover true (see `core.sharing.handover`), unless somebody was first."""
        if await self._announcer.store(change) is Outcome.STORED:
            for event in told_of_handover(change):
                self._hands.emit(event)
