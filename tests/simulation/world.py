"""Everything together, from a plan to its report. Nothing here waits; all chance is the plan's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.ids import SeededIds
from tests.fakes.stores import memory_stores
from tests.fakes.upstream import FakeRunComfy
from tests.simulation.invariants import all_ended, breaches_of
from tests.simulation.journal import Journal, WatchedJobStore
from tests.simulation.loop import LoopClock, run_virtually
from tests.simulation.people import Face, call, operate, settle_in
from tests.simulation.plan import Chance, Fault, Plan
from tests.simulation.process import Died, Life, Line, Weather
from tests.simulation.whims import DrawnWhim, Receivers
from tests.simulation.worker import Due, SimulatedWorker, Surroundings
from worker.jobs.policies import LifecyclePolicy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from core.jobs.job import Job

SECOND: Final = timedelta(seconds=1)
ACTIVE: Final = (40, 120, 300)
PATIENCE: Final = timedelta(days=8)
"""After everything healed: above the six days for which a late result is waited for."""
LONGEST_STEP: Final = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    plan: Plan
    breaches: tuple[str, ...]
    story: str
    awaits: int
    """Of the first worker: the places where it could have died."""
    jobs: tuple[Job, ...]
    """As they ended."""

    def __str__(self) -> str:
        """What to read when it went wrong."""
        return "\n".join(("", str(self.plan), *self.breaches, self.story))


def run(plan: Plan) -> Report:
    """Live through a plan."""
    errors: list[str] = []

    def on_error(context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Died):
            errors.append(f"{context['message']}: {error!r}")

    async def main(clock: LoopClock) -> Report:
        return await World(plan, clock).live()

    report = run_virtually(main, on_error)
    return replace(report, breaches=report.breaches + tuple(errors))


class World:
    """One run's world."""

    def __init__(self, plan: Plan, clock: LoopClock) -> None:
        """Nothing has happened yet."""
        self._plan = plan
        self._clock = clock
        self.chance = Chance(plan)
        self._rng = self.chance.stream("world")
        self._bell = self.chance.stream("bell")
        self._active = self._rng.choice(ACTIVE) * SECOND
        self.journal = Journal(clock)
        self._around = self._surroundings()
        self.workers: list[SimulatedWorker] = []
        self._numbers = count(1)
        self._background: set[asyncio.Task[None]] = set()

    async def live(self) -> Report:
        """Trouble, then healing, then time, then judgement."""
        await settle_in(self._around.stores, self.chance, self._clock)
        for _ in range(self._plan.workers):
            self._start_worker()
        face = self._face()
        for number in range(self._plan.jobs):
            self._spawn(call(face, number, self._active))
        self._spawn(operate(face, self._around.runcomfy))
        await self._clock.sleep(self._active)
        self.chance.healed = True
        await self._until_ended()
        found = breaches_of(self._plan, self._around, self.workers)
        return Report(
            plan=self._plan,
            breaches=tuple(self.journal.breaches) + found,
            story=self.journal.story(),
            awaits=self.workers[0].life.awaits,
            jobs=tuple(self._around.stores.memory.every_job()),
        )

    def _surroundings(self) -> Surroundings:
        clock, chance = self._clock, self.chance
        stores = memory_stores(clock)
        stores.memory.rung = self._rung
        return Surroundings(
            clock=clock,
            chance=chance,
            weather=Weather(clock, chance, self._active),
            stores=replace(stores, jobs=WatchedJobStore(stores.memory, self.journal)),
            runcomfy=FakeRunComfy(clock, DrawnWhim(chance, clock, self._active)),
            receivers=Receivers(chance, clock, chance.stream("receivers")),
            journal=self.journal,
            due=Due(stores.memory),
        )

    def _face(self) -> Face:
        life = Life("service", self.chance)
        return Face(
            line=Line(life, self.chance, self._around.weather),
            stores=self._around.stores,
            clock=self._clock,
            ids=SeededIds(self.chance.stream("ids")),
            journal=self.journal,
            chance=self.chance,
        )

    def _start_worker(self) -> None:
        number = next(self._numbers)
        die_at = self._plan.die_at if number == 1 else None
        life = Life(f"worker-{number}", self.chance, mortal=True, die_at=die_at)
        worker = SimulatedWorker(life, self._around, LifecyclePolicy())
        life.on_death = lambda: self._replace(worker)
        self.journal.note(life.name, "starts")
        self.workers.append(worker)
        worker.start()

    def _replace(self, dead: SimulatedWorker) -> None:
        self.journal.note(dead.life.name, "dies")
        pause = self._rng.choice((0.1, 5, 40)) * self._rng.random()
        loop = asyncio.get_running_loop()
        loop.call_soon(dead.bury)
        loop.call_later(pause, self._start_worker)

    def _rung(self, name: str) -> None:
        """Hand a message to one of the workers, as arq does, or as the plan has it."""
        job_id, _, version = name.rpartition(":")
        times, delay = 1, 0.05
        if self.chance.strikes(Fault.RINGS, self._bell, factor=3):
            times, delay = self._bell.choice((0, 1, 2, 3)), self._bell.choice((0.01, 8))
        for _ in range(times):
            asyncio.get_running_loop().call_later(
                delay * self._bell.random(), self._answer_bell, job_id, int(version)
            )

    def _answer_bell(self, job_id: str, version: int) -> None:
        alive = [worker for worker in self.workers if worker.life.alive]
        if alive:
            self._spawn(self._bell.choice(alive).ring(job_id, version))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _until_ended(self) -> None:
        step, limit = 10 * SECOND, self._clock.monotonic() + PATIENCE
        while self._clock.monotonic() < limit and not all_ended(self._around, self.workers):
            await self._clock.sleep(step)
            step = min(step * 1.3, LONGEST_STEP)
