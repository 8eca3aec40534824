"""A simulated worker process: the real lifecycle, gate, courier and loops, over lines that fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Final

from core.circuit_breaker import BreakerPolicy
from core.errors import StoreUnavailable
from core.store.wake_queue import is_meant
from tests.fakes.ids import SeededIds
from tests.fakes.outbox import MemorySinks
from tests.simulation.process import (
    Line,
    ProcessBreakers,
    ProcessClock,
    ProcessJobs,
    ProcessOutbox,
    ProcessSender,
    ProcessTenants,
    ProcessUpstream,
    ProcessWebhooks,
)
from worker.jobs.decisions.transition import Rules
from worker.jobs.job_processor import Lifecycle
from worker.jobs.job_writer import Hands
from worker.jobs.submit_gate import BreakerGate
from worker.scheduling.lease_loop import LeasedLoop, LoopPolicy, Work
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.clock import Clock
    from core.jobs.job import Job
    from core.webhooks.delivery import Claimed
    from tests.fakes.memory import Memory
    from tests.fakes.stores import MemoryStores
    from tests.fakes.upstream import FakeRunComfy
    from tests.simulation.journal import Journal
    from tests.simulation.plan import Chance
    from tests.simulation.process import Life, Weather
    from tests.simulation.whims import Receivers
    from worker.jobs.policies import LifecyclePolicy

DELIVERY_LEASE: Final = timedelta(seconds=30)
TICK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes share."""

    clock: Clock
    chance: Chance
    weather: Weather
    stores: MemoryStores
    runcomfy: FakeRunComfy
    receivers: Receivers
    journal: Journal
    due: Due


@dataclass(frozen=True, slots=True)
class _Sleeper:
    index: Mapping[str, int]
    until: float
    woken: asyncio.Future[None]


class Due:
    """Sleeps until something is due in an index, so that idle loops cost a run nothing."""

    def __init__(self, memory: Memory) -> None:
        """Told of each write to an index."""
        self._memory = memory
        self._sleepers: list[_Sleeper] = []
        memory.changed = self._look

    async def wait(self, index: Mapping[str, int]) -> None:
        """Return when something in `index` is due."""
        while (first := _first(index)) > self._memory.now:
            woken = asyncio.get_running_loop().create_future()
            sleeper = _Sleeper(index, first, woken)
            self._sleepers.append(sleeper)
            left = None if first == inf else (first - self._memory.now) / 1000
            await asyncio.wait((woken,), timeout=left)
            if not woken.done():
                self._sleepers.remove(sleeper)

    def _look(self) -> None:
        """Wake those for whom something is due earlier than they thought."""
        early = [each for each in self._sleepers if _first(each.index) < each.until]
        for sleeper in early:
            self._sleepers.remove(sleeper)
            if not sleeper.woken.done():
                sleeper.woken.set_result(None)


def _first(index: Mapping[str, int]) -> float:
    return min(index.values(), default=inf)


class SimulatedWorker:
    """Runs until it dies. A later one with another name takes its place."""

    def __init__(self, life: Life, around: Surroundings, policy: LifecyclePolicy) -> None:
        """Composed as `worker.composition` composes the real one."""
        self.life = life
        self._around = around
        self._policy = policy
        self._clock = ProcessClock(around.clock, life)
        line = Line(life, around.chance, around.weather)
        self._jobs = ProcessJobs(line, around.stores)
        self._tenants = ProcessTenants(line, around.stores)
        self._webhooks = ProcessWebhooks(line, around.stores)
        self._outbox = ProcessOutbox(line, around.stores)
        self._emit = around.journal.emit_for(life.name)
        self._watcher = self._loop_of_steps(line)
        self._courier = self._loop_of_deliveries()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Watch and deliver in the background."""
        self._tasks = [
            asyncio.create_task(self._watcher.run()),
            asyncio.create_task(self._courier.run()),
        ]

    async def ring(self, job_id: str, version: int) -> None:
        """As `worker.main` answers the doorbell."""
        try:
            record = await self._jobs.load(job_id)
        except StoreUnavailable:
            return
        if record is not None and is_meant(version, record.job):
            self._watcher.take(record.job)

    @property
    def busy(self) -> int:
        """How much is under way."""
        return self._watcher.busy + self._courier.busy

    def bury(self) -> None:
        """Stop the loops of a dead worker that wait for nothing of ours."""
        for task in self._tasks:
            task.cancel()

    async def _claim_jobs(self, room: int) -> Sequence[Job]:
        await self._around.due.wait(self._around.stores.memory.due)
        return await self._jobs.claim_due(self._policy.lease, room)

    async def _claim_deliveries(self, room: int) -> Sequence[Claimed]:
        await self._around.due.wait(self._around.stores.memory.outbox)
        return await self._outbox.claim_due(DELIVERY_LEASE, room)

    def _loop_of_steps(self, line: Line) -> LeasedLoop[Job]:
        around, name = self._around, self.life.name
        breakers = ProcessBreakers(line, around.stores)
        lifecycle = Lifecycle(
            Hands(
                name=name,
                jobs=self._jobs,
                tenants=self._tenants,
                webhooks=self._webhooks,
                upstream=ProcessUpstream(self.life, around.runcomfy),
                gate=BreakerGate(breakers, self._clock, BreakerPolicy(), self._emit),
                clock=self._clock,
                ids=SeededIds(around.chance.stream(f"ids:{name}")),
                emit=self._emit,
                rules=Rules(self._policy, around.chance.stream(f"rules:{name}")),
            )
        )
        work = Work("job_step", self._claim_jobs, lifecycle.advance, lambda job: job.id)
        return LeasedLoop(work, LoopPolicy(8, TICK), self._clock, self._emit)

    def _loop_of_deliveries(self) -> LeasedLoop[Claimed]:
        around = self._around
        courier = Courier(
            CourierHands(
                outbox=self._outbox,
                jobs=self._jobs,
                setups=self._webhooks,
                sender=ProcessSender(self.life, around.receivers.send),
                sinks=MemorySinks(),
                clock=self._clock,
                rng=around.chance.stream(f"courier:{self.life.name}"),
                ids=SeededIds(around.chance.stream(f"events:{self.life.name}")),
                emit=self._emit,
            ),
            CourierPolicy(),
        )
        work = Work(
            "delivery_step",
            self._claim_deliveries,
            courier.deliver,
            lambda claimed: claimed.delivery.id,
        )
        return LeasedLoop(work, LoopPolicy(8, TICK), self._clock, self._emit)
