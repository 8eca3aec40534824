"""What the HTTP face needs from outside: only the methods that it calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from core.batches import BatchView
from core.billing.usage import Usage
from core.circuit_breaker import Breaker
from core.jobs.job import Job
from core.jobs.query import JobPage, JobQuery
from core.store.batches import BatchPage, ItemSpan
from core.store.deliveries import Span
from core.store.job_index import Deletion
from core.store.jobs import Depth, JobView
from core.store.model_catalogue import CatalogueSnapshot
from core.store.webhook_endpoints import SetupChange
from core.tenants.api_keys import Credential, Scope
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission, Admitted, BatchAdmission, BatchAdmitted
from core.transactions.job_update import Change, Outcome
from core.webhooks.circuit_breaker import Channel
from core.webhooks.config import MarkedSetup, WebhookSetup
from core.webhooks.delivery import ChannelMove, Delivery, DeliveryAttempt
from core.webhooks.replay import Replay


class Jobs(Protocol):
    """Jobs, for the holders of keys. Every call may raise `StoreUnavailable`."""

    async def authenticate(self, credential: Credential, scope: Scope | None = None) -> None:
        """See `core.store.jobs.JobStore.authenticate`."""
        ...

    async def admit(self, admission: Admission) -> Admitted:
        """See `core.store.jobs.JobStore.admit`."""
        ...

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        """See `core.store.jobs.JobStore.read`."""
        ...

    async def store(self, change: Change) -> Outcome:
        """See `core.store.jobs.JobStore.store`."""
        ...

    async def heir(self, job_id: str) -> Job | None:
        """See `core.store.jobs.JobStore.heir`."""
        ...


class Batches(Protocol):
    """Batches, for the holders of keys. Every call may raise `StoreUnavailable`."""

    async def admit(self, admission: BatchAdmission) -> BatchAdmitted:
        """See `core.store.batches.BatchStore.admit`."""
        ...

    async def read(
        self, credential: Credential, batch_id: str, span: ItemSpan, scope: Scope = Scope.READ
    ) -> BatchView:
        """See `core.store.batches.BatchStore.read`."""
        ...

    async def newest_first(
        self, credential: Credential, after: str | None, limit: int
    ) -> BatchPage:
        """See `core.store.batches.BatchStore.newest_first`."""
        ...


class ListedJobs(Protocol):
    """Tenants' jobs as lists. Every call may raise `StoreUnavailable`."""

    async def page(self, credential: Credential, query: JobQuery) -> JobPage:
        """See `core.store.job_index.ListedJobs.page`."""
        ...

    async def page_of(self, tenant: str, query: JobQuery) -> JobPage:
        """See `core.store.job_index.ListedJobs.page_of`."""
        ...

    async def delete(self, job: Job) -> Deletion:
        """See `core.store.job_index.ListedJobs.delete`."""
        ...


class Tenants(Protocol):
    """Tenants, by name."""

    async def load(self, name: str) -> Tenant | None:
        """One tenant."""
        ...


class Setups(Protocol):
    """Tenants' endpoints and secrets. See `core.store.webhook_endpoints.WebhookStore`."""

    async def load(self, tenant: str) -> WebhookSetup | None:
        """A tenant's; None for an unknown tenant."""
        ...

    async def marked(self, tenant: str) -> MarkedSetup:
        """The same with their mark; none for an unknown tenant."""
        ...

    async def change(self, change: SetupChange) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class Deliveries(Protocol):
    """Callbacks. See `core.store.deliveries.DeliveryStore`."""

    async def load(self, delivery_id: str) -> Delivery | None:
        """One of them."""
        ...

    async def attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """What each attempt met, oldest first."""
        ...

    async def newest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """Ids of a tenant's."""
        ...

    async def post(self, before: Delivery | None, after: Delivery) -> bool:
        """Write one to be sent, unless somebody was first."""
        ...

    async def channel(self, name: str) -> Channel:
        """The breaker over a channel."""
        ...

    async def move_channel(self, move: ChannelMove) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class Replays(Protocol):
    """What is to be sent anew. See `core.store.webhook_replays.ReplayStore`."""

    async def load(self, tenant: str) -> Replay:
        """A tenant's."""
        ...

    async def move(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """Store the next one, unless somebody was first."""
        ...


class UsageOf(Protocol):
    """What tenants used."""

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """See `core.store.usage.UsageStore.read`."""
        ...


class Breakers(Protocol):
    """Whether submits may leave for RunComfy."""

    async def load(self) -> Breaker:
        """The breaker as the workers left it."""
        ...


class Catalogue(Protocol):
    """RunComfy's catalogue as the worker left it."""

    async def synced_at(self) -> datetime | None:
        """When it was last read."""
        ...

    async def load(self) -> CatalogueSnapshot:
        """The whole of it."""
        ...


class Health(Protocol):
    """Whether workers are there."""

    async def last_seen(self) -> datetime | None:
        """When any worker was last seen. Raises `StoreUnavailable`."""
        ...


class Exposition(Protocol):
    """Figures for a scraper."""

    content_type: str

    async def render(self) -> bytes:
        """The present figures."""
        ...
