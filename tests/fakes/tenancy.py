"""Twins of the stores about tenants: who they are, what they used, and operators' switches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from core.billing.balance import Wallet
from core.billing.usage import Usage, WindowUse
from core.clock import from_ms, to_ms
from core.operations import Pause
from core.store.codecs import KEYS, TENANTS
from core.store.tenants import KEPT_AFTER_DELETION, KEYS_AT_MOST
from core.store.wake_queue import RING_GRACE
from core.tenants.api_keys import KeyUse
from core.tenants.limits import GlobalLimits, spans_at
from tests.fakes.memory import KeyRow, Memory, TenantRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from core.money import MicroUsd
    from core.operations import AuditEntry
    from core.tenants.api_keys import KeyRecord
    from core.tenants.limits import Limits, Span
    from core.tenants.tenant import Tenant

AFTER_A_CHANGE: Final = 100
"""How many slots one change of limits or pauses hands out at most."""


def hand_out(memory: Memory, most: int) -> None:
    """Give free slots away: each job that gets one is due soon, and rung for at once."""
    for job_id in memory.turns.dispatch(most):
        summon(memory, job_id)


def summon(memory: Memory, job_id: str) -> None:
    """Call a worker to a job that has just got its slot."""
    memory.due[job_id] = to_ms(memory.clock.now() + RING_GRACE)
    memory.ring_by_name(f"{job_id}:0")


class MemoryTenantStore:
    """Twin of `core.store.tenants.TenantStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def create(self, tenant: Tenant, key: KeyRecord) -> bool:
        """See `TenantStore.create`."""
        if self._memory.tenant(tenant.name) is not None:
            return False
        self._memory.tenants[tenant.name] = TenantRow(tenant.disabled, TENANTS.write(tenant))
        self._memory.turns.pauses.discard(f"tenant:{tenant.name}")
        self._write_key(key)
        return True

    async def load(self, name: str) -> Tenant | None:
        """See `TenantStore.load`."""
        row = self._memory.tenant(name)
        return None if row is None else TENANTS.read(row.doc)

    async def names(self) -> frozenset[str]:
        """See `TenantStore.names`."""
        found = [await self.load(name) for name in self._memory.tenants]
        return frozenset(
            tenant.name for tenant in found if tenant is not None and tenant.deleted_at is None
        )

    async def change(self, before: Tenant, after: Tenant) -> bool:
        """See `TenantStore.change`."""
        held = await self.load(after.name)
        if held is None or held.version != before.version or held.deleted_at is not None:
            return False
        self._memory.tenants[after.name] = TenantRow(after.disabled, TENANTS.write(after))
        hand_out(self._memory, AFTER_A_CHANGE)
        return True

    async def delete(self, before: Tenant, after: Tenant) -> bool:
        """See `TenantStore.delete`."""
        memory, held = self._memory, await self.load(after.name)
        if held is None or held.version != before.version:
            return False
        until = memory.after(KEPT_AFTER_DELETION)
        memory.tenants[after.name] = TenantRow(after.disabled, TENANTS.write(after), until)
        memory.keys = {d: row for d, row in memory.keys.items() if row.tenant != after.name}
        if not memory.turns.waits(after.name):
            memory.turns.tags.pop(after.name, None)
        return True

    async def add_key(self, key: KeyRecord) -> bool:
        """See `TenantStore.add_key`."""
        if key.tenant not in await self.names():
            return False
        if len(await self.keys_of(key.tenant)) >= KEYS_AT_MOST:
            self._forget_ended(key.tenant)
        if len(await self.keys_of(key.tenant)) >= KEYS_AT_MOST:
            return False
        self._write_key(key)
        return True

    async def revoke_key(self, tenant: str, digest: str) -> bool:
        """See `TenantStore.revoke_key`."""
        row = self._memory.keys.get(digest)
        if row is None or row.tenant != tenant:
            return False
        del self._memory.keys[digest]
        return True

    async def keys_of(self, tenant: str) -> Sequence[KeyUse]:
        """See `TenantStore.keys_of`."""
        found = [
            KeyUse(KEYS.read(row.doc), None if row.used is None else from_ms(row.used))
            for row in self._memory.keys.values()
            if row.tenant == tenant
        ]
        return sorted(found, key=lambda use: use.key.created_at)

    def _forget_ended(self, tenant: str) -> None:
        now = to_ms(self._memory.clock.now())
        for digest, row in list(self._memory.keys.items()):
            if row.tenant == tenant and row.expires_at is not None and row.expires_at <= now:
                del self._memory.keys[digest]

    def _write_key(self, key: KeyRecord) -> None:
        self._memory.keys[key.digest] = KeyRow(
            tenant=key.tenant,
            expires_at=None if key.expires_at is None else to_ms(key.expires_at),
            scopes=frozenset(key.scopes),
            doc=KEYS.write(key),
        )


class MemoryUsageStore:
    """Twin of `core.store.usage.UsageStore`: nothing is counted before it is asked for."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """See `UsageStore.read`."""
        turns = self._memory.turns
        windows = tuple(self._window(tenant, span) for span in spans_at(now))
        return Usage(limits, windows, turns.running()[f"tenant:{tenant}"], turns.waits(tenant))

    def _window(self, tenant: str, span: Span) -> WindowUse:
        memory = self._memory
        models = {
            account.model
            for account in memory.accounts.values()
            if account.tenant == tenant and span.name in account.spans
        }
        return WindowUse(
            span,
            memory.use(tenant, span),
            {name: memory.use(tenant, span, name) for name in models},
        )


class MemoryControlStore:
    """Twin of `core.store.operations.ControlStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def limits(self) -> GlobalLimits:
        """See `ControlStore.limits`."""
        limits = self._memory.turns.limits
        return replace(limits, models=tuple(sorted(limits.models)))

    async def set_limits(self, limits: GlobalLimits, over: GlobalLimits | None = None) -> None:
        """See `ControlStore.set_limits`."""
        held, base = await self.limits(), over or await self.limits()
        changed = {
            name: getattr(limits, name)
            for name in ("running", "submits_per_second", "polls_per_second")
            if getattr(limits, name) != getattr(base, name)
        }
        caps, before = dict(limits.models), dict(base.models)
        models = {m: cap for m, cap in held.models if m in caps or m not in before}
        models |= {m: cap for m, cap in caps.items() if cap != before.get(m)}
        self._memory.turns.limits = replace(held, **changed, models=tuple(models.items()))
        hand_out(self._memory, AFTER_A_CHANGE)

    async def pauses(self) -> Sequence[Pause]:
        """See `ControlStore.pauses`."""
        return [Pause(name) for name in sorted(self._memory.turns.pauses)]

    async def pause(self, pause: Pause) -> None:
        """See `ControlStore.pause`."""
        self._memory.turns.pauses.add(pause.what)

    async def resume(self, pause: Pause) -> None:
        """See `ControlStore.resume`."""
        self._memory.turns.pauses.discard(pause.what)
        hand_out(self._memory, AFTER_A_CHANGE)

    async def dispatch(self) -> int:
        """See `ControlStore.dispatch`."""
        hand_out(self._memory, AFTER_A_CHANGE)
        return len(self._memory.turns.slots)

    async def wallet(self) -> Wallet:
        """See `ControlStore.wallet`."""
        return self._memory.wallet

    async def set_wallet(self, wallet: Wallet) -> None:
        """See `ControlStore.set_wallet`."""
        self._memory.wallet = replace(wallet, floor=self._memory.wallet.floor)

    async def set_floor(self, floor: MicroUsd | None) -> None:
        """See `ControlStore.set_floor`."""
        self._memory.wallet = replace(self._memory.wallet, floor=floor)

    async def note(self, entry: AuditEntry) -> None:
        """See `ControlStore.note`."""
        self._memory.audit.append(entry)

    async def audit(self, limit: int) -> Sequence[AuditEntry]:
        """See `ControlStore.audit`."""
        return self._memory.audit[::-1][:limit]
