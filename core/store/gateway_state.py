"""The state of the whole gateway: counters and first entries of indexes, never the jobs.

All commands are sent together. Their number grows with the number of tenants, not of jobs.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from core.billing.usage import NO_USAGE, Budget, UsageTotals
from core.clock import Clock, from_ms, to_ms
from core.jobs.job import OPEN_STATES, WaitingFor
from core.observability.gateway_state import (
    ConcurrencyState,
    DeliveryBacklog,
    Dependencies,
    GatewayState,
    OpenJobsState,
    RedisHealth,
    TenantState,
    WindowState,
)
from core.store import keys
from core.store.client import RedisClient
from core.store.scripts import LuaScripts
from core.store.server_check import parse_info
from core.store.stores import Stores
from core.tenants.windows import Window
from core.webhooks.endpoint import DisabledReason

STUCK_AFTER: Final = timedelta(seconds=60)
"""Four leases. A dead worker's jobs are due again after one, so an older one is stuck."""
MAX_ENDPOINTS_READ: Final = 500
MAX_HEARTBEAT_AGE: Final = timedelta(seconds=30)
_TENANT_COUNTER_PREFIX: Final = "tenant:"
_MODEL_COUNTER_PREFIX: Final = "model:"
_ALWAYS_SHOWN: Final = frozenset({Window.DAY, Window.MONTH})
"""The windows that are shown without a budget, too."""


class GatewayStateStore:
    """Reads the state of the whole gateway, for metrics and operators."""

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        stores: Stores,
        clock: Clock,
        max_tenants: int,
    ) -> None:
        """Read at most `max_tenants` tenants, the first by name."""
        self._client = client
        self._scripts = scripts
        self._stores = stores
        self._clock = clock
        self._max_tenants = max_tenants

    async def read(self) -> GatewayState:
        """Return the current state. Raises `StoreUnavailable`."""
        began, now = self._clock.monotonic(), self._clock.now()
        (
            jobs,
            concurrency,
            (tenants, unlabelled),
            deliveries,
            dependencies,
            health,
        ) = await asyncio.gather(
            self._jobs(now),
            self._concurrency(),
            self._tenants(now),
            self._delivery_backlog(now),
            self._dependencies(now),
            self._health(),
        )
        return GatewayState(
            read_at=now,
            read_duration=self._clock.monotonic() - began,
            jobs=jobs,
            concurrency=concurrency,
            tenants=tenants,
            unlabelled_tenants=unlabelled,
            deliveries=deliveries,
            dependencies=dependencies,
            redis=health,
        )

    async def _jobs(self, now: datetime) -> OpenJobsState:
        counts, unsubmitted, in_doubt, stuck, waiting, unreadable, *archive = await asyncio.gather(
            self._client.execute("HMGET", keys.STATE_COUNTS, *OPEN_STATES),
            self._oldest_in(keys.UNSUBMITTED),
            self._oldest_in(keys.IN_DOUBT),
            self._client.execute("ZCOUNT", keys.DUE, "-inf", to_ms(now - STUCK_AFTER)),
            self._client.execute(
                "HMGET", keys.WAITING_FOR, *WaitingFor, f"usd:{WaitingFor.BALANCE}"
            ),
            self._client.execute("ZCARD", keys.UNREADABLE),
            self._client.execute("ZCARD", keys.UNARCHIVED),
            self._oldest_in(keys.UNARCHIVED),
        )
        by_state = {state: int(n or 0) for state, n in zip(OPEN_STATES, counts, strict=True)}
        *numbers, price = (int(n or 0) for n in waiting)
        by_reason = dict(zip(WaitingFor, numbers, strict=True))
        return OpenJobsState(
            by_state,
            unsubmitted,
            in_doubt,
            int(stuck),
            waiting_for=by_reason,
            waiting_price=price,
            unreadable=int(unreadable),
            unarchived=int(archive[0]),
            oldest_unarchived_at=archive[1],
        )

    async def _concurrency(self) -> ConcurrencyState:
        running, limits, pauses = await asyncio.gather(
            self._load_counts(keys.RUNNING),
            self._stores.admin.load_limits(),
            self._client.execute("HVALS", keys.PAUSES),
        )
        by_model = {
            name.removeprefix(_MODEL_COUNTER_PREFIX): n
            for name, n in running.items()
            if name.startswith(_MODEL_COUNTER_PREFIX)
        }
        oldest = min((from_ms(int(since)) for since in pauses), default=None)
        return ConcurrencyState(running.get("all", 0), by_model, limits, len(pauses), oldest)

    async def _tenants(self, now: datetime) -> tuple[tuple[TenantState, ...], int]:
        """Return the tenants that are read, and how many are not."""
        members, running, waiting = await asyncio.gather(
            self._client.execute("SMEMBERS", keys.TENANTS),
            self._load_counts(keys.RUNNING),
            self._load_counts(keys.WAITING),
        )
        names = sorted(name.decode() for name in members)[: self._max_tenants]
        bare = [
            TenantState(name, running.get(_TENANT_COUNTER_PREFIX + name, 0), waiting.get(name, 0))
            for name in names
        ]
        read = await asyncio.gather(*(self._tenant(one, now) for one in bare))
        return tuple(read), len(members) - len(names)

    async def _tenant(self, state: TenantState, now: datetime) -> TenantState:
        disabled, tenant, kept, files = await asyncio.gather(
            self._disabled_endpoints(state.name),
            self._stores.tenants.load(state.name),
            self._stores.usage_history.read_windows(state.name),
            self._stores.files.read_usage(state.name, now),
        )
        if tenant is None:  # deleted in the meantime
            return replace(state, disabled_reasons=disabled)
        budget = Budget.of_tenant(tenant)
        return replace(
            state,
            slot_limit=tenant.limits.running,
            windows=tuple(_window_states(budget, kept, now)),
            disabled_reasons=disabled,
            stored_bytes=files.stored_bytes,
            stored_bytes_limit=tenant.limits.storage_bytes,
        )

    async def _disabled_endpoints(self, tenant: str) -> tuple[DisabledReason, ...]:
        ends = (await self._stores.webhook_configs.load_versioned(tenant)).config.endpoints
        return tuple(end.disabled_reason for end in ends if end.disabled_reason is not None)

    async def _dependencies(self, now: datetime) -> Dependencies:
        parts, since = self._stores, to_ms(now - MAX_HEARTBEAT_AGE)
        balance, breakers, synced_at, models, workers = await asyncio.gather(
            parts.admin.load_balance(),
            parts.circuit_breakers.load_all(),
            parts.catalogue.synced_at(),
            self._client.execute("HLEN", keys.CATALOGUE_MODELS),
            self._client.execute("ZCOUNT", keys.WORKERS, since, "+inf"),
        )
        return Dependencies(balance, breakers, synced_at, int(models), int(workers))

    async def _delivery_backlog(self, now: datetime) -> DeliveryBacklog:
        backlog, unreadable = await asyncio.gather(
            self._scripts.call("delivery_backlog", [keys.OUTBOX], [to_ms(now), MAX_ENDPOINTS_READ]),
            self._client.execute("ZCARD", keys.UNREADABLE_DELIVERIES),
        )
        pending, due, busy, held_back, oldest, endpoints = backlog
        return DeliveryBacklog(
            pending=int(pending),
            due=int(due),
            in_flight=int(busy),
            endpoints=int(endpoints),
            paused=int(held_back),
            oldest_due_at=from_ms(int(oldest)) if oldest else None,
            unreadable=int(unreadable),
        )

    async def _health(self) -> RedisHealth:
        text = await self._client.execute_or_none("INFO")
        return RedisHealth() if text is None else parse_store_health(parse_info(text))

    async def _oldest_in(self, index: str) -> datetime | None:
        rows = await self._client.execute("ZRANGE", index, 0, 0, "WITHSCORES")
        return from_ms(int(float(rows[1]))) if rows else None

    async def _load_counts(self, key: str) -> Mapping[str, int]:
        flat = await self._client.execute("HGETALL", key)
        return {n.decode(): int(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}


def _window_states(
    budget: Budget, kept: Mapping[str, UsageTotals], now: datetime
) -> Iterator[WindowState]:
    for window in budget.calendar.windows_at(now):
        used, limit = kept.get(window.name, NO_USAGE), budget.of_window(window, kept, now)
        if limit is not None or window.kind in _ALWAYS_SHOWN:
            yield WindowState(window.kind, used.jobs, used.reservations, limit, used.cost_saved)


def parse_store_health(info: Mapping[str, str]) -> RedisHealth:
    """Parse the fields of INFO; those that a server leaves out are None."""
    uptime = _parse_int(info.get("uptime_in_seconds"))
    return RedisHealth(
        memory=_parse_int(info.get("used_memory")),
        memory_limit=_parse_int(info.get("maxmemory")),
        clients=_parse_int(info.get("connected_clients")),
        keys=_count_keys(info),
        commands=_parse_int(info.get("total_commands_processed")),
        evicted_keys=_parse_int(info.get("evicted_keys")),
        aof=_parse_flag(info.get("aof_enabled"), "1"),
        aof_write_ok=_parse_flag(info.get("aof_last_write_status"), "ok"),
        uptime=None if uptime is None else timedelta(seconds=uptime),
    )


def _parse_int(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _parse_flag(text: str | None, true_value: str) -> bool | None:
    return None if text is None else text == true_value


def _count_keys(info: Mapping[str, str]) -> int:
    # One line per database: `db0:keys=12,expires=3,avg_ttl=0`.
    lines = [text for name, text in info.items() if name.startswith("db")]
    return sum(_parse_int(line.removeprefix("keys=").split(",")[0]) or 0 for line in lines)
