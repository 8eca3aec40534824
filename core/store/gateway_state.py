"""Reads how everything stands, for figures: counters and ends of indexes, never the jobs.

Commands leave together over the pipelined wire. Their number grows with the tenants that are shown,
not with jobs.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from core.billing.settlement import Booking
from core.clock import Clock, from_ms, to_ms
from core.jobs.job import OPEN_STATES
from core.money import MicroUsd
from core.observability.gateway_state import (
    Backlog,
    JobsStanding,
    Overview,
    SlotsStanding,
    StoreHealth,
    Surroundings,
    TenantStanding,
    WindowStanding,
)
from core.store import keys
from core.store.circuit_breaker import BreakerStore
from core.store.client import Wire
from core.store.model_catalogue import CatalogueStore
from core.store.operations import ControlStore
from core.store.scripts import Scripts
from core.store.webhook_endpoints import WebhookStore
from core.store.worker_heartbeats import parse_info
from core.tenants.limits import Span, spans_at
from core.webhooks.endpoint import Disabled

STUCK_AFTER: Final = timedelta(seconds=60)
"""Four leases: a dead worker's jobs come back after one."""
ENDPOINTS_READ: Final = 500
SEEN_WITHIN: Final = timedelta(seconds=30)
_TENANT: Final = "tenant:"
_MODEL: Final = "model:"
_CAPS: Final = ("running", "usd_per_day", "usd_per_month")
_USED: Final = ("jobs", "reserved", "settled", "released", "saved")


@dataclass(frozen=True, slots=True)
class OverviewParts:
    """The stores that know a part of the answer."""

    scripts: Scripts
    controls: ControlStore
    breakers: BreakerStore
    catalogue: CatalogueStore
    webhooks: WebhookStore


class OverviewStore:
    """The whole gateway in one reading."""

    def __init__(self, wire: Wire, parts: OverviewParts, clock: Clock, tenants: int) -> None:
        """At most `tenants` tenants are read, the first by name."""
        self._wire = wire
        self._scripts = parts.scripts
        self._parts = parts
        self._clock = clock
        self._most = tenants

    async def read(self) -> Overview:
        """How everything stands now. Raises `StoreUnavailable`."""
        began, now = self._clock.monotonic(), self._clock.now()
        jobs, slots, tenants, deliveries, surroundings, health = await asyncio.gather(
            self._jobs(now),
            self._slots(),
            self._tenants(now),
            self._backlog(now),
            self._surroundings(now),
            self._health(),
        )
        return Overview(
            read_at=now,
            took=self._clock.monotonic() - began,
            jobs=jobs,
            slots=slots,
            tenants=tenants,
            deliveries=deliveries,
            surroundings=surroundings,
            store=health,
        )

    async def _jobs(self, now: datetime) -> JobsStanding:
        counts, unsent, doubt, stuck = await asyncio.gather(
            self._wire.execute("HMGET", keys.STATES, *OPEN_STATES),
            self._first(keys.UNSENT),
            self._first(keys.DOUBTS),
            self._wire.execute("ZCOUNT", keys.DUE, "-inf", to_ms(now - STUCK_AFTER)),
        )
        by_state = {state: int(n or 0) for state, n in zip(OPEN_STATES, counts, strict=True)}
        return JobsStanding(by_state, unsent, doubt, int(stuck))

    async def _slots(self) -> SlotsStanding:
        running, limits, pauses = await asyncio.gather(
            self._counts(keys.RUNNING),
            self._parts.controls.limits(),
            self._wire.execute("SCARD", keys.PAUSES),
        )
        by_model = {
            name.removeprefix(_MODEL): n for name, n in running.items() if name.startswith(_MODEL)
        }
        return SlotsStanding(running.get("all", 0), by_model, limits, int(pauses))

    async def _tenants(self, now: datetime) -> tuple[TenantStanding, ...]:
        members, running, waiting = await asyncio.gather(
            self._wire.execute("SMEMBERS", keys.TENANTS),
            self._counts(keys.RUNNING),
            self._counts(keys.WAITING),
        )
        names = sorted(name.decode() for name in members)[: self._most]
        bare = [
            TenantStanding(name, running.get(_TENANT + name, 0), waiting.get(name, 0))
            for name in names
        ]
        return tuple(await asyncio.gather(*(self._tenant(one, now) for one in bare)))

    async def _tenant(self, bare: TenantStanding, now: datetime) -> TenantStanding:
        spans = spans_at(now)
        disabled, caps, *rows = await asyncio.gather(
            self._disabled(bare.name),
            self._wire.execute("HMGET", keys.tenant(bare.name), *_CAPS),
            *(self._wire.execute("HMGET", keys.use(bare.name, s.name), *_USED) for s in spans),
        )
        slots, *budgets = (int(cap) if cap else None for cap in caps)
        windows = tuple(
            _window(span, row, budget)
            for span, row, budget in zip(spans, rows, budgets, strict=True)
        )
        return replace(bare, slots=slots, windows=windows, disabled=disabled)

    async def _disabled(self, tenant: str) -> tuple[Disabled, ...]:
        setup = await self._parts.webhooks.load(tenant)
        ends = () if setup is None else setup.endpoints
        return tuple(end.disabled for end in ends if end.disabled is not None)

    async def _surroundings(self, now: datetime) -> Surroundings:
        parts, since = self._parts, to_ms(now - SEEN_WITHIN)
        wallet, breaker, synced_at, models, workers = await asyncio.gather(
            parts.controls.wallet(),
            parts.breakers.load(),
            parts.catalogue.synced_at(),
            self._wire.execute("HLEN", keys.CATALOGUE_MODELS),
            self._wire.execute("ZCOUNT", keys.WORKERS, since, "+inf"),
        )
        return Surroundings(wallet, breaker, synced_at, int(models), int(workers))

    async def _backlog(self, now: datetime) -> Backlog:
        endpoints, (pending, due, busy, held_back, oldest) = await asyncio.gather(
            self._wire.execute("ZCARD", keys.OUTBOX),
            self._scripts.call(
                "delivery_backlog", [keys.OUTBOX], [to_ms(now), ENDPOINTS_READ, keys.CHANNEL_PREFIX]
            ),
        )
        return Backlog(
            pending=int(pending),
            due=int(due),
            busy=int(busy),
            endpoints=int(endpoints),
            held_back=int(held_back),
            oldest_due_at=from_ms(int(oldest)) if oldest else None,
        )

    async def _health(self) -> StoreHealth:
        text = await self._wire.attempt("INFO")
        return StoreHealth() if text is None else store_health(parse_info(text))

    async def _first(self, index: str) -> datetime | None:
        rows = await self._wire.execute("ZRANGE", index, 0, 0, "WITHSCORES")
        return from_ms(int(float(rows[1]))) if rows else None

    async def _counts(self, key: str) -> Mapping[str, int]:
        flat = await self._wire.execute("HGETALL", key)
        return {n.decode(): int(v) for n, v in zip(flat[::2], flat[1::2], strict=True)}


def _window(span: Span, row: list[Any], budget: int | None) -> WindowStanding:
    jobs, reserved, settled, released, saved = (int(value or 0) for value in row)
    return WindowStanding(
        window=span.window,
        jobs=jobs,
        booking=Booking(reserved, settled, released),
        budget=None if budget is None else MicroUsd(budget),
        saved=saved,
    )


def store_health(info: Mapping[str, str]) -> StoreHealth:
    """What INFO says; fields that a server leaves out stay unknown."""
    uptime = _whole(info.get("uptime_in_seconds"))
    return StoreHealth(
        memory=_whole(info.get("used_memory")),
        memory_limit=_whole(info.get("maxmemory")),
        clients=_whole(info.get("connected_clients")),
        keys=_keys_in(info),
        commands=_whole(info.get("total_commands_processed")),
        evicted_keys=_whole(info.get("evicted_keys")),
        aof=_is(info.get("aof_enabled"), "1"),
        aof_write_ok=_is(info.get("aof_last_write_status"), "ok"),
        uptime=None if uptime is None else timedelta(seconds=uptime),
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _is(text: str | None, wanted: str) -> bool | None:
    return None if text is None else text == wanted


def _keys_in(info: Mapping[str, str]) -> int:
    """Of all databases: each line reads `db0:keys=12,expires=3,avg_ttl=0`."""
    lines = [text for name, text in info.items() if name.startswith("db")]
    return sum(_whole(line.removeprefix("keys=").split(",")[0]) or 0 for line in lines)
