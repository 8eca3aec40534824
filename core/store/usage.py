"""Tenants' usage. Scripts write it: `admit_jobs` reserves, `update_job` settles."""

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
    """Tenants' usage windows in Redis."""

    def __init__(self, client: RedisClient) -> None:
        """Send commands through `client`."""
        self._client = client

    async def read(self, tenant: str, limits: Limits, now: datetime) -> Usage:
        """Return the tenant's usage in the day and the month of `now`, and its open jobs."""
        running, queued, waiting, *windows = await asyncio.gather(
            self._client.execute("HGET", keys.RUNNING, f"tenant:{tenant}"),
            self._client.execute("HGET", keys.WAITING, tenant),
            self._client.execute("HGET", keys.WAITING_FOR, f"tenant:{tenant}"),
            *(self._load_window(tenant, span) for span in usage_windows_at(now)),
        )
        waits = int(queued or 0) + int(waiting or 0)
        return Usage(limits, tuple(windows), int(running or 0), waits)

    async def _load_window(self, tenant: str, span: UsageWindow) -> WindowUsage:
        flat = await self._client.execute("HGETALL", keys.usage(tenant, span.name))
        totals: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            kind, _, model = name.decode().partition(_MODEL_SEPARATOR)
            totals[model][kind] = int(value)
        by_model = {model: _parse_totals(fields) for model, fields in totals.items()}
        return WindowUsage(span, by_model.pop("", UsageTotals()), by_model)


def _parse_totals(fields: dict[str, int]) -> UsageTotals:
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
