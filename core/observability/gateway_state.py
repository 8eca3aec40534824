"""How the whole gateway stands at one moment, as the store has it. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.billing.balance import AccountBalance
from core.billing.settlement import ReservationTotals
from core.circuit_breaker import CircuitBreaker
from core.jobs.job import JobState
from core.money import MicroUsd
from core.tenants.limits import GlobalLimits, Window
from core.webhooks.endpoint import DisabledReason


@dataclass(frozen=True, slots=True)
class WindowState:
    """A tenant's use of its present day or month."""

    window: Window
    jobs: int
    reservations: ReservationTotals
    budget: MicroUsd | None = None
    cost_saved: int = 0
    """What its jobs did not cost since another had paid, in micro-USD."""


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant's slots, queue, money, and why endpoints of its get nothing."""

    name: str
    running: int = 0
    waiting: int = 0
    slot_limit: int | None = None
    windows: tuple[WindowState, ...] = ()
    disabled_reasons: tuple[DisabledReason, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryBacklog:
    """Callbacks to come, of the endpoints that are looked at next.

    An endpoint that is held back for now has none that are due. `endpoints` counts all with any.
    """

    pending: int = 0
    due: int = 0
    in_flight: int = 0
    endpoints: int = 0
    paused: int = 0
    oldest_due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """What Redis says of itself; None where it does not tell. Sizes in bytes."""

    memory: int | None = None
    memory_limit: int | None = None
    clients: int | None = None
    keys: int | None = None
    commands: int | None = None
    evicted_keys: int | None = None
    aof: bool | None = None
    aof_write_ok: bool | None = None
    uptime: timedelta | None = None


@dataclass(frozen=True, slots=True)
class OpenJobsState:
    """The open jobs."""

    by_state: Mapping[JobState, int] = field(default_factory=dict)
    oldest_unsubmitted_at: datetime | None = None
    oldest_in_doubt_at: datetime | None = None
    stuck: int = 0


@dataclass(frozen=True, slots=True)
class ConcurrencyState:
    """Slots in use, and what bounds them."""

    running: int = 0
    by_model: Mapping[str, int] = field(default_factory=dict)
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    pauses: int = 0


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the gateway leans on: RunComfy as last met, and the workers."""

    account_balance: AccountBalance = field(default_factory=AccountBalance)
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    catalogue_read_at: datetime | None = None
    catalogue_models: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The reading, made at `read_at` in `took`. Its cost does not grow with the number of jobs."""

    read_at: datetime
    read_duration: timedelta = timedelta()
    jobs: OpenJobsState = field(default_factory=OpenJobsState)
    concurrency: ConcurrencyState = field(default_factory=ConcurrencyState)
    tenants: tuple[TenantState, ...] = ()
    deliveries: DeliveryBacklog = field(default_factory=DeliveryBacklog)
    dependencies: Dependencies = field(default_factory=Dependencies)
    redis: RedisHealth = field(default_factory=RedisHealth)
