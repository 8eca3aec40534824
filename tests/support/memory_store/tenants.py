"""Fakes of the stores of tenants, usage, limits and pauses."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from core.billing.balance import AccountBalance
from core.billing.usage import Budget, Usage
from core.billing.usage_history import Dimension, window_usage
from core.clock import from_ms, to_ms
from core.money import MicroUsd
from core.operators.pauses import Pause
from core.retention import DELETED_TENANT_RETENTION
from core.store.admin import UnreadableJob
from core.store.codecs import API_KEY_CODEC, TENANT_CODEC, WEBHOOK_CONFIG_CODEC
from core.store.tenants import MAX_KEYS_PER_TENANT
from core.store.wake_queue import WAKE_GRACE
from core.tenants.api_keys import ApiKey, ApiKeyUsage
from core.tenants.limits import GlobalLimits
from core.tenants.tenant import Tenant
from core.webhooks.config import WebhookConfig
from tests.support.memory_store.state import KeyRow, MemoryState, StoredRecord, TenantRow
from tests.support.memory_store.usage_history import read_days

NamedNumbers = tuple[tuple[str, int], ...]
MAX_DISPATCHED_PER_CHANGE: Final = 100
"""Most slots that one change of limits or pauses gives out."""


def dispatch_slots(memory: MemoryState, limit: int) -> None:
    """Give out free slots: each job that gets one is due soon, and a worker is woken for it."""
    for job_id in memory.fair_queue.dispatch(limit):
        wake_worker_for(memory, job_id)


def wake_worker_for(memory: MemoryState, job_id: str) -> None:
    """Wake a worker for a job that has just got its slot."""
    memory.due[job_id] = to_ms(memory.clock.now() + WAKE_GRACE)
    memory.wake_by_name(f"{job_id}:0")


class MemoryTenantStore:
    """Fake of `core.store.tenants.TenantStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def create(
        self, tenant: Tenant, key: ApiKey, config: WebhookConfig | None = None
    ) -> bool:
        if self._memory.tenant(tenant.name) is not None:
            return False
        self._memory.tenants[tenant.name] = TenantRow(tenant.disabled, TENANT_CODEC.encode(tenant))
        config = config or WebhookConfig(tenant.name)
        self._memory.webhook_configs[tenant.name] = StoredRecord(
            config.version, WEBHOOK_CONFIG_CODEC.encode(config)
        )
        self._memory.fair_queue.pauses.discard(f"tenant:{tenant.name}")
        self._write_key(key)
        return True

    async def load(self, name: str) -> Tenant | None:
        row = self._memory.tenant(name)
        return None if row is None else TENANT_CODEC.decode(row.doc)

    async def list_names(self) -> frozenset[str]:
        found = [await self.load(name) for name in self._memory.tenants]
        return frozenset(
            tenant.name for tenant in found if tenant is not None and tenant.deleted_at is None
        )

    async def change(self, before: Tenant, after: Tenant) -> bool:
        held = await self.load(after.name)
        if held is None or held.version != before.version or held.deleted_at is not None:
            return False
        self._memory.tenants[after.name] = TenantRow(after.disabled, TENANT_CODEC.encode(after))
        dispatch_slots(self._memory, MAX_DISPATCHED_PER_CHANGE)
        return True

    async def delete(self, before: Tenant, after: Tenant) -> bool:
        memory, held = self._memory, await self.load(after.name)
        if held is None or held.version != before.version:
            return False
        until = memory.ms_after(DELETED_TENANT_RETENTION)
        memory.tenants[after.name] = TenantRow(after.disabled, TENANT_CODEC.encode(after), until)
        memory.keys = {d: row for d, row in memory.keys.items() if row.tenant != after.name}
        if not memory.fair_queue.waiting_count(after.name):
            memory.fair_queue.tags.pop(after.name, None)
            memory.fair_queue.pauses.discard(f"tenant:{after.name}")
        return True

    async def add_key(self, key: ApiKey) -> bool:
        if key.tenant not in await self.list_names():
            return False
        if len(await self.list_keys(key.tenant)) >= MAX_KEYS_PER_TENANT:
            self._forget_ended(key.tenant)
        if len(await self.list_keys(key.tenant)) >= MAX_KEYS_PER_TENANT:
            return False
        self._write_key(key)
        return True

    async def revoke_key(self, tenant: str, digest: str) -> bool:
        row = self._memory.keys.get(digest)
        if row is None or row.tenant != tenant:
            return False
        del self._memory.keys[digest]
        return True

    async def list_keys(self, tenant: str) -> Sequence[ApiKeyUsage]:
        found = [
            ApiKeyUsage(
                API_KEY_CODEC.decode(row.doc), None if row.used is None else from_ms(row.used)
            )
            for row in self._memory.keys.values()
            if row.tenant == tenant
        ]
        return sorted(found, key=lambda use: use.api_key.created_at)

    def _forget_ended(self, tenant: str) -> None:
        now = to_ms(self._memory.clock.now())
        for digest, row in list(self._memory.keys.items()):
            if row.tenant == tenant and row.expires_at is not None and row.expires_at <= now:
                del self._memory.keys[digest]

    def _write_key(self, key: ApiKey) -> None:
        self._memory.keys[key.digest] = KeyRow(
            tenant=key.tenant,
            expires_at=None if key.expires_at is None else to_ms(key.expires_at),
            scopes=frozenset(key.scopes),
            doc=API_KEY_CODEC.encode(key),
        )

    async def read_usage(
        self, tenant: str, budget: Budget, now: datetime, *, by_model: bool = False
    ) -> Usage:
        memory, turns = self._memory, self._memory.fair_queue
        kept = memory.windows_of(tenant)
        days = [day async for day in read_days(memory, tenant, Dimension.MODEL) if by_model]
        return Usage(
            budget,
            tuple(window_usage(window, kept, days) for window in budget.calendar.windows_at(now)),
            turns.running()[f"tenant:{tenant}"],
            memory.waiting_count(tenant),
            now,
            kept,
            memory.file_usage(tenant),
        )


def _merge_named(held: NamedNumbers, base: NamedNumbers, wanted: NamedNumbers) -> NamedNumbers:
    """Return what is held, with the changes from `base` to `wanted`."""
    before, after = dict(base), dict(wanted)
    merged = {name: number for name, number in held if name in after or name not in before}
    merged |= {name: number for name, number in after.items() if number != before.get(name)}
    return tuple(sorted(merged.items()))


class MemoryAdminStore:
    """Fake of `core.store.admin.AdminStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableJob]:
        oldest = sorted((since, name) for name, since in self._memory.unreadable.items())
        return [UnreadableJob(name, from_ms(since)) for since, name in oldest[:limit]]

    async def requeue_unreadable(self, job_id: str) -> bool:
        if self._memory.unreadable.pop(job_id, None) is None:
            return False
        self._memory.due[job_id] = self._memory.now
        return True

    async def load_limits(self) -> GlobalLimits:
        limits = self._memory.fair_queue.limits
        return replace(limits, models=tuple(sorted(limits.models)))

    async def set_limits(self, limits: GlobalLimits, base: GlobalLimits | None = None) -> None:
        held, base = await self.load_limits(), base or await self.load_limits()
        changed = {
            name: getattr(limits, name)
            for name in ("running", "submits_per_second", "polls_per_second")
            if getattr(limits, name) != getattr(base, name)
        }
        changed |= {
            name: _merge_named(getattr(held, name), getattr(base, name), getattr(limits, name))
            for name in ("models", "tenant_defaults")
        }
        self._memory.fair_queue.limits = replace(held, **changed)
        dispatch_slots(self._memory, MAX_DISPATCHED_PER_CHANGE)

    async def list_pauses(self) -> Sequence[Pause]:
        return [Pause(name) for name in sorted(self._memory.fair_queue.pauses)]

    async def pause(self, pause: Pause) -> bool:
        was_paused = pause.target in self._memory.fair_queue.pauses
        self._memory.fair_queue.pauses.add(pause.target)
        return not was_paused

    async def resume(self, pause: Pause) -> bool:
        was_paused = pause.target in self._memory.fair_queue.pauses
        self._memory.fair_queue.pauses.discard(pause.target)
        dispatch_slots(self._memory, MAX_DISPATCHED_PER_CHANGE)
        return was_paused

    async def dispatch(self) -> int:
        live = await MemoryTenantStore(self._memory).list_names()
        turns = self._memory.fair_queue
        for name in {pause.partition(":")[2] for pause in turns.pauses} - live:
            if not turns.waiting_count(name):
                turns.pauses.discard(f"tenant:{name}")
        dispatch_slots(self._memory, MAX_DISPATCHED_PER_CHANGE)
        return len(self._memory.fair_queue.slots)

    async def load_balance(self) -> AccountBalance:
        return self._memory.account_balance

    async def store_balance(self, balance: AccountBalance) -> None:
        self._memory.account_balance = replace(
            balance, minimum=self._memory.account_balance.minimum
        )

    async def set_minimum_balance(self, minimum: MicroUsd | None) -> None:
        self._memory.account_balance = replace(self._memory.account_balance, minimum=minimum)
