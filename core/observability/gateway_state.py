"""How the whole gateway stands at one moment, as the store has it. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.billing.balance import Wallet
from core.billing.settlement import Booking
from core.circuit_breaker import Breaker
from core.jobs.job import JobState
from core.money import MicroUsd
from core.tenants.limits import GlobalLimits, Window
from core.webhooks.endpoint import Disabled


@dataclass(frozen=True, slots=True)
class WindowStanding:
    """A tenant's use of its present day or month."""

    window: Window
    jobs: int
    booking: Booking
    budget: MicroUsd | None = None
    saved: int = 0
    """What its jobs did not cost since another had paid, in micro-USD."""


@dataclass(frozen=True, slots=True)
class TenantStanding:
    """One tenant's slots, queue, money, and why endpoints of its get nothing."""

    name: str
    running: int = 0
    waiting: int = 0
    slots: int | None = None
    windows: tuple[WindowStanding, ...] = ()
    disabled: tuple[Disabled, ...] = ()


@dataclass(frozen=True, slots=True)
class Backlog:
    """Callbacks to come, of the endpoints that are looked at next.

    An endpoint that is held back for now has none that are due. `endpoints` counts all with any.
    """

    pending: int = 0
    due: int = 0
    busy: int = 0
    endpoints: int = 0
    held_back: int = 0
    oldest_due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoreHealth:
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
class JobsStanding:
    """The open jobs."""

    by_state: Mapping[JobState, int] = field(default_factory=dict)
    oldest_unsent_at: datetime | None = None
    oldest_doubt_at: datetime | None = None
    stuck: int = 0


@dataclass(frozen=True, slots=True)
class SlotsStanding:
    """Slots in use, and what bounds them."""

    running: int = 0
    by_model: Mapping[str, int] = field(default_factory=dict)
    limits: GlobalLimits = field(default_factory=GlobalLimits)
    pauses: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the gateway leans on: RunComfy as last met, and the workers."""

    wallet: Wallet = field(default_factory=Wallet)
    breaker: Breaker = field(default_factory=Breaker)
    catalogue_read_at: datetime | None = None
    catalogue_models: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Overview:
    """The reading, made at `read_at` in `took`. Its cost does not grow with the number of jobs."""

    read_at: datetime
    took: timedelta = timedelta()
    jobs: JobsStanding = field(default_factory=JobsStanding)
    slots: SlotsStanding = field(default_factory=SlotsStanding)
    tenants: tuple[TenantStanding, ...] = ()
    deliveries: Backlog = field(default_factory=Backlog)
    surroundings: Surroundings = field(default_factory=Surroundings)
    store: StoreHealth = field(default_factory=StoreHealth)
