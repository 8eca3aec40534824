"""What an operator's act works with: the stores, time, names, and who acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.billing.balance import AccountBalance
from core.billing.usage import Usage
from core.clock import Clock
from core.ids import IdSource
from core.jobs.job import Job, JobRecord
from core.jobs.query import JobPage, JobQuery
from core.money import MicroUsd
from core.observability.events import AdminAction, Emit
from core.operations import AuditEntry, Pause
from core.store.jobs import JobView
from core.tenants.api_keys import ApiKey, ApiKeyUsage
from core.tenants.limits import GlobalLimits, Limits
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, WriteResult
from core.webhooks.config import VersionedConfig, WebhookConfig
from core.webhooks.url_policy import TargetPolicy


class AdminTenantAccess(Protocol):
    """See `core.store.tenants.TenantStore`."""

    async def create(self, tenant: Tenant, key: ApiKey) -> bool: ...

    async def load(self, name: str) -> Tenant | None: ...

    async def list_names(self) -> frozenset[str]: ...

    async def change(self, before: Tenant, after: Tenant) -> bool: ...

    async def delete(self, before: Tenant, after: Tenant) -> bool: ...

    async def add_key(self, key: ApiKey) -> bool: ...

    async def revoke_key(self, tenant: str, digest: str) -> bool: ...

    async def list_keys(self, tenant: str) -> Sequence[ApiKeyUsage]: ...


class AdminJobAccess(Protocol):
    """See `core.store.jobs.JobStore`: every tenant's jobs."""

    async def load(self, job_id: str) -> JobRecord | None: ...

    async def load_view(self, job_id: str) -> JobView | None: ...

    async def store(self, change: Change) -> WriteResult: ...

    async def list_in_doubt(self, limit: int) -> Sequence[Job]: ...


class AdminJobIndexAccess(Protocol):
    """See `core.store.job_index.ListedJobs`."""

    async def list_page_for_tenant(self, tenant: str, query: JobQuery) -> JobPage: ...


class AdminWebhookConfigAccess(Protocol):
    """See `core.store.webhook_endpoints.WebhookConfigStore`."""

    async def load(self, tenant: str) -> WebhookConfig | None: ...

    async def load_versioned(self, tenant: str) -> VersionedConfig: ...


class AdminOperationsAccess(Protocol):
    """See `core.store.operations.OperationsStore`."""

    async def load_limits(self) -> GlobalLimits: ...

    async def set_limits(self, limits: GlobalLimits, base: GlobalLimits | None = None) -> None: ...

    async def list_pauses(self) -> Sequence[Pause]: ...

    async def pause(self, pause: Pause) -> None: ...

    async def resume(self, pause: Pause) -> None: ...

    async def load_balance(self) -> AccountBalance: ...

    async def set_minimum_balance(self, minimum: MicroUsd | None) -> None: ...

    async def append_audit_entry(self, entry: AuditEntry) -> None: ...

    async def list_audit_entries(self, limit: int) -> Sequence[AuditEntry]: ...


class AdminUsageAccess(Protocol):
    """See `core.store.usage.UsageStore`."""

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage: ...


@dataclass(frozen=True, slots=True)
class AdminContext:
    """An operator at work. `actor` names who it is in the audit log."""

    actor: str
    tenants: AdminTenantAccess
    jobs: AdminJobAccess
    job_index: AdminJobIndexAccess
    webhook_configs: AdminWebhookConfigAccess
    operations: AdminOperationsAccess
    usage: AdminUsageAccess
    clock: Clock
    ids: IdSource
    target_policy: TargetPolicy
    emit: Emit

    async def record_action(self, action: str, subject: str, change: str = "") -> None:
        """Write down what was done; `change` holds no secret."""
        entry = AuditEntry(self.clock.now(), self.actor, action, subject, change)
        await self.operations.append_audit_entry(entry)
        self.emit(AdminAction(self.actor, action, subject, change))
