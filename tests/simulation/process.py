"""A process that may die, and its connections. Decides when it dies, not what it does.

All that a process awaits passes through here: after its death nothing of it has an effect.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final, TypeVar

from core.clock import Clock
from core.errors import NotFound, StoreTimeout, StoreUnavailable
from core.jobs.job import Job, JobRecord, WaitingFor
from core.jobs.submission import Submission
from core.journal.objects import JournalUnavailable, ObjectInfo
from core.quotas import CallRate
from core.store.deliveries import AttemptWriteResult
from core.store.identity import StorePosition
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, AdmissionResult, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from core.transactions.restoration import Restoration, RestorationResult
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.upstream.circuit_breaker import CircuitBreaker
from core.upstream.circuits import Circuits
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.delivery import CircuitUpdate, ClaimedDelivery, DeliveryUpdate
from tests.simulation.journal import SimulatedObjects
from tests.simulation.plan import Fault, SeededRandomness
from tests.support.memory_store.stores import MemoryStores
from tests.support.upstream import FakeRunComfy
from worker.ports import CancelAnswer, ResultAnswer, StatusAnswer, SubmitAnswer
from worker.webhooks.outcomes import AttemptResult as SendOutcome
from worker.webhooks.sender import AttemptRequest

T = TypeVar("T")
SERVICE: Final = "service"
DEATH_FACTOR: Final = 0.1
"""Probability of a death per await, relative to the plan's intensity: a step has many awaits."""
LATENCIES: Final = (0.0, 0.0, 0.0, 0.001, 0.02, 0.3)


class ProcessDied(BaseException):
    """The process is dead. Not an `Exception`, so that no code of the product handles it."""


class ProcessLifetime:
    """The life of one process. `die_at`: the number of the await at which it must die, if any."""

    def __init__(
        self,
        name: str,
        chance: SeededRandomness,
        *,
        mortal: bool = False,
        die_at: int | None = None,
    ) -> None:
        """Alive, at its first await; only `mortal` processes die by the plan's faults."""
        self.name = name
        self.awaits = 0
        self.alive = True
        self.on_death: Callable[[], None] = lambda: None
        self._chance = chance
        self._rng = chance.stream(f"life:{name}")
        self._mortal = mortal
        self._die_at = die_at

    async def checkpoint(self) -> None:
        """Let other tasks run; the process may die meanwhile. Raises `ProcessDied`."""
        self.check()
        await asyncio.sleep(self._rng.choice(LATENCIES))
        self.check()
        self.awaits += 1
        dies = self._mortal and self._chance.occurs(Fault.DEATHS, self._rng, factor=DEATH_FACTOR)
        if dies or self.awaits == self._die_at:
            self.alive = False
            self.on_death()
            raise ProcessDied(self.name)

    def check(self) -> None:
        """Raise `ProcessDied` if the process is dead."""
        if not self.alive:
            raise ProcessDied(self.name)


class StoreAvailability:
    """Outages of the store: for all processes, and for each one."""

    def __init__(self, clock: Clock, chance: SeededRandomness, active: timedelta) -> None:
        """All outages are drawn in advance."""
        self._clock = clock
        self._chance = chance
        self._active = active
        self.go_back: Callable[[Random], object] = lambda _: None
        """Lets the store forget its last changes."""
        self.restore_backup: Callable[[Random], None] = lambda _: None
        """Has an operator restore store and journal from a backup."""
        self.is_service_stopped: Callable[[], bool] = lambda: False
        """Whether operators have stopped the service."""
        self.restores = 0
        """How often a backup was restored."""
        self.servers = 1
        """How many servers there were: one that went back has lost all its connections."""
        self._outages = {"": self._drawn("", Fault.STORE_UNAVAILABLE)}
        self._of_the_journal = self._drawn("journal", Fault.JOURNAL_AWAY)

    def is_down(self, process: str) -> bool:
        """Whether the process cannot connect now."""
        if process not in self._outages:
            self._outages[process] = self._drawn(process, Fault.STORE_PARTITIONED)
        return self._is_within((*self._outages[""], *self._outages[process]))

    def is_journal_away(self) -> bool:
        """Whether the journal answers nobody now."""
        return self._is_within(self._of_the_journal)

    def _is_within(self, outages: Sequence[tuple[timedelta, timedelta]]) -> bool:
        now = self._clock.monotonic()
        return not self._chance.faults_ended and any(start <= now < end for start, end in outages)

    def _drawn(self, process: str, fault: Fault) -> tuple[tuple[timedelta, timedelta], ...]:
        rng, drawn = self._chance.stream(f"weather:{process}"), []
        for _ in range(4):
            start = self._active * rng.random()
            length = timedelta(seconds=rng.choice((1, 3, 10, 40)) * rng.uniform(0.5, 1.5))
            if self._chance.occurs(fault, rng, factor=2):
                drawn.append((start, start + length))
        return tuple(drawn)


class StoreConnection:
    """A process's connection to the store: commands may be refused, lost, late or unanswered."""

    def __init__(
        self, life: ProcessLifetime, chance: SeededRandomness, availability: StoreAvailability
    ) -> None:
        """Commands fail during the outages of `availability`."""
        self._life = life
        self._chance = chance
        self._availability = availability
        self._rng = chance.stream(f"line:{life.name}")
        self.connections = 0
        """To which server the last command went."""

    async def call(self, command: Callable[[], Awaitable[T]]) -> T:
        """Execute a command, or lose it or its answer. Raises what `core.store` raises."""
        await self._life.checkpoint()
        if self._life.name == SERVICE and self._availability.is_service_stopped():
            raise StoreUnavailable
        if self._availability.is_down(self._life.name):
            await self._fail(command)
        if self._chance.occurs(Fault.STORE_LATE, self._rng, factor=0.2):
            self._later(command)
            raise StoreTimeout
        if self._chance.occurs(Fault.STORE_REWINDS, self._rng, factor=0.03):
            self._availability.go_back(self._rng)
            self._availability.servers += 1
        if self._chance.occurs(Fault.BACKUP_RESTORED, self._rng, factor=0.03):
            self._availability.restore_backup(self._rng)
            self._availability.servers += 1
            self._life.check()
        self.connections = self._availability.servers
        answer = await command()
        await self._life.checkpoint()
        if self._chance.occurs(Fault.STORE_ANSWER_LOST, self._rng, factor=0.4):
            raise StoreTimeout
        return answer

    async def _fail(self, command: Callable[[], Awaitable[T]]) -> None:
        if self._chance.occurs(Fault.STORE_ANSWER_LOST, self._rng, factor=2):
            await command()
            await self._life.checkpoint()
            raise StoreTimeout
        if self._chance.occurs(Fault.STORE_LATE, self._rng):
            self._later(command)
            raise StoreTimeout
        raise StoreUnavailable

    def _later(self, command: Callable[[], Awaitable[T]]) -> None:
        restores = self._availability.restores

        async def carry_out() -> None:
            if restores != self._availability.restores:
                return  # it was for the server that was replaced
            with suppress(NotFound):  # of a job that a store which went back has forgotten
                await command()

        loop = asyncio.get_running_loop()
        delay = self._rng.choice((0.1, 1.0, 6.0, 20.0)) * self._rng.random()
        loop.call_later(delay, lambda: loop.create_task(carry_out()))


@dataclass(frozen=True, slots=True)
class ProcessClock:
    """The clock of one process."""

    clock: Clock
    lifetime: ProcessLifetime

    def now(self) -> datetime:
        """See `core.clock.Clock`."""
        return self.clock.now()

    def monotonic(self) -> timedelta:
        """See `core.clock.Clock`."""
        return self.clock.monotonic()

    async def sleep(self, span: timedelta) -> None:
        """See `core.clock.Clock`. A dead process does not wake."""
        await self.clock.sleep(span)
        await self.lifetime.checkpoint()


@dataclass(frozen=True, slots=True)
class ProcessJobs:
    """The job store, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    async def admit(self, admission: Admission) -> AdmissionResult:
        """See `JobStore.admit`."""
        return await self.connection.call(lambda: self.stores.jobs.admit(admission))

    async def find_replay(
        self, credential: Credential, claim: IdempotencyClaim
    ) -> AdmissionResult | None:
        """See `JobStore.find_replay`."""
        return await self.connection.call(lambda: self.stores.jobs.find_replay(credential, claim))

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None:
        """See `JobStore.authenticate`."""
        await self.connection.call(
            lambda: self.stores.jobs.authenticate(credential, scope, rate=rate)
        )

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        """See `JobStore.read`."""
        return await self.connection.call(
            lambda: self.stores.jobs.read(credential, job_id, projection, scope)
        )

    async def load(self, job_id: str) -> JobRecord | None:
        """See `JobStore.load`."""
        return await self.connection.call(lambda: self.stores.jobs.load(job_id))

    async def load_view(self, job_id: str) -> JobView | None:
        """See `JobStore.load_view`."""
        return await self.connection.call(lambda: self.stores.jobs.load_view(job_id))

    async def load_input(self, job_id: str) -> bytes | None:
        """See `JobStore.load_input`."""
        return await self.connection.call(lambda: self.stores.jobs.load_input(job_id))

    async def load_submission(self, job: Job) -> Submission | None:
        """See `JobStore.load_submission`."""
        return await self.connection.call(lambda: self.stores.jobs.load_submission(job))

    async def restore(self, restoration: Restoration) -> RestorationResult:
        """See `JobStore.restore`."""
        return await self.connection.call(lambda: self.stores.jobs.restore(restoration))

    async def load_leader(self, job: Job) -> JobRecord | None:
        """See `JobStore.load_leader`."""
        return await self.connection.call(lambda: self.stores.jobs.load_leader(job))

    async def load_successor(self, job_id: str) -> Job | None:
        """See `JobStore.load_successor`."""
        return await self.connection.call(lambda: self.stores.jobs.load_successor(job_id))

    async def store(self, change: Change) -> WriteResult:
        """See `JobStore.store`."""
        return await self.connection.call(lambda: self.stores.jobs.store(change))

    async def reschedule(self, job: Job, next_run_at: datetime, *, polled: bool = False) -> bool:
        """See `JobStore.reschedule`."""
        return await self.connection.call(
            lambda: self.stores.jobs.reschedule(job, next_run_at, polled=polled)
        )

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """See `JobStore.claim_due`."""
        return await self.connection.call(lambda: self.stores.jobs.claim_due(lease, limit))

    async def claim_archives(self, lease: timedelta, limit: int) -> Sequence[Job]:
        """See `JobStore.claim_archives`."""
        return await self.connection.call(lambda: self.stores.jobs.claim_archives(lease, limit))

    async def postpone_archive(self, job_id: str, due_at: datetime) -> None:
        """See `JobStore.postpone_archive`."""
        await self.connection.call(lambda: self.stores.jobs.postpone_archive(job_id, due_at))

    async def wake_waiting(self, waiting_for: WaitingFor) -> int:
        """See `JobStore.wake_waiting`."""
        return await self.connection.call(lambda: self.stores.jobs.wake_waiting(waiting_for))

    async def find_cheapest_waiting(self, waiting_for: WaitingFor) -> str | None:
        """See `JobStore.find_cheapest_waiting`."""
        return await self.connection.call(
            lambda: self.stores.jobs.find_cheapest_waiting(waiting_for)
        )

    async def find_by_upstream_id(self, upstream_id: str) -> str | None:
        """See `JobStore.find_by_upstream_id`."""
        return await self.connection.call(lambda: self.stores.jobs.find_by_upstream_id(upstream_id))

    async def list_in_doubt(self, limit: int) -> Sequence[Job]:
        """See `JobStore.list_in_doubt`."""
        return await self.connection.call(lambda: self.stores.jobs.list_in_doubt(limit))

    async def list_unsubmitted(self) -> Sequence[Job]:
        """See `JobStore.list_unsubmitted`."""
        return await self.connection.call(self.stores.jobs.list_unsubmitted)


@dataclass(frozen=True, slots=True)
class ProcessTenants:
    """The tenant store, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    async def load(self, name: str) -> Tenant | None:
        """See `TenantStore.load`."""
        return await self.connection.call(lambda: self.stores.tenants.load(name))


@dataclass(frozen=True, slots=True)
class ProcessBreakers:
    """The breaker's store, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    async def load(self, model_id: str) -> Circuits:
        """See `CircuitBreakerStore.load`."""
        return await self.connection.call(lambda: self.stores.circuit_breakers.load(model_id))

    async def load_all(self) -> Mapping[str, CircuitBreaker]:
        """See `CircuitBreakerStore.load_all`."""
        return await self.connection.call(self.stores.circuit_breakers.load_all)

    async def compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool:
        """See `CircuitBreakerStore.compare_and_set`."""
        return await self.connection.call(
            lambda: self.stores.circuit_breakers.compare_and_set(name, before, after)
        )

    async def take_submit_token(self) -> datetime | None:
        """See `CircuitBreakerStore.take_submit_token`."""
        return await self.connection.call(self.stores.circuit_breakers.take_submit_token)


@dataclass(frozen=True, slots=True)
class ProcessOutbox:
    """The delivery store, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    async def claim_due(
        self, lease: timedelta, limit: int, in_flight: Mapping[str, int] | None = None
    ) -> Sequence[ClaimedDelivery]:
        """See `DeliveryStore.claim_due`."""
        return await self.connection.call(
            lambda: self.stores.deliveries.claim_due(lease, limit, in_flight)
        )

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult:
        """See `DeliveryStore.complete_attempt`."""
        return await self.connection.call(
            lambda: self.stores.deliveries.complete_attempt(completion)
        )

    async def load_circuit(self, name: str) -> EndpointCircuit:
        """See `DeliveryStore.load_circuit`."""
        return await self.connection.call(lambda: self.stores.deliveries.load_circuit(name))

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        """See `DeliveryStore.update_circuit`."""
        return await self.connection.call(lambda: self.stores.deliveries.update_circuit(update))


@dataclass(frozen=True, slots=True)
class ProcessWebhooks:
    """The store of endpoints, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    async def load(self, tenant: str) -> WebhookConfig | None:
        """See `WebhookConfigStore.load`."""
        return await self.connection.call(lambda: self.stores.webhook_configs.load(tenant))

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        """See `WebhookConfigStore.load_versioned`."""
        return await self.connection.call(
            lambda: self.stores.webhook_configs.load_versioned(tenant)
        )

    async def list_tenants(self) -> frozenset[str]:
        """See `WebhookConfigStore.list_tenants`."""
        return await self.connection.call(self.stores.webhook_configs.list_tenants)

    async def update(self, update: WebhookConfigUpdate) -> bool:
        """See `WebhookConfigStore.update`."""
        return await self.connection.call(lambda: self.stores.webhook_configs.update(update))


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The store's identity, over the connection of one process."""

    connection: StoreConnection
    stores: MemoryStores

    @property
    def connections(self) -> int:
        """See `StoreIdentity.connections`."""
        return self.connection.connections

    async def load(self, known: StorePosition | None = None) -> StorePosition | None:
        """See `StoreIdentity.load`."""
        return await self.connection.call(lambda: self.stores.identity.load(known))

    async def create(self, position: StorePosition) -> bool:
        """See `StoreIdentity.create`."""
        return await self.connection.call(lambda: self.stores.identity.create(position))

    async def replace_journal(self, held: str, journal_id: str, since: datetime | None) -> bool:
        """See `StoreIdentity.replace_journal`."""
        identity = self.stores.identity
        return await self.connection.call(lambda: identity.replace_journal(held, journal_id, since))

    async def note_entry(self, job_id: str, number: int, name: str, journal_id: str) -> bool:
        """See `StoreIdentity.note_entry`."""
        identity = self.stores.identity
        return await self.connection.call(
            lambda: identity.note_entry(job_id, number, name, journal_id)
        )

    async def load_noted_entry(self, job_id: str) -> int | None:
        """See `StoreIdentity.load_noted_entry`."""
        return await self.connection.call(lambda: self.stores.identity.load_noted_entry(job_id))

    async def replace_lost_entry(self, before: StorePosition, lost: str) -> bool:
        """See `StoreIdentity.replace_lost_entry`."""
        identity = self.stores.identity
        return await self.connection.call(lambda: identity.replace_lost_entry(before, lost))

    async def list_claims(self) -> Sequence[str]:
        """See `StoreIdentity.list_claims`."""
        return await self.connection.call(self.stores.identity.list_claims)

    async def mark_went_back(
        self, compare_since: datetime, doubt_until: datetime | None = None
    ) -> None:
        """See `StoreIdentity.mark_went_back`."""
        identity = self.stores.identity
        await self.connection.call(lambda: identity.mark_went_back(compare_since, doubt_until))

    async def settle(self, before: StorePosition, after: StorePosition) -> bool:
        """See `StoreIdentity.settle`."""
        return await self.connection.call(lambda: self.stores.identity.settle(before, after))

    async def load_account(self) -> str:
        """See `StoreIdentity.load_account`."""
        return await self.connection.call(self.stores.identity.load_account)

    async def replace_account(self, held: str, account: str) -> bool:
        """See `StoreIdentity.replace_account`."""
        return await self.connection.call(
            lambda: self.stores.identity.replace_account(held, account)
        )

    async def disconnect(self) -> None:
        """See `StoreIdentity.disconnect`."""
        await self.stores.identity.disconnect()


@dataclass(frozen=True, slots=True)
class ProcessObjects:
    """The journal's objects, used by one process. Calls may fail, before or after their effect."""

    lifetime: ProcessLifetime
    availability: StoreAvailability
    chance: SeededRandomness
    rng: Random
    objects: SimulatedObjects

    async def create(self, name: str, content: bytes) -> bool:
        """See `ObjectStorage.create`."""
        return await self._call(lambda: self.objects.create(name, content))

    async def replace(self, name: str, content: bytes) -> None:
        """See `ObjectStorage.replace`."""
        await self._call(lambda: self.objects.replace(name, content))

    @property
    def is_mounted(self) -> bool:
        """See `ObjectStorage.is_mounted`."""
        return self.objects.is_mounted

    async def exists(self, name: str) -> bool:
        """See `ObjectStorage.exists`."""
        return await self._call(lambda: self.objects.exists(name))

    async def read(self, name: str) -> bytes | None:
        """See `ObjectStorage.read`."""
        return await self._call(lambda: self.objects.read(name))

    async def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """See `ObjectStorage.list`."""
        return await self._call(lambda: self.objects.list(prefix))

    async def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStorage.delete`."""
        await self._call(lambda: self.objects.delete(names))

    async def close(self) -> None:
        """See `ObjectStorage.close`."""

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self.lifetime.checkpoint()
        if self.availability.is_journal_away() or self.chance.occurs(Fault.JOURNAL_FAILS, self.rng):
            raise JournalUnavailable
        if self.chance.occurs(Fault.JOURNAL_REWINDS, self.rng, factor=0.03):
            self.objects.go_back(self.rng)
        answer = await self._slowly(call)
        await self.lifetime.checkpoint()
        if self.chance.occurs(Fault.JOURNAL_ANSWER_LOST, self.rng):
            raise JournalUnavailable
        return answer

    async def _slowly(self, call: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call, perhaps after its caller has given up, or answer it late."""
        if not self.chance.occurs(Fault.JOURNAL_SLOW, self.rng, factor=0.4):
            return await call()
        takes = self.rng.choice((1.0, 6.0, 40.0)) * self.rng.random()
        if self.rng.random() < 1 / 2:
            answer = await call()
            await asyncio.sleep(takes)
            return answer

        async def carry_out() -> T:
            await asyncio.sleep(takes)
            return await call()

        return await asyncio.shield(carry_out())


@dataclass(frozen=True, slots=True)
class ProcessUpstream:
    """RunComfy, called by one process, which may die before a call leaves or after it."""

    lifetime: ProcessLifetime
    runcomfy: FakeRunComfy

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.submit(model_id, body))

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.get_status(upstream_id))

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.get_result(upstream_id))

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """See `worker.ports.Upstream`."""
        return await self._call(lambda: self.runcomfy.cancel(upstream_id))

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        await self.lifetime.checkpoint()
        answer = await call()
        await self.lifetime.checkpoint()
        return answer


@dataclass(frozen=True, slots=True)
class ProcessSender:
    """The receivers, called by one process."""

    lifetime: ProcessLifetime
    send_to: Callable[[AttemptRequest], Awaitable[SendOutcome]]

    async def send(self, attempt: AttemptRequest) -> SendOutcome:
        """See `worker.webhooks.delivery_worker.AttemptSender`."""
        await self.lifetime.checkpoint()
        outcome = await self.send_to(attempt)
        await self.lifetime.checkpoint()
        return outcome
