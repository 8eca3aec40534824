"""What the HTTP face needs from outside: only the methods that it calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from core.batches import BatchSnapshot
from core.billing.usage import Usage
from core.circuit_breaker import CircuitBreaker
from core.jobs.job import Job
from core.jobs.query import JobPage, JobQuery
from core.store.batches import BatchPage, ItemSlice
from core.store.deliveries import DeliveryRange
from core.store.job_index import DeletionResult
from core.store.jobs import JobView, Projection
from core.store.model_catalogue import CatalogueSnapshot
from core.store.webhook_endpoints import WebhookConfigUpdate
from core.tenants.api_keys import Credential, Scope
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
)
from core.transactions.job_update import Change, WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.delivery import CircuitUpdate, Delivery, DeliveryAttempt
from core.webhooks.replay import Replay


class JobAccess(Protocol):
    """Jobs, for the holders of keys. Every call may raise `StoreUnavailable`."""

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `core.store.jobs.JobStore.authenticate`."""
        ...

    async def admit(self, admission: Admission) -> AdmissionResult:
        """See `core.store.jobs.JobStore.admit`."""
        ...

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        """See `core.store.jobs.JobStore.read`."""
        ...

    async def store(self, change: Change) -> WriteResult:
        """See `core.store.jobs.JobStore.store`."""
        ...

    async def load_successor(self, job_id: str) -> Job | None:
        """See `core.store.jobs.JobStore.heir`."""
        ...


class BatchAccess(Protocol):
    """Batches, for the holders of keys. Every call may raise `StoreUnavailable`."""

    async def admit(self, admission: BatchAdmission) -> BatchAdmissionResult:
        """See `core.store.batches.BatchStore.admit`."""
        ...

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        item_slice: ItemSlice,
        scope: Scope = Scope.READ,
    ) -> BatchSnapshot:
        """See `core.store.batches.BatchStore.read`."""
        ...

    async def list_page(self, credential: Credential, after: str | None, limit: int) -> BatchPage:
        """See `core.store.batches.BatchStore.newest_first`."""
        ...


class JobIndexAccess(Protocol):
    """Tenants' jobs as lists. Every call may raise `StoreUnavailable`."""

    async def list_page(self, credential: Credential, query: JobQuery) -> JobPage:
        """See `core.store.job_index.ListedJobs.page`."""
        ...

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> JobPage:
        """See `core.store.job_index.ListedJobs.list_page_for_tenant`."""
        ...

    async def delete(self, job: Job) -> DeletionResult:
        """See `core.store.job_index.ListedJobs.delete`."""
        ...


class TenantAccess(Protocol):
    """Tenants, by name."""

    async def load(self, name: str) -> Tenant | None:
        """One tenant."""
        ...


class WebhookConfigAccess(Protocol):
    """Tenants' endpoints and secrets. See `core.store.webhook_endpoints.WebhookConfigStore`."""

    async def load(self, tenant: str) -> WebhookConfig | None:
        """A tenant's; None for an unknown tenant."""
        ...

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        """The same with their mark; none for an unknown tenant."""
        ...

    async def update(self, update: WebhookConfigUpdate) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class DeliveryAccess(Protocol):
    """Callbacks. See `core.store.deliveries.DeliveryStore`."""

    async def load(self, delivery_id: str) -> Delivery | None:
        """One of them."""
        ...

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """What each attempt met, oldest first."""
        ...

    async def list_newest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """Ids of a tenant's."""
        ...

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool:
        """Write one to be sent, unless somebody was first."""
        ...

    async def load_circuit(self, name: str) -> EndpointCircuit:
        """The breaker over a channel."""
        ...

    async def update_circuit(self, update: CircuitUpdate) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class ReplayAccess(Protocol):
    """What is to be sent anew. See `core.store.webhook_replays.ReplayStore`."""

    async def load(self, tenant: str) -> Replay:
        """A tenant's."""
        ...

    async def update(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class UsageAccess(Protocol):
    """What tenants used."""

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """See `core.store.usage.UsageStore.read`."""
        ...


class CircuitBreakerAccess(Protocol):
    """Whether submits may leave for RunComfy."""

    async def load(self) -> CircuitBreaker:
        """The breaker as the workers left it."""
        ...


class CatalogueAccess(Protocol):
    """RunComfy's catalogue as the worker left it."""

    async def synced_at(self) -> datetime | None:
        """When it was last read."""
        ...

    async def load(self) -> CatalogueSnapshot:
        """The whole of it."""
        ...


class WorkerHeartbeatAccess(Protocol):
    """Whether workers are there."""

    async def last_seen(self) -> datetime | None:
        """When any worker was last seen. Raises `StoreUnavailable`."""
        ...


class MetricsRenderer(Protocol):
    """Figures for a scraper."""

    content_type: str

    async def render(self) -> bytes:
        """The present figures."""
        ...
