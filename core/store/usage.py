"""Reads what tenants used. The scripts write it: `admit_jobs` reserves, `update_job` settles."""

import asyncio
from collections import defaultdict
from datetime import datetime

from core.billing.settlement import ReservationTotals
from core.billing.usage import Usage, UsageTotals, WindowUsage
from core.store import keys
from core.store.client import RedisClient
from core.tenants.limits import Limits, UsageWindow, usage_windows_at

_MODEL_SEPARATOR = "|"


class UsageStore:
    """Tenants' windows in Redis."""

    def __init__(self, wire: RedisClient) -> None:
        """Talk over `wire`."""
        self._wire = wire

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """How the tenant stands in the windows that `now` falls into."""
        running, waiting, *windows = await asyncio.gather(
            self._wire.execute("HGET", keys.RUNNING, f"tenant:{tenant}"),
            self._wire.execute("HGET", keys.WAITING, tenant),
            *(self._load_window(tenant, span) for span in usage_windows_at(now)),
        )
        return Usage(limits, tuple(windows), int(running or 0), int(waiting or 0))

    async def _load_window(self, tenant: str, span: UsageWindow) -> WindowUsage:
        flat = await self._wire.execute("HGETALL", keys.usage(tenant, span.name))
        figures: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            kind, _, model = name.decode().partition(_MODEL_SEPARATOR)
            figures[model][kind] = int(value)
        uses = {model: _parse_use(fields) for model, fields in figures.items()}
        return WindowUsage(span, uses.pop("", UsageTotals()), uses)


def _parse_use(fields: dict[str, int]) -> UsageTotals:
    return UsageTotals(
        jobs=fields.get("jobs", 0),
        reservations=ReservationTotals(
            reserved=fields.get("reserved", 0),
            settled=fields.get("settled", 0),
            released=fields.get("released", 0),
        ),
        reused_jobs=fields.get("reused", 0),
        cost_saved=fields.get("saved", 0),
    )
