"""A snapshot of the gateway's state in Redis. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.billing.balance import AccountBalance
from core.billing.settlement import ReservationTotals
from core.jobs.job import JobState, WaitingFor
from core.money import MicroUsd
from core.tenants.limits import GlobalLimits
from core.tenants.windows import Window
from core.upstream.circuit_breaker import CircuitBreaker
from core.webhooks.endpoint import DisabledReason


@dataclass(frozen=True, slots=True)
class WindowState:
    """A tenant's usage in a present window."""

    window: Window
    jobs: int
    reservations: ReservationTotals
    budget: MicroUsd | None = None
    cost_saved: int = 0
    """What its jobs saved by sharing the results of others, in micro-dollars."""


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant's slots, queue and cost, and the reasons of its disabled endpoints."""

    name: str
    running: int = 0
    waiting: int = 0
    slot_limit: int | None = None
    windows: tuple[WindowState, ...] = ()
    disabled_reasons: tuple[DisabledReason, ...] = ()
    stored_bytes: int = 0
    """What its uploads, kept outputs and large inputs take of the storage."""
    stored_bytes_limit: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryBacklog:
    """Deliveries to come, of the endpoints that are due first.

    An endpoint that is backing off has no due deliveries. `endpoints` counts every endpoint with
    pending deliveries.
    """

    pending: int = 0
    due: int = 0
    in_flight: int = 0
    endpoints: int = 0
    paused: int = 0
    oldest_due_at: datetime | None = None
    unreadable: int = 0
    """Deliveries whose record this release cannot read; no worker sends them."""


@dataclass(frozen=True, slots=True)
class RedisHealth:
    """Figures of Redis's `INFO`; None if the server does not report one. Sizes in bytes."""

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
    """Open jobs by state, and the ages of the oldest ones."""

    by_state: Mapping[JobState, int] = field(default_factory=dict)
    oldest_unsubmitted_at: datetime | None = None
    oldest_in_doubt_at: datetime | None = None
    stuck: int = 0
    waiting_for: Mapping[WaitingFor, int] = field(default_factory=dict)
    """Queued jobs that wait for something other than their turn."""
    waiting_price: int = 0
    """Sum of the estimates of the jobs that wait for the balance, in micro-dollars."""
    unreadable: int = 0
    unarchived: int = 0
    """Jobs whose outputs are still to be kept."""
    oldest_unarchived_at: datetime | None = None
    """From when on RunComfy keeps the oldest of these outputs."""


@dataclass(frozen=True, slots=True)
class ConcurrencyState:
    """Slots in use, their limits, the number of pauses, and since when the oldest one holds."""

    running: int = 0
    by_model: Mapping[str, int] = field(default_factory=dict)
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    pauses: int = 0
    oldest_pause_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The state of RunComfy as last seen, and the number of workers."""

    account_balance: AccountBalance = field(default_factory=AccountBalance)
    circuit_breakers: Mapping[str, CircuitBreaker] = field(default_factory=dict)
    """Those that are not closed, or remember problems, by name (`core.upstream.circuits`)."""
    catalogue_read_at: datetime | None = None
    catalogue_models: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The snapshot. The cost of reading it does not grow with the number of jobs."""

    read_at: datetime
    read_duration: timedelta = timedelta()
    jobs: OpenJobsState = field(default_factory=OpenJobsState)
    concurrency: ConcurrencyState = field(default_factory=ConcurrencyState)
    tenants: tuple[TenantState, ...] = ()
    deliveries: DeliveryBacklog = field(default_factory=DeliveryBacklog)
    dependencies: Dependencies = field(default_factory=Dependencies)
    redis: RedisHealth = field(default_factory=RedisHealth)
    unlabelled_tenants: int = 0
    """Tenants beyond the limit on labels, which are not in `tenants`."""
