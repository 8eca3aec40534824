"""What an operator's action needs: stores, clock, ids, and the actor for the audit log."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.clock import Clock
from core.ids import IdSource
from core.observability.events import AdminAction, Emit
from core.operators.audit import AuditEntry
from core.webhooks.url_policy import TargetPolicy

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from core.store.stores import Stores

EVERYBODY: Final = "all"
"""Stands for every tenant in the audit log."""


@dataclass(frozen=True, slots=True)
class AdminContext:
    """What operators' use cases need. `actor` and `address` are written to the audit log."""

    actor: str
    stores: "Stores"
    clock: Clock
    ids: IdSource
    target_policy: TargetPolicy
    emit: Emit
    address: str = ""
    tenant: str | None = None
    """The tenant, if it acts itself; its acts have an audit log of their own."""

    async def record_action(self, action: str, subject: str, change: str = "") -> None:
        """Append an action to the audit log and emit it; `change` must hold no secret."""
        entry = AuditEntry(self.clock.now(), self.actor, action, subject, change, self.address)
        await self.stores.audit.append(entry, self.tenant)
        self.emit(AdminAction(self.actor, action, subject, change, self.address))
