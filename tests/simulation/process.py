"""A process that may die, and its ways to the outside. Knows when it dies, not what it does.

Everything that a process awaits passes through here: once it is dead, nothing of it has any effect.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from core.errors import StoreSilent, StoreUnavailable
from core.tenants.api_keys import Scope
from tests.simulation.plan import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from core.circuit_breaker import Breaker
    from core.clock import Clock
    from core.jobs.job import Job, JobRecord
    from core.store.deliveries import Settled
    from core.store.jobs import Depth, JobView
    from core.store.webhook_endpoints import SetupChange
    from core.tenants.api_keys import Credential
    from core.tenants.tenant import Tenant
    from core.transactions.admission import Admission, Admitted
    from core.transactions.job_update import Change, Outcome
    from core.webhooks.circuit_breaker import Channel
    from core.webhooks.config import MarkedSetup, WebhookSetup
    from core.webhooks.delivery import ChannelMove, Claimed, Settlement
    from tests.fakes.stores import MemoryStores
    from tests.fakes.upstream import FakeRunComfy
    from tests.simulation.plan import Chance
    from worker.ports import CancelAnswer, ResultAnswer, StatusAnswer, SubmitAnswer
    from worker.webhooks.outcomes import Outcome as SendOutcome
    from worker.webhooks.sender import Attempt

T = TypeVar("T")
DEATH_FACTOR: Final = 0.1
"""Deaths per await, relative to a plan's intensity: a step has many awaits."""
LATENCIES: Final = (0.0, 0.0, 0.0, 0.001, 0.02, 0.3)


class Died(BaseException):
    """The process is no more. Not an Exception: nothing of the product may handle it."""


class Life:
    """One process' life. `die_at` is the number of the await at which it must die, if any."""

    def __init__(
        self, name: str, chance: Chance, *, mortal: bool = False, die_at: int | None = None
    ) -> None:
        """Alive, at its first await; `mortal` ones may die of the plan's deaths."""
        self.name = name
        self.awaits = 0
        self.alive = True
        self.on_death: Callable[[], None] = lambda: None
        self._chance = chance
        self._rng = chance.stream(f"life:{name}")
        self._mortal = mortal
        self._die_at = die_at

    async def point(self) -> None:
        """An await: others run, and the process may die. Raises `Died`."""
        self.check()
        await asyncio.sleep(self._rng.choice(LATENCIES))
        self.check()
        self.awaits += 1
        struck = self._mortal and self._chance.strikes(Fault.DEATHS, self._rng, factor=DEATH_FACTOR)
        if struck or self.awaits == self._die_at:
            self.alive = False
            self.on_death()
            raise Died(self.name)

    def check(self) -> None:
        """Raises `Died` for a dead process."""
        if not self.alive:
            raise Died(self.name)


class Weather:
    """When the store is away: for everybody, and for each process by itself."""

    def __init__(self, clock: Clock, chance: Chance, active: timedelta) -> None:
        """Drawn in advance."""
        self._clock = clock
        self._chance = chance
        self._active = active
        self._storms = {"": self._drawn("", Fault.STORE_AWAY)}

    def away(self, process: str) -> bool:
        """Whether this process gets no connection now."""
        if process not in self._storms:
            self._storms[process] = self._drawn(process, Fault.STORE_PARTED)
        now = self._clock.monotonic()
        storms = (*self._storms[""], *self._storms[process])
        return not self._chance.healed and any(start <= now < end for start, end in storms)

    def _drawn(self, process: str, fault: Fault) -> tuple[tuple[timedelta, timedelta], ...]:
        rng, drawn = self._chance.stream(f"weather:{process}"), []
        for _ in range(4):
            start = self._active * rng.random()
            length = timedelta(seconds=rng.choice((1, 3, 10, 40)) * rng.uniform(0.5, 1.5))
            if self._chance.strikes(fault, rng, factor=2):
                drawn.append((start, start + length))
        return tuple(drawn)


class Line:
    """A process' connection to the store: a command may be refused, lost, late, or unanswered."""

    def __init__(self, life: Life, chance: Chance, weather: Weather) -> None:
        """Over the weather that it meets."""
        self._life = life
        self._chance = chance
        self._weather = weather
        self._rng = chance.stream(f"line:{life.name}")

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Carry out a command, or not, and answer, or not. Raises what `core.store` raises."""
        await self._life.point()
        if self._weather.away(self._life.name):
            await self._fail(command)
        if self._chance.strikes(Fault.STORE_LATE, self._rng, factor=0.2):
            self._later(command)
            raise StoreSilent
        answer = await command()
        await self._life.point()
        if self._chance.strikes(Fault.STORE_SILENT, self._rng, factor=0.4):
            raise StoreSilent
        return answer

    async def _fail(self, command: Callable[[], Awaitable[T]]) -> None:
        if self._chance.strikes(Fault.STORE_SILENT, self._rng, factor=2):
            await command()
            await self._life.point()
            raise StoreSilent
        if self._chance.strikes(Fault.STORE_LATE, self._rng):
            self._later(command)
            raise StoreSilent
        raise StoreUnavailable

    def _later(self, command: Callable[[], Awaitable[T]]) -> None:
        async def carry_out() -> None:
            await command()

        loop = asyncio.get_running_loop()
        delay = self._rng.choice((0.1, 1.0, 6.0, 20.0)) * self._rng.random()
        loop.call_later(delay, lambda: loop.create_task(carry_out()))


@dataclass(frozen=True, slots=True)
class ProcessClock:
    """Time, for one process."""

    clock: Clock
    life: Life

    def now(self) -> datetime:
        """See `core.clock.Clock`."""
        return self.clock.now()

    def monotonic(self) -> timedelta:
        """See `core.clock.Clock`."""
        return self.clock.monotonic()

    async def sleep(self, span: timedelta) -> None:
        """See `core.clock.Clock`. The dead do not wake."""
        await self.clock.sleep(span)
        await self.life.point()


@dataclass(frozen=True, slots=True)
class ProcessJobs:
    """The job store, as one process reaches it."""

    line: Line
    stores: MemoryStores

    async def admit(self, admission: Admission) -> Admitted:
        """See `JobStore.admit`."""
        return await self.line.call(lambda: self.stores.jobs.admit(admission))

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `JobStore.authenticate`."""
        await self.line.call(lambda: self.stores.jobs.authenticate(credential, scope))

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """See `JobStore.read`."""
        return await self.line.call(lambda: self.stores.jobs.read(credential, job_id, depth, scope))

    async def load(self, job_id: str) -> JobRecord | None:
        """See `JobStore.load`."""
        return await self.line.call(lambda: self.stores.jobs.load(job_id))

    async def input(self, job_id: str) -> bytes | None:
        """See `JobStore.input`."""
        return await self.line.call(lambda: self.stores.jobs.input(job_id))

    async def leader(self, job: Job) -> JobRecord | None:
        """See `JobStore.leader`."""
        return await self.line.call(lambda: self.stores.jobs.leader(job))

    async def heir(self, job_id: str) -> Job | None:
        """See `JobStore.heir`."""
        return await self.line.call(lambda: self.stores.jobs.heir(job_id))

    async def store(self, change: Change) -> Outcome:
        """See `JobStore.store`."""
        return await self.line.call(lambda: self.stores.jobs.store(change))

    async def put_off(self, job: Job, due_at: datetime, *, polled: bool = False) -> bool:
        """See `JobStore.put_off`."""
        return await self.line.call(lambda: self.stores.jobs.put_off(job, due_at, polled=polled))

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """See `JobStore.claim_due`."""
        return await self.line.call(lambda: self.stores.jobs.claim_due(lease, limit))

    async def doubts(self, limit: int) -> Sequence[Job]:
        """See `JobStore.doubts`."""
        return await self.line.call(lambda: self.stores.jobs.doubts(limit))


@dataclass(frozen=True, slots=True)
class ProcessTenants:
    """The tenant store, as one process reaches it."""

    line: Line
    stores: MemoryStores

    async def load(self, name: str) -> Tenant | None:
        """See `TenantStore.load`."""
        return await self.line.call(lambda: self.stores.tenants.load(name))


@dataclass(frozen=True, slots=True)
class ProcessBreakers:
    """The breaker's store, as one process reaches it."""

    line: Line
    stores: MemoryStores

    async def load(self) -> Breaker:
        """See `BreakerStore.load`."""
        return await self.line.call(self.stores.breakers.load)

    async def swap(self, before: Breaker, after: Breaker) -> bool:
        """See `BreakerStore.swap`."""
        return await self.line.call(lambda: self.stores.breakers.swap(before, after))

    async def take_submit(self) -> datetime | None:
        """See `BreakerStore.take_submit`."""
        return await self.line.call(self.stores.breakers.take_submit)


@dataclass(frozen=True, slots=True)
class ProcessOutbox:
    """The delivery store, as one process reaches it."""

    line: Line
    stores: MemoryStores

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Claimed]:
        """See `DeliveryStore.claim_due`."""
        return await self.line.call(lambda: self.stores.deliveries.claim_due(lease, limit))

    async def settle(self, settlement: Settlement) -> Settled:
        """See `DeliveryStore.settle`."""
        return await self.line.call(lambda: self.stores.deliveries.settle(settlement))

    async def channel(self, name: str) -> Channel:
        """See `DeliveryStore.channel`."""
        return await self.line.call(lambda: self.stores.deliveries.channel(name))

    async def move_channel(self, move: ChannelMove) -> bool:
        """See `DeliveryStore.move_channel`."""
        return await self.line.call(lambda: self.stores.deliveries.move_channel(move))


@dataclass(frozen=True, slots=True)
class ProcessWebhooks:
    """The store of endpoints, as one process reaches it."""

    line: Line
    stores: MemoryStores

    async def load(self, tenant: str) -> WebhookSetup | None:
        """See `WebhookStore.load`."""
        return await self.line.call(lambda: self.stores.webhooks.load(tenant))

    async def marked(self, tenant: str) -> MarkedSetup:
        """See `WebhookStore.marked`."""
        return await self.line.call(lambda: self.stores.webhooks.marked(tenant))

    async def change(self, change: SetupChange) -> bool:
        """See `WebhookStore.change`."""
        return await self.line.call(lambda: self.stores.webhooks.change(change))


@dataclass(frozen=True, slots=True)
class ProcessUpstream:
    """RunComfy, as one process reaches it: it may die before a call leaves, and after it."""

    life: Life
    runcomfy: FakeRunComfy

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.submit(model_id, body))

    async def status(self, upstream_id: str) -> StatusAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.status(upstream_id))

    async def result(self, upstream_id: str) -> ResultAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.result(upstream_id))

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.cancel(upstream_id))

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self.life.point()
        answer = await call()
        await self.life.point()
        return answer


@dataclass(frozen=True, slots=True)
class ProcessSender:
    """The receivers, as one process reaches them."""

    life: Life
    send_to: Callable[[Attempt], Awaitable[SendOutcome]]

    async def send(self, attempt: Attempt) -> SendOutcome:
        """See `worker.webhooks.delivery_worker.Sends`."""
        await self.life.point()
        outcome = await self.send_to(attempt)
        await self.life.point()
        return outcome
