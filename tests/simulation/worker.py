"""A simulated worker process: the real processor, delivery worker and loops over faults."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Final

from core.clock import Clock
from core.errors import StoreUnavailable
from core.jobs.job import Job
from core.journal.journal import Journal
from core.store.wake_queue import is_current
from core.upstream.circuit_breaker import BreakerPolicy
from core.webhooks.delivery import ClaimedDelivery
from tests.simulation.event_log import SimulationLog
from tests.simulation.faults import SimulatedReceivers
from tests.simulation.journal import SimulatedObjects
from tests.simulation.plan import GOING_BACK, SeededRandomness
from tests.simulation.process import (
    ProcessBreakers,
    ProcessClock,
    ProcessIdentity,
    ProcessJobs,
    ProcessLifetime,
    ProcessObjects,
    ProcessOutbox,
    ProcessSender,
    ProcessTenants,
    ProcessUpstream,
    ProcessWebhooks,
    StoreAvailability,
    StoreConnection,
)
from tests.support.ids import SeededIds
from tests.support.journal import JOURNAL_TIMEOUT
from tests.support.memory_store.state import MemoryState
from tests.support.memory_store.stores import MemoryStores
from tests.support.memory_store.webhooks import MemoryEventStreams
from tests.support.object_store import input_assembler
from tests.support.partial_stores import partial_stores
from tests.support.upstream import FakeRunComfy
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.reconciliation import Reconciler
from worker.jobs.store_guard import GuardPolicy, StoreGuard
from worker.jobs.submission import JobSubmitter
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker
from worker.scheduling.lease_loop import LeaseLoop, LoopPolicy, WorkSource
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.delivery_source import DeliverySource
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.transport import DeliveryTransport

DELIVERY_LEASE: Final = timedelta(seconds=30)
TICK: Final = timedelta(seconds=1)
CHECK_TICKS: Final = (TICK, 4 * TICK, 10 * TICK)
"""Of what may go back. Workers check each second; much may happen between two checks."""
MIN_CALM_CHECKS: Final = 3
SLOW_TICK: Final = timedelta(seconds=15)
"""Where nothing goes back: seldom enough that most awaits of a run are those of jobs."""
IDLE_TICK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _DueSleeper:
    index: Mapping[str, int]
    until: float
    woken: asyncio.Future[None]


class DueWaiter:
    """Sleeps until something is due in an index, so that idle loops cost a run nothing."""

    def __init__(self, memory: MemoryState) -> None:
        """Subscribes to the writes to both indexes."""
        self._memory = memory
        self._sleepers: list[_DueSleeper] = []
        memory.on_due_change = self._notify

    async def wait(self, index: Mapping[str, int]) -> None:
        """Return when something in `index` is due."""
        while (first := _first(index)) > self._memory.now:
            woken = asyncio.get_running_loop().create_future()
            sleeper = _DueSleeper(index, first, woken)
            self._sleepers.append(sleeper)
            left = None if first == inf else (first - self._memory.now) / 1000
            await asyncio.wait((woken,), timeout=left)
            if not woken.done():
                self._sleepers.remove(sleeper)

    def _notify(self) -> None:
        """Wake the sleepers whose index now has an earlier time."""
        early = [each for each in self._sleepers if _first(each.index) < each.until]
        for sleeper in early:
            self._sleepers.remove(sleeper)
            if not sleeper.woken.done():
                sleeper.woken.set_result(None)


def _first(index: Mapping[str, int]) -> float:
    return min(index.values(), default=inf)


@dataclass(frozen=True, slots=True)
class SimulationContext:
    """Everything that the processes share."""

    clock: Clock
    randomness: SeededRandomness
    store_availability: StoreAvailability
    stores: MemoryStores
    runcomfy: FakeRunComfy
    receivers: SimulatedReceivers
    log: SimulationLog
    due: DueWaiter
    objects: SimulatedObjects


class SimulatedWorker:
    """Runs until it dies; a new one with another name replaces it."""

    def __init__(
        self, life: ProcessLifetime, around: SimulationContext, policy: LifecyclePolicy
    ) -> None:
        """Composed as `worker.composition` composes the real one."""
        self.lifetime = life
        self._context = around
        self._policy = policy
        self._clock = ProcessClock(around.clock, life)
        line = StoreConnection(life, around.randomness, around.store_availability)
        self._jobs = ProcessJobs(line, around.stores)
        self._tenants = ProcessTenants(line, around.stores)
        self._webhooks = ProcessWebhooks(line, around.stores)
        self._outbox = ProcessOutbox(line, around.stores)
        self._emit = around.log.emit_for(life.name)
        self._watcher = self._loop_of_steps(line)
        self._courier = self._loop_of_deliveries()
        self._tasks: list[asyncio.Task[None]] = []
        self._calm_checks = 0

    def start(self) -> None:
        """Watch and deliver in the background."""
        self._tasks = [
            asyncio.create_task(self._watcher.run()),
            asyncio.create_task(self._courier.run()),
            asyncio.create_task(self._check_store()),
        ]
        for task in self._tasks:
            task.add_done_callback(self._report_end)

    async def wake(self, job_id: str, version: int) -> None:
        """Process a wake-up message as `worker.main` does."""
        try:
            record = await self._jobs.load(job_id)
        except StoreUnavailable:
            return
        if record is not None and is_current(version, record.job):
            self._watcher.start(record.job)

    @property
    def is_busy(self) -> int:
        """The number of steps and deliveries in progress."""
        return self._watcher.in_flight + self._courier.in_flight

    @property
    def is_calm(self) -> bool:
        """Whether it found the store current after the last fault."""
        return self._calm_checks >= MIN_CALM_CHECKS

    def stop(self) -> None:
        """Stop the loops of a dead worker."""
        for task in self._tasks:
            task.cancel()

    def _report_end(self, task: asyncio.Task[None]) -> None:
        """No loop of a living worker ends."""
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._context.log.violations.append(f"{self.lifetime.name} stopped: {error!r}")

    async def _check_store(self) -> None:
        """Check the store until it was found current a few times without faults."""
        chance = self._context.randomness
        tick = SLOW_TICK
        if any(map(chance.may_occur, GOING_BACK)):
            tick = chance.stream(f"checks:{self.lifetime.name}").choice(CHECK_TICKS)
        while True:
            with suppress(StoreUnavailable):
                await self._paid.write_answers()
                await self._guard.run_once(self._reconciler)
                self._calm_checks += chance.faults_ended and self._guard.is_open
            await self._clock.sleep(IDLE_TICK if self.is_calm else tick)

    async def _claim_jobs(self, room: int) -> Sequence[Job]:
        await self._context.due.wait(self._context.stores.memory.due)
        return await self._jobs.claim_due(self._policy.lease, room)

    def _loop_of_steps(self, line: StoreConnection) -> LeaseLoop[Job]:
        around, name = self._context, self.lifetime.name
        identity, lease = ProcessIdentity(line, around.stores), self._policy.lease
        stores = partial_stores(
            jobs=self._jobs,
            identity=identity,
            tenants=self._tenants,
            webhook_configs=self._webhooks,
            circuit_breakers=ProcessBreakers(line, around.stores),
            files=around.stores.files,
            batches=around.stores.batches,
        )
        upstream = ProcessUpstream(self.lifetime, around.runcomfy)
        clock, ids = self._clock, SeededIds(around.randomness.stream(f"ids:{name}"))
        rules = DecisionContext(name, self._policy, around.randomness.stream(f"rules:{name}"))
        gate = SubmitCircuitBreaker(
            stores.circuit_breakers, stores.jobs, clock, BreakerPolicy(), self._emit
        )
        writer = JobWriter(stores, clock, self._emit)
        journal = Journal(
            ProcessObjects(
                self.lifetime,
                around.store_availability,
                around.randomness,
                around.randomness.stream(f"journal:{name}"),
                around.objects,
            ),
            clock,
            self._emit,
            JOURNAL_TIMEOUT,
        )
        guard = StoreGuard(identity, journal, clock, ids, self._emit, GuardPolicy(lease))
        paid = PaidSubmitter(upstream, journal, clock, ids, guard, self._policy.lease)
        self._paid = paid
        submitter = JobSubmitter(stores, paid, gate, writer, rules, input_assembler(stores, clock))
        self._guard, self._reconciler = (
            guard,
            Reconciler(
                stores,
                journal,
                AnswerWriter(stores, writer, clock, rules),
                clock,
                self._policy.doubt_hold,
            ),
        )
        lifecycle = JobProcessor(stores, upstream, submitter, writer, rules)
        work = WorkSource("job_step", self._claim_jobs, lifecycle.advance, lambda job: job.id)
        return LeaseLoop(work, LoopPolicy(8, TICK), self._clock, self._emit)

    def _loop_of_deliveries(self) -> LeaseLoop[ClaimedDelivery]:
        around, name = self._context, self.lifetime.name
        sender = ProcessSender(self.lifetime, around.receivers.send)
        courier = DeliveryWorker(
            partial_stores(
                jobs=self._jobs, deliveries=self._outbox, webhook_configs=self._webhooks
            ),
            DeliveryTransport(sender, MemoryEventStreams(), self._clock),
            DeliveryRules(around.randomness.stream(f"courier:{name}")),
            self._clock,
            SeededIds(around.randomness.stream(f"events:{name}")),
            self._emit,
        )
        source = DeliverySource(
            partial_stores(deliveries=self._outbox).deliveries, DELIVERY_LEASE, courier.deliver
        )

        async def claim(room: int) -> Sequence[ClaimedDelivery]:
            await around.due.wait(around.stores.memory.outbox)
            return await source.claim(room)

        work = WorkSource(
            "delivery_step",
            claim,
            source.handle,
            lambda claimed: claimed.delivery.id,
        )
        return LeaseLoop(work, LoopPolicy(8, TICK), self._clock, self._emit)
