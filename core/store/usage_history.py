"""Reads usage: a tenant's windows, and the days of its history. Scripts write both."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Final

from core.billing.usage import NO_USAGE, UsageTotals
from core.billing.usage_history import TOTAL_ROW, DayUsage, Dimension, parse_rows
from core.store import keys
from core.store.booking import day_text
from core.store.client import RedisClient
from core.tenants.windows import days_from

DAYS_PER_READ: Final = 31
"""Days that are read together."""


class UsageHistoryStore:
    """Usage in Redis."""

    def __init__(self, client: RedisClient) -> None:
        """Send commands through `client`."""
        self._client = client

    async def read_days(
        self, tenant: str, first: date, last: date, dimension: Dimension | None = None
    ) -> AsyncIterator[DayUsage]:
        """Yield the days from the first to the last on which jobs were admitted, oldest first."""
        days = days_from(first, last)
        while group := list(islice(days, DAYS_PER_READ)):
            for found in await asyncio.gather(
                *(self._read_day(tenant, day, dimension) for day in group)
            ):
                if found.total.jobs:
                    yield found

    async def _read_day(self, tenant: str, day: date, dimension: Dimension | None) -> DayUsage:
        key = keys.usage_history(tenant, day_text(day))
        if dimension is None:
            total = await self._client.execute("HGET", key, TOTAL_ROW)
            return DayUsage(day, NO_USAGE if total is None else UsageTotals.parse(total), {})
        stored = await self._read_hash(key)
        total = stored.get(TOTAL_ROW.encode(), b"")
        return DayUsage(day, UsageTotals.parse(total), parse_rows(stored, dimension))

    async def list_tenants(self, since: date) -> Sequence[str]:
        """Return the tenants that submitted on or after a day, by name; deleted ones too."""
        names = await self._client.execute(
            "ZRANGE", keys.USAGE_TENANTS, day_text(since), "+inf", "BYSCORE"
        )
        return sorted(name.decode() for name in names)

    async def read_windows(self, tenant: str) -> Mapping[str, UsageTotals]:
        """Return the windows of a tenant's budgets that are kept, by name."""
        stored = await self._read_hash(keys.usage(tenant))
        return {name.decode(): UsageTotals.parse(text) for name, text in stored.items()}

    async def _read_hash(self, key: str) -> dict[bytes, bytes]:
        flat = await self._client.execute("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))
