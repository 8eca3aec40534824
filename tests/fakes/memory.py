"""What Redis would hold, in Python: one memory for all stores of a test: they move together.

Instants are kept as Redis keeps them (milliseconds), records as the bytes of the real codecs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from core.billing.balance import Wallet
from core.billing.settlement import Booking
from core.billing.usage import Use
from core.clock import to_ms
from core.store.codecs import JOBS, TENANTS
from core.tenants.cache_policy import ReusePolicy
from core.tenants.limits import Limits
from core.webhooks.circuit_breaker import Channel
from tests.fakes.reuse import Flights
from tests.fakes.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from core.batches import Batch, BatchItem
    from core.clock import Clock
    from core.jobs.job import Job
    from core.operations import AuditEntry
    from core.store.wake_queue import Message
    from core.tenants.limits import Span


@dataclass(slots=True)
class Row:
    """A versioned record. `expires_at` in milliseconds, as Redis' EXPIRE would set it."""

    version: int
    doc: bytes
    input: bytes | None = b""
    output: bytes | None = None
    polls: int = 0
    expires_at: int | None = None
    until: int | None = None
    """When the tenant's own retention is over, once nobody awaits anything of the job."""


@dataclass(slots=True)
class KeyRow:
    """What admission reads of a key."""

    tenant: str
    expires_at: int | None
    scopes: frozenset[str]
    doc: bytes
    used: int | None = None


@dataclass(slots=True)
class TenantRow:
    """What admission reads of a tenant."""

    disabled: bool
    doc: bytes
    expires_at: int | None = None


@dataclass(slots=True)
class BatchRow:
    """A batch as it was admitted; its counts are a recount over its jobs."""

    batch: Batch
    items: tuple[BatchItem, ...]
    finished_at: int | None = None
    expires_at: int | None = None


_R = TypeVar("_R", Row, TenantRow, BatchRow)


@dataclass(frozen=True, slots=True)
class Account:
    """What a job has cost its tenant so far; `spans` are the windows that it counts in."""

    tenant: str
    model: str
    spans: frozenset[str]
    booking: Booking
    reused: bool = False
    saved: int = 0


class Told(Protocol):
    """Who hears of a change; see `core.store.pubsub.Listener.changed`."""

    def __call__(self, job_id: str, version: int, *, ended: bool) -> None:
        """A job has a new version."""


def _nobody(job_id: str, version: int, *, ended: bool) -> None:
    """Nobody listens: what is told is lost."""
    del job_id, version, ended


@dataclass(slots=True)
class MemoryChannel:
    """What waits for an endpoint, what is on its way there, and the breaker over it."""

    waiting: dict[str, int] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    state: Channel = field(default_factory=Channel)


@dataclass(slots=True)
class Memory:
    """Everything. `changed` is called after each write to an index of what is due."""

    clock: Clock
    jobs: dict[str, Row] = field(default_factory=dict)
    timelines: dict[str, list[bytes]] = field(default_factory=dict)
    job_deliveries: dict[str, list[str]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    doubts: dict[str, int] = field(default_factory=dict)
    deliveries: dict[str, Row] = field(default_factory=dict)
    attempts: dict[str, list[bytes]] = field(default_factory=dict)
    outbox: dict[str, int] = field(default_factory=dict)
    channels: dict[str, MemoryChannel] = field(default_factory=dict)
    listed: dict[str, dict[str, int]] = field(default_factory=dict)
    setups: dict[str, Row] = field(default_factory=dict)
    replays: dict[str, Row] = field(default_factory=dict)
    replays_due: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, TenantRow] = field(default_factory=dict)
    tenant_jobs: dict[str, dict[str, float]] = field(default_factory=dict)
    trimmer_until: int = 0
    keys: dict[str, KeyRow] = field(default_factory=dict)
    breaker: Row = field(default_factory=lambda: Row(0, b""))
    models: dict[str, bytes] = field(default_factory=dict)
    categories: bytes = b""
    synced_at: int | None = None
    workers: dict[str, int] = field(default_factory=dict)
    bell: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    submit_rate: float | None = None
    poll_rate: float | None = None
    wallet: Wallet = field(default_factory=Wallet)
    audit: list[AuditEntry] = field(default_factory=list)
    turns: Turns = field(init=False)
    rung: Callable[[str], None] = lambda _: None
    changed: Callable[[], None] = lambda: None
    told: Told = _nobody
    runs: dict[str, list[int]] = field(default_factory=dict)
    run_counts: Counter[str] = field(default_factory=Counter)
    flights: Flights = field(default_factory=Flights)
    batches: dict[str, BatchRow] = field(default_factory=dict)
    ended_batches: dict[str, int] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """By tenant and digest: the fingerprint of the request, and its job."""
    _asked: tuple[datetime | None, int] = (None, 0)
    """The last answer of the clock, and its milliseconds: asked again at every step."""

    def __post_init__(self) -> None:
        """Dispatch goes by the tenants' limits as they stand."""
        self.turns = Turns(self.limits_of)

    @property
    def now(self) -> int:
        """The present instant in milliseconds."""
        instant = self.clock.now()
        if instant is not self._asked[0]:
            self._asked = (instant, to_ms(instant))
        return self._asked[1]

    def job(self, job_id: str) -> Row | None:
        """A job's row, unless it is gone."""
        return self._live(self.jobs, job_id)

    def delivery(self, delivery_id: str) -> Row | None:
        """A delivery's row, unless it is gone."""
        return self._live(self.deliveries, delivery_id)

    def channel(self, name: str) -> MemoryChannel:
        """A channel, as new where nothing was ever in it."""
        return self.channels.setdefault(name, MemoryChannel())

    def batch(self, batch_id: str) -> BatchRow | None:
        """A batch's row, unless it is gone."""
        return self._live(self.batches, batch_id)

    def every_job(self) -> list[Job]:
        """All records, in the order of their admission."""
        return [JOBS.read(row.doc) for row in self.jobs.values()]

    def limits_of(self, tenant: str) -> Limits:
        """A tenant's limits; none where the record is gone."""
        row = self._live(self.tenants, tenant)
        return Limits() if row is None else TENANTS.read(row.doc).limits

    def reuse_of(self, tenant: str) -> ReusePolicy:
        """What a tenant's submits may share; as is usual where the record is gone."""
        row = self._live(self.tenants, tenant)
        return ReusePolicy() if row is None else TENANTS.read(row.doc).reuse

    def use(self, tenant: str, span: Span, model: str | None = None) -> Use:
        """What a tenant used in a window (of one model): a recount over every job ever admitted."""
        accounts = [
            account
            for account in self.accounts.values()
            if account.tenant == tenant
            and span.name in account.spans
            and model in {None, account.model}
        ]
        found = [account.booking for account in accounts]
        return Use(
            jobs=len(found),
            booking=Booking(
                reserved=sum(booking.reserved for booking in found),
                settled=sum(booking.settled for booking in found),
                released=sum(booking.released for booking in found),
            ),
            reused=sum(account.reused for account in accounts),
            saved=sum(account.saved for account in accounts),
        )

    def ring(self, message: Message) -> None:
        """Leave a message in the queue, and tell whoever listens."""
        self.ring_by_name(message.name)

    def ring_by_name(self, name: str) -> None:
        """As `ring`; of a message, only its name is kept."""
        self.bell[name] = self.now
        self.rung(name)

    def after(self, span: timedelta) -> int:
        """The instant `span` from now, for a row's expiry."""
        return self.now + span // timedelta(milliseconds=1)

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant's row, unless it is gone."""
        return self._live(self.tenants, name)

    def _live(self, rows: dict[str, _R], name: str) -> _R | None:
        row = rows.get(name)
        if row is None or (row.expires_at is not None and row.expires_at <= self.now):
            return None
        return row


def due_first(index: Mapping[str, int], now: int, limit: int) -> list[str]:
    """Ids whose score has come, lowest first, then by name: ZRANGEBYSCORE with a LIMIT."""
    ripe = sorted((score, name) for name, score in index.items() if score <= now)
    return [name for _, name in ripe[:limit]]


def write_due(index: dict[str, int], name: str, due_at: datetime | None) -> None:
    """Set a score, or take the member out."""
    if due_at is None:
        index.pop(name, None)
    else:
        index[name] = to_ms(due_at)
