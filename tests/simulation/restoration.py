"""What operators do about a journal that went back, and when they restore a backup."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

from core.errors import Conflict
from core.journal.journal import Journal
from tests.simulation.plan import Fault
from tests.simulation.worker import SimulatedWorker, SimulationContext
from tests.support.ids import SeededIds
from tests.support.journal import JOURNAL_TIMEOUT
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_writer import JobWriter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.reconciliation import Reconciler
from worker.jobs.store_commands import StoreCommands

SECOND: Final = timedelta(seconds=1)
CHECK_INTERVAL: Final = 20 * SECOND
IDLE_INTERVAL: Final = timedelta(hours=3)
NEED_A_STOP: Final = (Fault.DEATHS, Fault.CANCELS, Fault.DEADLINES)
"""With these, running workers cannot keep every promise when a backup is restored."""


@dataclass(slots=True)
class Restorer:
    """Operators with the commands of `gateway store`, which reach the stores without faults."""

    context: SimulationContext
    workers: Sequence[SimulatedWorker]
    start_worker: Callable[[], None]
    is_idle: bool = True
    _rng: Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = self.context.randomness.stream("restorer")

    async def keep_journal(self) -> None:
        """When workers report a lost entry, put the newer copy back, or go on with the older."""
        chance = self.context.randomness
        while chance.may_occur(Fault.JOURNAL_REWINDS):
            position = self.context.stores.memory.position
            if position is not None and position.lost_entry:
                await self._mend_journal()
            is_over = chance.faults_ended and self._are_calm()
            await self.context.clock.sleep(IDLE_INTERVAL if is_over else CHECK_INTERVAL)

    async def _mend_journal(self) -> None:
        await self.context.clock.sleep(60 * self._rng.random() * SECOND)
        if self._rng.random() < 1 / 2:
            self.context.objects.put_newest_back()
            self.context.log.note("operator", "puts the newer journal back")
            return
        with suppress(Conflict):  # it is back
            await self._commands().replace_journal(dry_run=False)
            self.context.log.note("operator", "goes on with the older journal")

    def stop_workers(self, rng: Random) -> int:
        """Stop all workers, or none: those that run must notice. Returns how many were stopped.

        With deaths the last one that could have noticed may be dead. A queued job that is cancelled
        or expires before the operator acts ends as free: so the page has all processes stopped.
        """
        if not any(map(self.context.randomness.may_occur, NEED_A_STOP)) and rng.random() < 1 / 2:
            return 0
        running = [worker for worker in self.workers if worker.lifetime.alive]
        for worker in running:
            worker.lifetime.alive = False
            worker.stop()
        return len(running)

    async def finish_restore(self, at: datetime, stopped: int) -> None:
        """Follow the page: what may have been paid since the copy was made is in doubt."""
        await self.context.clock.sleep(self._rng.choice((1, 20, 90)) * self._rng.random() * SECOND)
        found = await self._commands().restored(at, dry_run=False)
        self.context.log.note("operator", f"restored at {at}: {[job.id for job in found]}")
        for _ in range(stopped):
            self.start_worker()
        self.is_idle = True

    def _are_calm(self) -> bool:
        return all(worker.is_calm for worker in self.workers if worker.lifetime.alive)

    def _commands(self) -> StoreCommands:
        around, policy = self.context, LifecyclePolicy()
        emit = around.log.emit_for("operator")
        rules = DecisionContext("operator", policy, self._rng)
        writer = JobWriter(around.stores, around.clock, emit)
        answers = AnswerWriter(around.stores, writer, around.clock, rules)
        journal = Journal(around.objects, around.clock, emit, JOURNAL_TIMEOUT)
        return StoreCommands(
            around.stores.identity,
            around.clock,
            SeededIds(self._rng),
            around.stores.jobs,
            answers,
            journal,
            Reconciler(around.stores, journal, answers, around.clock, policy.doubt_hold),
        )
