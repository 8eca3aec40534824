"""One Protocol per store, for callers that also run over the in-memory stores of the tests.

The classes of this package implement them over Redis and document each method in full.
Every method may raise `StoreUnavailable`.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

from core.batches import Batch, BatchSnapshot
from core.billing.balance import AccountBalance
from core.billing.charges import Charge
from core.billing.thresholds import ReachedThreshold
from core.billing.usage import Budget, Usage, UsageTotals
from core.billing.usage_history import DayUsage, Dimension
from core.files.records import CountedFile, FileEntry, FileRemoval, FileUsage, StoredFile
from core.jobs.job import Job, JobRecord, WaitingFor
from core.jobs.query import Cursor, JobQuery
from core.jobs.refusal_costs import RefusalCosts
from core.jobs.run_times import RunHistory
from core.jobs.submission import Submission
from core.models.changes import ModelChange
from core.models.pins import ModelPin
from core.money import MicroUsd
from core.operators.audit import AuditEntry, AuditRecord
from core.operators.operator import Operator, OperatorUsage
from core.operators.pauses import Pause
from core.page import Page
from core.quotas import CallRate
from core.store.admin import UnreadableJob
from core.store.deliveries import AttemptWriteResult, UnreadableDelivery
from core.store.files import DueFile
from core.store.job_index import DeletionResult
from core.store.jobs import JobView, Projection
from core.store.model_catalogue import CatalogueSnapshot
from core.store.worker_heartbeats import Durability
from core.tenants.api_keys import ApiKey, ApiKeyUsage, Credential, Scope
from core.tenants.limits import GlobalLimits
from core.tenants.tenant import Tenant
from core.tenants.windows import UsageWindow
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
    IdempotencyClaim,
)
from core.transactions.job_update import Change, WriteResult
from core.transactions.restoration import Restoration, RestorationResult
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.upstream.circuit_breaker import CircuitBreaker
from core.upstream.circuits import Circuits
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.delivery import (
    CircuitUpdate,
    ClaimedDelivery,
    Delivery,
    DeliveryAttempt,
    DeliveryRange,
    DeliveryUpdate,
)
from core.webhooks.endpoint import RedisStream
from core.webhooks.replay import Replay


class JobRepository(Protocol):
    """Jobs. See `core.store.jobs.JobStore`."""

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None: ...

    async def admit(self, admission: Admission) -> AdmissionResult: ...

    async def find_replay(
        self, credential: Credential, claim: IdempotencyClaim
    ) -> AdmissionResult | None: ...

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView: ...

    async def load(self, job_id: str) -> JobRecord | None: ...

    async def load_view(self, job_id: str) -> JobView | None: ...

    async def load_input(self, job_id: str) -> bytes | None: ...

    async def load_submission(self, job: Job) -> Submission | None: ...

    async def find_by_upstream_id(self, upstream_id: str) -> str | None: ...

    async def store(self, change: Change) -> WriteResult: ...

    async def restore(self, restoration: Restoration) -> RestorationResult: ...

    async def load_successor(self, job_id: str) -> Job | None: ...

    async def load_leader(self, job: Job) -> JobRecord | None: ...

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Job]: ...

    async def reschedule(
        self, job: Job, next_run_at: datetime, *, polled: bool = False
    ) -> bool: ...

    async def claim_archives(self, lease: timedelta, limit: int) -> Sequence[Job]: ...

    async def postpone_archive(self, job_id: str, due_at: datetime) -> None: ...

    async def wake_waiting(self, waiting_for: WaitingFor) -> int: ...

    async def find_cheapest_waiting(self, waiting_for: WaitingFor) -> str | None: ...

    async def list_in_doubt(self, limit: int) -> Sequence[Job]: ...

    async def list_unsubmitted(self) -> Sequence[Job]: ...


class JobIndexRepository(Protocol):
    """Tenants' lists of jobs. See `core.store.job_index.JobIndex`."""

    async def list_page(self, credential: Credential, query: JobQuery) -> Page[Job, Cursor]: ...

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> Page[Job, Cursor]: ...

    async def delete(self, job: Job) -> DeletionResult: ...

    async def prune(
        self, tenant: str, offset: int, created_before: datetime
    ) -> tuple[int, int | None]: ...

    async def acquire_prune_lock(self, worker: str, lease: timedelta) -> bool: ...


class BatchRepository(Protocol):
    """Batches. See `core.store.batches.BatchStore`."""

    async def admit(self, admission: BatchAdmission) -> BatchAdmissionResult: ...

    async def find_replay(self, credential: Credential, claim: IdempotencyClaim) -> str | None: ...

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        indexes: range,
        scope: Scope = Scope.READ,
    ) -> BatchSnapshot: ...

    async def list_page(
        self, credential: Credential, after: str | None, limit: int
    ) -> Page[BatchSnapshot, str]: ...

    async def claim_completed(self, lease: timedelta, limit: int) -> Sequence[Batch]: ...

    async def claim_unwritten(self, limit: int) -> Sequence[str]: ...

    async def write_rest(self, batch_id: str) -> None: ...

    async def load(self, batch_id: str) -> BatchSnapshot | None: ...

    async def list_jobs(self, batch_id: str) -> Sequence[Job]: ...

    async def complete(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool: ...


class BudgetThresholdRepository(Protocol):
    """Notified thresholds. See `core.store.budget_thresholds.BudgetThresholdStore`."""

    async def acquire_threshold_lock(self, worker: str, lease: timedelta) -> bool: ...

    async def load_notified(self, tenant: str, window: UsageWindow) -> int: ...

    async def notify(
        self, tenant: str, reached: ReachedThreshold, deliveries: tuple[Delivery, ...]
    ) -> bool: ...


class DeliveryRepository(Protocol):
    """Webhook deliveries. See `core.store.deliveries.DeliveryStore`."""

    async def claim_due(
        self, lease: timedelta, limit: int, in_flight: Mapping[str, int] | None = None
    ) -> Sequence[ClaimedDelivery]: ...

    async def complete_attempt(self, completion: DeliveryUpdate) -> AttemptWriteResult: ...

    async def load_circuit(self, name: str) -> EndpointCircuit: ...

    async def update_circuit(self, update: CircuitUpdate) -> bool: ...

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool: ...

    async def load(self, delivery_id: str) -> Delivery | None: ...

    async def load_own(self, tenant: str, delivery_id: str) -> Delivery | None: ...

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]: ...

    async def list_oldest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]: ...

    async def list_newest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]: ...

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableDelivery]: ...

    async def requeue_unreadable(self, delivery_id: str) -> bool: ...


class WebhookConfigRepository(Protocol):
    """Tenants' webhook endpoints. See `core.store.webhook_endpoints.WebhookConfigStore`."""

    async def load(self, tenant: str) -> WebhookConfig | None: ...

    async def load_versioned(self, tenant: str) -> VersionedConfig: ...

    async def list_tenants(self) -> frozenset[str]: ...

    async def update(self, update: WebhookConfigUpdate) -> bool: ...


class ReplayRepository(Protocol):
    """Replays of webhook deliveries. See `core.store.webhook_replays.ReplayStore`."""

    async def load(self, tenant: str) -> Replay: ...

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]: ...

    async def update(self, before: Replay, after: Replay, due_at: datetime) -> bool: ...


class EventStreamWriter(Protocol):
    """Redis streams that tenants read. See `core.store.event_streams.EventStreams`."""

    async def append(self, tenant: str, stream: RedisStream, event: bytes) -> None: ...


class TenantRepository(Protocol):
    """Tenants and their API keys. See `core.store.tenants.TenantStore`."""

    async def create(
        self, tenant: Tenant, key: ApiKey, config: WebhookConfig | None = None
    ) -> bool: ...

    async def load(self, name: str) -> Tenant | None: ...

    async def list_names(self) -> frozenset[str]: ...

    async def change(self, before: Tenant, after: Tenant) -> bool: ...

    async def delete(self, before: Tenant, after: Tenant) -> bool: ...

    async def add_key(self, key: ApiKey) -> bool: ...

    async def revoke_key(self, tenant: str, digest: str) -> bool: ...

    async def list_keys(self, tenant: str) -> Sequence[ApiKeyUsage]: ...

    async def read_usage(
        self, tenant: str, budget: Budget, now: datetime, *, by_model: bool = False
    ) -> Usage: ...


class AdminRepository(Protocol):
    """Limits, pauses and balance. See `core.store.admin.AdminStore`."""

    async def load_limits(self) -> GlobalLimits: ...

    async def set_limits(self, limits: GlobalLimits, base: GlobalLimits | None = None) -> None: ...

    async def list_pauses(self) -> Sequence[Pause]: ...

    async def pause(self, pause: Pause) -> bool: ...

    async def resume(self, pause: Pause) -> bool: ...

    async def dispatch(self) -> int: ...

    async def load_balance(self) -> AccountBalance: ...

    async def store_balance(self, balance: AccountBalance) -> None: ...

    async def set_minimum_balance(self, minimum: MicroUsd | None) -> None: ...

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableJob]: ...

    async def requeue_unreadable(self, job_id: str) -> bool: ...


class AuditLogRepository(Protocol):
    """The audit log. See `core.store.audit.AuditLogStore`."""

    async def append(self, entry: AuditEntry, tenant: str | None = None) -> None: ...

    async def list_entries(self, limit: int, tenant: str | None = None) -> Sequence[AuditEntry]: ...

    def read_records(self, tenant: str | None = None) -> AsyncIterator[AuditRecord]: ...


class OperatorRepository(Protocol):
    """Operators and their tokens. See `core.store.operators.OperatorStore`."""

    async def add(self, operator: Operator) -> bool: ...

    async def find(self, name: str, digest: str) -> Operator | None: ...

    async def revoke(self, name: str) -> bool: ...

    async def list_all(self) -> Sequence[OperatorUsage]: ...


class ConsoleSessionRepository(Protocol):
    """Sessions of the console. See `core.store.console_sessions.ConsoleSessionStore`."""

    async def add(self, digest: str, document: bytes, lifetime: timedelta) -> None: ...

    async def load(self, digest: str) -> bytes | None: ...

    async def take(self, digest: str) -> bytes | None: ...


class CircuitBreakerRepository(Protocol):
    """Circuit breakers for submits. See `core.store.circuit_breaker.CircuitBreakerStore`."""

    async def load(self, model_id: str) -> Circuits: ...

    async def load_all(self) -> Mapping[str, CircuitBreaker]: ...

    async def compare_and_set(
        self, name: str, before: CircuitBreaker, after: CircuitBreaker
    ) -> bool: ...

    async def take_submit_token(self) -> datetime | None: ...


class CatalogueRepository(Protocol):
    """RunComfy's model catalogue. See `core.store.model_catalogue.CatalogueStore`."""

    async def replace(self, snapshot: CatalogueSnapshot) -> None: ...

    async def synced_at(self) -> datetime | None: ...

    async def model_ids(self) -> frozenset[str]: ...

    async def append_change(self, change: ModelChange) -> None: ...

    async def list_changes(self, limit: int) -> Sequence[ModelChange]: ...

    async def request_sync(self, now: datetime) -> None: ...

    async def is_sync_requested(self) -> bool: ...

    async def claim_requested_sync(self, interval: timedelta) -> bool: ...

    async def load(self) -> CatalogueSnapshot: ...


class ModelPinRepository(Protocol):
    """Pins of models. See `core.store.model_pins.ModelPinStore`."""

    async def put(self, pin: ModelPin) -> None: ...

    async def remove(self, tenant: str, model_id: str) -> bool: ...

    async def list_all(self) -> Sequence[ModelPin]: ...


class RunTimeRepository(Protocol):
    """Run times of finished jobs. See `core.store.run_times.RunTimeStore`."""

    async def load_counts(self) -> Mapping[str, int]: ...

    async def load_refusal_costs(self) -> Mapping[str, RefusalCosts]: ...

    async def load(self, models: Iterable[str]) -> Mapping[str, RunHistory]: ...


class HeartbeatRepository(Protocol):
    """Heartbeats of the workers. See `core.store.worker_heartbeats.WorkerHeartbeats`."""

    async def record(self, worker: str) -> None: ...

    async def remove(self, worker: str) -> None: ...

    async def last_seen(self) -> datetime | None: ...

    async def load_durability(self) -> Durability: ...


class FileRepository(Protocol):
    """Records of uploaded files. See `core.store.files.FileStore`."""

    async def add(self, file: StoredFile) -> FileEntry: ...

    async def add_upload(self, file: StoredFile) -> FileEntry: ...

    async def find_upload(self, file: StoredFile) -> FileEntry: ...

    async def load(self, file_id: str) -> FileEntry | None: ...

    async def list_page(self, tenant: str, cursor: str, limit: int) -> Page[FileEntry, str]: ...

    async def list_counted(
        self, tenant: str, cursor: str, limit: int
    ) -> Page[CountedFile, str]: ...

    async def is_user(self, job_id: str, file_id: str) -> bool: ...

    async def use(self, tenant: str, job_id: str, file_ids: Collection[str]) -> bool: ...

    async def remove(self, tenant: str, file_id: str) -> FileRemoval: ...

    async def expire(self, due: DueFile) -> FileRemoval: ...

    async def list_due(self, limit: int) -> Sequence[DueFile]: ...

    async def acquire_orphan_check_lock(self, worker: str, lease: timedelta) -> bool: ...

    async def read_usage(self, tenant: str, now: datetime) -> FileUsage: ...


class UsageHistoryRepository(Protocol):
    """Usage by day. See `core.store.usage_history.UsageHistoryStore`."""

    async def read_windows(self, tenant: str) -> Mapping[str, UsageTotals]: ...

    def read_days(
        self, tenant: str, first: date, last: date, dimension: Dimension | None = None
    ) -> AsyncIterator[DayUsage]: ...

    async def list_tenants(self, since: date) -> Sequence[str]: ...

    async def read_charges(self, day: date) -> Mapping[str, Charge]: ...
