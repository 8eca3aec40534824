"""The contents of Redis as Python values: one state for all stores of a test.

Instants are milliseconds, as in Redis; records are the bytes of the real codecs.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Protocol, TypeVar

from core.archive import ArchiveMode, ModelArchive
from core.batches import Batch, BatchItem
from core.billing.balance import AccountBalance
from core.billing.charges import Charge
from core.billing.settlement import ReservationTotals
from core.billing.usage import NO_USAGE, Budget, UsageTotals, usage_of_job
from core.billing.usage_history import MAX_ROWS, rows_of_job
from core.clock import Clock, to_ms
from core.files.records import FileUsage, StoredFile
from core.jobs.job import Job
from core.jobs.refusal_costs import RefusalCosts
from core.models.changes import ModelChange
from core.models.pins import ModelPin
from core.operators.audit import AuditRecord
from core.operators.operator import OperatorUsage
from core.store.codecs import API_KEY_CODEC, JOB_CODEC, TENANT_CODEC
from core.store.identity import KEPT_CLAIMS, StorePosition
from core.store.wake_queue import WakeMessage
from core.tenants.api_keys import NO_KEY_LIMITS, KeyLimits
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits
from core.tenants.windows import UTC_CALENDAR, UsageWindow, window_names
from core.webhooks.circuit_breaker import EndpointCircuit
from tests.support.memory_store.coalescing import CoalescingState
from tests.support.memory_store.fair_queue import FairQueue


@dataclass(slots=True)
class StoredRecord:
    """A versioned record. `expires_at` in milliseconds, as Redis' EXPIRE would set it."""

    version: int
    doc: bytes
    input: bytes | None = b""
    output: bytes | None = None
    polls: int = 0
    expires_at: int | None = None
    retained_until: int | None = None
    """End of the tenant's own retention, once no delivery or follower needs the job."""
    journal_entry: int | None = None
    """The number of the journal's entry of the last claim."""


@dataclass(slots=True)
class KeyRow:
    """The fields of a key that an admission reads."""

    tenant: str
    expires_at: int | None
    scopes: frozenset[str]
    doc: bytes
    used: int | None = None


@dataclass(slots=True)
class TenantRow:
    """The fields of a tenant that an admission reads."""

    disabled: bool
    doc: bytes
    expires_at: int | None = None


@dataclass(slots=True)
class BatchRow:
    """A batch as admitted; its counts are computed from its jobs."""

    batch: Batch
    items: tuple[BatchItem, ...]
    finished_at: int | None = None
    expires_at: int | None = None


@dataclass(slots=True)
class FileRow:
    """A file, and the jobs that use it."""

    file: StoredFile
    expires_at: int
    users: set[str] = field(default_factory=set)


_R = TypeVar("_R", StoredRecord, TenantRow, BatchRow)


@dataclass(frozen=True, slots=True)
class JobCharges:
    """A job's reserved, settled and released amounts, and the record as last counted."""

    job: Job
    booking: ReservationTotals
    key: str | None = None
    """The digest of the API key that submitted it, if that has a budget of its own."""

    @property
    def counted(self) -> UsageTotals:
        """What the job counts as."""
        return usage_of_job(self.job, self.booking)


class ChangeListener(Protocol):
    """The subscriber to changes; see `core.store.pubsub.JobChangeListener`."""

    def __call__(self, job_id: str, version: int, *, ended: bool) -> None:
        """Called when a job has a new version."""


def _no_listener(job_id: str, version: int, *, ended: bool) -> None:
    """Ignore the change: there is no subscriber."""
    del job_id, version, ended


@dataclass(slots=True)
class MemoryDeliveryQueue:
    """The deliveries that wait for an endpoint, those in flight, and its circuit."""

    waiting: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    state: EndpointCircuit = field(default_factory=EndpointCircuit)


@dataclass(slots=True)
class MemoryState:
    """The state. `on_due_change` is called after each write to a due index."""

    clock: Clock
    jobs: dict[str, StoredRecord] = field(default_factory=dict)
    timelines: dict[str, list[bytes]] = field(default_factory=dict)
    job_deliveries: dict[str, list[str]] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    archives: dict[str, int] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    in_doubt: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    unreadable_deliveries: dict[str, int] = field(default_factory=dict)
    deliveries: dict[str, StoredRecord] = field(default_factory=dict)
    attempts: dict[str, list[bytes]] = field(default_factory=dict)
    outbox: dict[str, int] = field(default_factory=dict)
    tenant_queues: dict[str, dict[str, int]] = field(default_factory=dict)
    delivery_queues: dict[str, MemoryDeliveryQueue] = field(default_factory=dict)
    job_index: dict[str, dict[str, int]] = field(default_factory=dict)
    webhook_configs: dict[str, StoredRecord] = field(default_factory=dict)
    replays: dict[str, StoredRecord] = field(default_factory=dict)
    replays_due: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, TenantRow] = field(default_factory=dict)
    tenant_jobs: dict[str, dict[str, float]] = field(default_factory=dict)
    locks: dict[str, int] = field(default_factory=dict)
    """When each lock ends, by name."""
    keys: dict[str, KeyRow] = field(default_factory=dict)
    circuit_breakers: dict[str, bytes] = field(default_factory=dict)
    waiting_for: dict[str, dict[str, float]] = field(default_factory=dict)
    """By what they wait for, the prices of the waiting jobs; infinite if unknown."""
    models: dict[str, bytes] = field(default_factory=dict)
    categories: bytes = b""
    synced_at: int | None = None
    sync_requested_at: int | None = None
    model_changes: list[ModelChange] = field(default_factory=list)
    model_pins: dict[tuple[str, str], ModelPin] = field(default_factory=dict)
    sync_claim_ends_at: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    wake_queue: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, JobCharges] = field(default_factory=dict)
    windows: dict[tuple[str, str], UsageTotals] = field(default_factory=dict)
    """By tenant and name."""
    charges: dict[date, dict[str, Charge]] = field(default_factory=dict)
    usage_rows: dict[tuple[str, date], dict[str, str]] = field(default_factory=dict)
    """The rows of each tenant's days, with their dimension."""
    rates: dict[str, float] = field(default_factory=dict)
    call_rates: dict[tuple[str, str], float] = field(default_factory=dict)
    submit_rate: float | None = None
    poll_rate: float | None = None
    account_balance: AccountBalance = field(default_factory=AccountBalance)
    audit: dict[str | None, list[tuple[int, AuditRecord]]] = field(default_factory=dict)
    """Records with the time of writing, by tenant; None: operators'."""
    operators: dict[str, OperatorUsage] = field(default_factory=dict)
    console_sessions: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    """Documents and when each expires, by digest."""
    fair_queue: FairQueue = field(init=False)
    on_wake: Callable[[str], None] = lambda _: None
    on_due_change: Callable[[], None] = lambda: None
    on_job_change: ChangeListener = _no_listener
    run_times: dict[str, list[int]] = field(default_factory=dict)
    run_counts: Counter[str] = field(default_factory=Counter)
    refusal_costs: dict[str, RefusalCosts] = field(default_factory=dict)
    coalescing: CoalescingState = field(default_factory=CoalescingState)
    batches: dict[str, BatchRow] = field(default_factory=dict)
    completed_batches: dict[str, int] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Request fingerprint and job id, by tenant and digest of the idempotency key."""
    position: StorePosition | None = None
    account: str = ""
    upstream_ids: dict[str, str] = field(default_factory=dict)
    disconnects: int = 0
    connections: int = 1
    claim_log: list[str] = field(default_factory=list)
    files: dict[str, FileRow] = field(default_factory=dict)
    uploaded_bytes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By tenant and day."""
    _last_reading: tuple[datetime | None, int] = (None, 0)
    """The last instant of the clock and its milliseconds, cached: it is read at every step."""

    def __post_init__(self) -> None:
        """Let the fair queue read the current limits of the tenants."""
        self.fair_queue = FairQueue(self.limits_of)

    @property
    def now(self) -> int:
        """The present instant in milliseconds."""
        instant = self.clock.now()
        if instant is not self._last_reading[0]:
            self._last_reading = (instant, to_ms(instant))
        return self._last_reading[1]

    def count_claim(self, job: Job, *words: str) -> None:
        """Move the store's position, as each claim of a submit and each restored job does."""
        at = job.sent_at or job.created_at
        self.jobs[job.id].journal_entry = None
        claim = (job.id, f"{at.timestamp() * 1_000_000:.0f}", *words)
        self.claim_log.append(" ".join(claim))
        del self.claim_log[:-KEPT_CLAIMS]
        held = self.position
        if held is not None:
            self.position = replace(held, claims=held.claims + 1)

    def job(self, job_id: str) -> StoredRecord | None:
        """A job's row; None if expired or missing."""
        return self._live(self.jobs, job_id)

    def delivery(self, delivery_id: str) -> StoredRecord | None:
        """A delivery's row; None if expired or missing."""
        return self._live(self.deliveries, delivery_id)

    def delivery_queue(self, name: str) -> MemoryDeliveryQueue:
        """A delivery queue, empty if new."""
        return self.delivery_queues.setdefault(name, MemoryDeliveryQueue())

    def batch(self, batch_id: str) -> BatchRow | None:
        """A batch's row; None if expired or missing."""
        return self._live(self.batches, batch_id)

    def all_jobs(self) -> list[Job]:
        """All job records in the order of their admission."""
        return [JOB_CODEC.decode(row.doc) for row in self.jobs.values()]

    def budget_of(self, tenant: str) -> Budget:
        """A tenant's budgets; none if the record is missing."""
        row = self._live(self.tenants, tenant)
        return Budget(Limits()) if row is None else Budget.of_tenant(TENANT_CODEC.decode(row.doc))

    def limits_of(self, tenant: str) -> Limits:
        """A tenant's limits; none if the record is missing."""
        row = self._live(self.tenants, tenant)
        return Limits() if row is None else TENANT_CODEC.decode(row.doc).limits

    def stored_bytes_of(self, tenant: str) -> int:
        """The size of a tenant's inputs and outputs."""
        rows = (self.job(job_id) for job_id in self.tenant_jobs.get(tenant, {}))
        return sum(len(row.input or b"") + len(row.output or b"") for row in rows if row)

    def file_usage(self, tenant: str) -> FileUsage:
        """What a tenant's files take."""
        today = f"{UTC_CALENDAR.day_of(self.clock.now()):%Y%m%d}"
        stored = sum(row.file.bytes for row in self.files.values() if row.file.tenant == tenant)
        return FileUsage(stored, self.uploaded_bytes.get((tenant, today), 0))

    def archive_mode_of(self, tenant: str, model: ModelArchive) -> ArchiveMode:
        """When a request's outputs are kept; as its model says if the record is missing."""
        row = self._live(self.tenants, tenant)
        return model.mode_for(None if row is None else TENANT_CODEC.decode(row.doc).archive)

    def cache_policy_of(self, tenant: str) -> TenantCachePolicy:
        """A tenant's cache policy; the default if the record is missing."""
        row = self._live(self.tenants, tenant)
        return TenantCachePolicy() if row is None else TENANT_CODEC.decode(row.doc).cache_policy

    def waiting_count(self, tenant: str) -> int:
        """The number of a tenant's jobs that wait for their turn or for something else."""
        elsewhere = (name for waiting in self.waiting_for.values() for name in waiting)
        own = sum(JOB_CODEC.decode(self.jobs[name].doc).tenant == tenant for name in elsewhere)
        return self.fair_queue.waiting_count(tenant) + own

    def used_by_key(self, digest: str, window: UsageWindow) -> int:
        """What counts against the budget of an API key in a window."""
        return sum(
            account.booking.used
            for account in self.accounts.values()
            if account.key == digest and window.name in window_names(account.job.usage_day)
        )

    def key_limits(self, digest: str) -> KeyLimits:
        """The limits of an API key; none for a revoked one."""
        row = self.keys.get(digest)
        return NO_KEY_LIMITS if row is None else API_KEY_CODEC.decode(row.doc).limits

    def usage_in(self, tenant: str, name: str) -> UsageTotals:
        """A tenant's usage in the window of that name."""
        return self.windows.get((tenant, name), NO_USAGE)

    def windows_of(self, tenant: str) -> dict[str, UsageTotals]:
        """All windows in which a tenant has jobs, by name."""
        return {name: use for (owner, name), use in self.windows.items() if owner == tenant}

    def count(self, job: Job, booking: ReservationTotals, key: str | None = None) -> None:
        """Count a job that is admitted or restored: rows that its day has not yet are created."""
        self._book(NO_USAGE, JobCharges(job, booking, key))
        rows = self.usage_rows.setdefault((job.tenant, job.usage_day), {})
        for name in rows_of_job(job):
            kind = name.partition("|")[0]
            if name not in rows and sum(of == kind for of in rows.values()) < MAX_ROWS:
                rows[name] = kind

    def recount(self, job: Job, booking: ReservationTotals | None = None) -> None:
        """Count a job as its record is now, with other amounts if there are any."""
        before = self.accounts[job.id]
        after = replace(before, job=job, booking=booking or before.booking)
        self._book(before.counted, after)

    def _book(self, before: UsageTotals, after: JobCharges) -> None:
        self.accounts[after.job.id] = after
        if after.counted == before:
            return
        change = UsageTotals(*map(int.__sub__, after.counted.numbers, before.numbers))
        for name in window_names(after.job.usage_day):
            owner = (after.job.tenant, name)
            self.windows[owner] = self.windows.get(owner, NO_USAGE) + change

    def wake(self, wake_message: WakeMessage) -> None:
        """Add a wake-up message and call the listener."""
        self.wake_by_name(wake_message.name)

    def wake_by_name(self, name: str) -> None:
        """As `wake`; only the message's name is kept."""
        self.wake_queue[name] = self.now
        self.on_wake(name)

    def ms_after(self, span: timedelta) -> int:
        """The instant `span` from now, for a row's expiry."""
        return self.now + span // timedelta(milliseconds=1)

    def acquire_lock(self, name: str, owner: str, lease: timedelta) -> bool:
        if not owner or self.now < self.locks.get(name, 0):
            return False
        self.locks[name] = self.ms_after(lease)
        return True

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant's row; None if missing."""
        return self._live(self.tenants, name)

    def _live(self, rows: dict[str, _R], name: str) -> _R | None:
        row = rows.get(name)
        if row is None or (row.expires_at is not None and row.expires_at <= self.now):
            return None
        return row


def due_members(index: Mapping[str, int], now: int, limit: int) -> list[str]:
    """Ids whose score is due, lowest first, then by name: ZRANGEBYSCORE with a LIMIT."""
    ripe = sorted((score, name) for name, score in index.items() if score <= now)
    return [name for _, name in ripe[:limit]]


def set_score(index: dict[str, int], name: str, instant: datetime | None) -> None:
    """Set a score, or remove the member."""
    if instant is None:
        index.pop(name, None)
    else:
        index[name] = to_ms(instant)
