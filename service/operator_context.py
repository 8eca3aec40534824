"""What an operator's act works with: the stores, time, names, and who acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.billing.balance import Wallet
from core.billing.usage import Usage
from core.clock import Clock
from core.ids import IdSource
from core.jobs.job import Job, JobRecord
from core.jobs.query import JobPage, JobQuery
from core.money import MicroUsd
from core.observability.events import AdminAction, Emit
from core.operations import AuditEntry, Pause
from core.store.jobs import JobView
from core.tenants.api_keys import KeyRecord, KeyUse
from core.tenants.limits import GlobalLimits, Limits
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change, Outcome
from core.webhooks.config import MarkedSetup, WebhookSetup
from core.webhooks.url_policy import TargetPolicy


class TenantBook(Protocol):
    """See `core.store.tenants.TenantStore`."""

    async def create(self, tenant: Tenant, key: KeyRecord) -> bool: ...

    async def load(self, name: str) -> Tenant | None: ...

    async def names(self) -> frozenset[str]: ...

    async def change(self, before: Tenant, after: Tenant) -> bool: ...

    async def delete(self, before: Tenant, after: Tenant) -> bool: ...

    async def add_key(self, key: KeyRecord) -> bool: ...

    async def revoke_key(self, tenant: str, digest: str) -> bool: ...

    async def keys_of(self, tenant: str) -> Sequence[KeyUse]: ...


class JobBook(Protocol):
    """See `core.store.jobs.JobStore`: every tenant's jobs."""

    async def load(self, job_id: str) -> JobRecord | None: ...

    async def view(self, job_id: str) -> JobView | None: ...

    async def store(self, change: Change) -> Outcome: ...

    async def doubts(self, limit: int) -> Sequence[Job]: ...


class JobList(Protocol):
    """See `core.store.job_index.ListedJobs`."""

    async def page_of(self, tenant: str, query: JobQuery) -> JobPage: ...


class SetupBook(Protocol):
    """See `core.store.webhook_endpoints.WebhookStore`."""

    async def load(self, tenant: str) -> WebhookSetup | None: ...

    async def marked(self, tenant: str) -> MarkedSetup: ...


class ControlBook(Protocol):
    """See `core.store.operations.ControlStore`."""

    async def limits(self) -> GlobalLimits: ...

    async def set_limits(self, limits: GlobalLimits, over: GlobalLimits | None = None) -> None: ...

    async def pauses(self) -> Sequence[Pause]: ...

    async def pause(self, pause: Pause) -> None: ...

    async def resume(self, pause: Pause) -> None: ...

    async def wallet(self) -> Wallet: ...

    async def set_floor(self, floor: MicroUsd | None) -> None: ...

    async def note(self, entry: AuditEntry) -> None: ...

    async def audit(self, limit: int) -> Sequence[AuditEntry]: ...


class UsageBook(Protocol):
    """See `core.store.usage.UsageStore`."""

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """An operator at work. `actor` names who it is in the audit log."""

    actor: str
    tenants: TenantBook
    jobs: JobBook
    listed: JobList
    setups: SetupBook
    controls: ControlBook
    usage: UsageBook
    clock: Clock
    ids: IdSource
    targets: TargetPolicy
    emit: Emit

    async def note(self, action: str, subject: str, change: str = "") -> None:
        """Write down what was done; `change` holds no secret."""
        entry = AuditEntry(self.clock.now(), self.actor, action, subject, change)
        await self.controls.note(entry)
        self.emit(AdminAction(self.actor, action, subject, change))
