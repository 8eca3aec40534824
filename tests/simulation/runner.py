"""Runs a plan and returns its report. Nothing waits; all randomness comes from the plan."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any, Final

from core.jobs.job import Job
from core.journal.records import POSITION, encode_position
from core.store.identity import StorePosition
from tests.simulation.clients import SimulatedService, create_tenants, run_caller, run_operator
from tests.simulation.event_log import CheckedJobStore, SimulationLog
from tests.simulation.faults import RandomUpstreamBehavior, SimulatedReceivers
from tests.simulation.invariants import all_ended, violations_of
from tests.simulation.journal import SimulatedObjects
from tests.simulation.plan import Fault, Plan, SeededRandomness
from tests.simulation.process import (
    SERVICE,
    ProcessDied,
    ProcessLifetime,
    StoreAvailability,
    StoreConnection,
)
from tests.simulation.restoration import Restorer
from tests.simulation.virtual_loop import LoopClock, run_virtually
from tests.simulation.worker import DueWaiter, SimulatedWorker, SimulationContext
from tests.support.clock import START
from tests.support.ids import SeededIds
from tests.support.memory_store.stores import memory_stores
from tests.support.upstream import FakeRunComfy
from worker.jobs.policies import LifecyclePolicy

SECOND: Final = timedelta(seconds=1)
ACTIVE_PERIOD: Final = (40, 120, 300)
END_TIMEOUT: Final = timedelta(days=8)
"""Time after the faults have ended: above the six days for which a late result is awaited."""
MAX_STEP: Final = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """The result of a run."""

    plan: Plan
    violations: tuple[str, ...]
    log: SimulationLog
    awaits: int
    """The number of awaits of the first worker, at each of which it could have died."""
    jobs: tuple[Job, ...]
    """The jobs at the end."""

    @property
    def log_text(self) -> str:
        """All lines of the log."""
        return self.log.text()

    def __str__(self) -> str:
        """Return plan, violations and log."""
        return "\n".join(("", str(self.plan), *self.violations, self.log_text))


def run(plan: Plan) -> SimulationReport:
    """Run a plan in virtual time."""
    errors: list[str] = []

    def on_error(context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessDied):
            errors.append(f"{context['message']}: {error!r}")

    async def main(clock: LoopClock) -> SimulationReport:
        return await SimulationRun(plan, clock).execute()

    report = run_virtually(main, on_error)
    return replace(report, violations=report.violations + tuple(errors))


class SimulationRun:
    """The state of one run."""

    def __init__(self, plan: Plan, clock: LoopClock) -> None:
        """Open stores and upstream; no process runs yet."""
        self._plan = plan
        self._clock = clock
        self.randomness = SeededRandomness(plan)
        self._rng = self.randomness.stream("world")
        self._wakes = self.randomness.stream("bell")
        self._active = self._rng.choice(ACTIVE_PERIOD) * SECOND
        self.log = SimulationLog(clock)
        self._objects = SimulatedObjects(
            clock, can_go_back=lambda: self._may_go_back(Fault.JOURNAL_REWINDS)
        )
        self._context = self._open_context()
        self.workers: list[SimulatedWorker] = []
        self._restorer = Restorer(self._context, self.workers, self._start_worker)
        self._numbers = count(1)
        self._background: set[asyncio.Task[None]] = set()

    async def execute(self) -> SimulationReport:
        """Run with faults, then without them until all has ended, then check the invariants."""
        await self._create_identity()
        await create_tenants(self._context.stores, self.randomness, self._clock)
        for _ in range(self._plan.workers):
            self._start_worker()
        service = self._open_service()
        for number in range(self._plan.jobs):
            self._spawn(run_caller(service, number, self._active))
        self._spawn(run_operator(service, self._context.runcomfy))
        self._spawn(self._restorer.keep_journal())
        await self._clock.sleep(self._active)
        self.randomness.faults_ended = True
        await self._until_ended()
        found = violations_of(self._plan, self._context, self.workers)
        return SimulationReport(
            plan=self._plan,
            violations=tuple(self.log.violations) + found,
            log=self.log,
            awaits=self.workers[0].lifetime.awaits,
            jobs=tuple(self._context.stores.memory.all_jobs()),
        )

    async def _create_identity(self) -> None:
        """As a store that has been in use: no plan forgets its identity, nor its first claim."""
        position = StorePosition("0" * 32, claims=1)
        await self._context.stores.identity.create(position)
        first = f"before {START.timestamp() * 1_000_000:.0f}"
        self._context.stores.memory.claim_log.append(first)
        await self._context.objects.replace(POSITION, encode_position(position))

    def _open_context(self) -> SimulationContext:
        clock, chance = self._clock, self.randomness
        stores = memory_stores(clock)
        stores.memory.on_wake = self._on_wake
        jobs = CheckedJobStore(
            stores.memory, self.log, lambda: self._may_go_back(Fault.STORE_REWINDS)
        )
        availability = StoreAvailability(clock, chance, self._active)
        availability.go_back = jobs.go_back
        availability.is_service_stopped = lambda: not self._restorer.is_idle
        availability.restore_backup = lambda rng: self._restore_backup(jobs, rng)
        return SimulationContext(
            clock=clock,
            randomness=chance,
            store_availability=availability,
            stores=replace(stores, jobs=jobs),
            runcomfy=FakeRunComfy(clock, RandomUpstreamBehavior(chance, clock, self._active)),
            receivers=SimulatedReceivers(chance, clock, chance.stream("receivers")),
            log=self.log,
            due=DueWaiter(stores.memory),
            objects=self._objects,
        )

    def _may_go_back(self, fault: Fault) -> bool:
        return any(map(self.randomness.may_still_occur, (fault, Fault.BACKUP_RESTORED)))

    def _restore_backup(self, jobs: CheckedJobStore, rng: Random) -> None:
        """Restore store and journal from copies that were made within some seconds."""
        if not self._restorer.is_idle:
            return
        at = jobs.go_back(rng)
        if at is None:
            return
        self._objects.go_back_to(at + rng.choice((0, 0, -5, 5)) * SECOND)
        self.log.copied_at = min(self.log.copied_at, at)
        self._restorer.is_idle = False
        self._context.store_availability.restores += 1
        self._spawn(self._restorer.finish_restore(at, self._restorer.stop_workers(rng)))

    def _open_service(self) -> SimulatedService:
        life = ProcessLifetime(SERVICE, self.randomness)
        return SimulatedService(
            connection=StoreConnection(life, self.randomness, self._context.store_availability),
            stores=self._context.stores,
            clock=self._clock,
            ids=SeededIds(self.randomness.stream("ids")),
            log=self.log,
            randomness=self.randomness,
        )

    def _start_worker(self) -> None:
        number = next(self._numbers)
        die_at = self._plan.die_at if number == 1 else None
        life = ProcessLifetime(f"worker-{number}", self.randomness, mortal=True, die_at=die_at)
        worker = SimulatedWorker(life, self._context, LifecyclePolicy())
        life.on_death = lambda: self._replace(worker)
        self.log.note(life.name, "starts")
        self.workers.append(worker)
        worker.start()

    def _replace(self, dead: SimulatedWorker) -> None:
        self.log.note(dead.lifetime.name, "dies")
        pause = self._rng.choice((0.1, 5, 40)) * self._rng.random()
        loop = asyncio.get_running_loop()
        loop.call_soon(dead.stop)
        loop.call_later(pause, self._start_worker)

    def _on_wake(self, name: str) -> None:
        """Pass a message to one of the workers, as arq does, unless a fault occurs."""
        job_id, _, version = name.rpartition(":")
        times, delay = 1, 0.05
        if self.randomness.occurs(Fault.WAKE_MESSAGES, self._wakes, factor=3):
            times, delay = self._wakes.choice((0, 1, 2, 3)), self._wakes.choice((0.01, 8))
        for _ in range(times):
            asyncio.get_running_loop().call_later(
                delay * self._wakes.random(), self._deliver_wakes, job_id, int(version)
            )

    def _deliver_wakes(self, job_id: str, version: int) -> None:
        alive = [worker for worker in self.workers if worker.lifetime.alive]
        if alive:
            self._spawn(self._wakes.choice(alive).wake(job_id, version))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _until_ended(self) -> None:
        step, limit = 10 * SECOND, self._clock.monotonic() + END_TIMEOUT
        while self._clock.monotonic() < limit and not (
            all_ended(self._context, self.workers) and self._restorer.is_idle
        ):
            await self._clock.sleep(step)
            step = min(step * 1.3, MAX_STEP)
