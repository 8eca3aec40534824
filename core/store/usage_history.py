"""Reads usage: a tenant's windows, and the days of its history. Scripts write both."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import Final

from core.billing.charges import Charge
from core.billing.usage import UsageTotals
from core.billing.usage_history import DayUsage, Dimension, parse_rows
from core.store import keys
from core.store.booking import day_text
from core.store.client import RedisClient
from core.store.scripts import LuaScripts
from core.tenants.windows import days_from

DAYS_PER_READ: Final = 7
"""Days that are read together: each may have 1,000 rows, and others wait as long."""

CHARGES_PER_READ: Final = 1000


class UsageHistoryStore:
    """Usage in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts

    async def read_days(
        self, tenant: str, first: date, last: date, dimension: Dimension | None = None
    ) -> AsyncIterator[DayUsage]:
        """Yield the days from the first to the last on which jobs were admitted, oldest first."""
        days = days_from(first, last)
        while group := list(islice(days, DAYS_PER_READ)):
            found = await self._scripts.call(
                "read_usage_days",
                [keys.usage_history(tenant, day_text(day)) for day in group],
                [dimension or ""],
            )
            for position, total, *rows in found:
                stored = dict(zip(rows[::2], rows[1::2], strict=True))
                yield DayUsage(
                    group[position - 1],
                    UsageTotals.parse(total),
                    {} if dimension is None else parse_rows(stored, dimension),
                )

    async def list_tenants(self, since: date) -> Sequence[str]:
        """Return the tenants that submitted on or after a day, by name; deleted ones too."""
        names = await self._client.execute(
            "ZRANGE", keys.USAGE_TENANTS, day_text(since), "+inf", "BYSCORE"
        )
        return sorted(name.decode() for name in names)

    async def read_charges(self, day: date) -> Mapping[str, Charge]:
        """Return what RunComfy's requests of the jobs of a day (UTC) cost, by its id."""
        found: dict[str, Charge] = {}
        cursor: bytes | int = 0
        while True:
            # In parts: a day may have a hundred thousand, and others wait as long.
            cursor, flat = await self._client.execute(
                "HSCAN", keys.charges(day_text(day)), cursor, "COUNT", CHARGES_PER_READ
            )
            for name, text in zip(flat[::2], flat[1::2], strict=True):
                found[name.decode()] = Charge.parse(text.decode())
            if not int(cursor):
                return found

    async def read_windows(self, tenant: str) -> Mapping[str, UsageTotals]:
        """Return the windows of a tenant's budgets that are kept, by name."""
        flat = await self._client.execute("HGETALL", keys.usage(tenant))
        return {
            name.decode(): UsageTotals.parse(row)
            for name, row in zip(flat[::2], flat[1::2], strict=True)
        }
