"""The fake of the usage history: each read counts the jobs."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date

from core.billing.charges import Charge
from core.billing.usage import NO_USAGE, UsageTotals
from core.billing.usage_history import (
    OTHER,
    TOTAL_ROW,
    DayUsage,
    Dimension,
    rows_of_job,
)
from tests.support.memory_store.state import MemoryState


class MemoryUsageHistoryStore:
    """Fake of `core.store.usage_history.UsageHistoryStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def read_days(
        self, tenant: str, first: date, last: date, dimension: Dimension | None = None
    ) -> AsyncIterator[DayUsage]:
        async for day in read_days(self._memory, tenant, dimension):
            if first <= day.day <= last:
                yield day

    async def read_windows(self, tenant: str) -> Mapping[str, UsageTotals]:
        return self._memory.windows_of(tenant)

    async def list_tenants(self, since: date) -> Sequence[str]:
        return sorted({tenant for tenant, day in self._memory.usage_rows if day >= since})

    async def read_charges(self, day: date) -> Mapping[str, Charge]:
        return self._memory.charges.get(day, {})


async def read_days(
    memory: MemoryState, tenant: str, dimension: Dimension | None
) -> AsyncIterator[DayUsage]:
    """Yield all days of a tenant, oldest first."""
    for day in sorted(day for name, day in memory.usage_rows if name == tenant):
        sums: defaultdict[str, UsageTotals] = defaultdict(UsageTotals)
        for one in memory.accounts.values():
            if one.job.tenant == tenant and one.job.usage_day == day:
                for name in rows_of_job(one.job):
                    known = name in memory.usage_rows[tenant, day]
                    sums[name if known else name.partition("|")[0]] += one.counted
        yield DayUsage(day, sums.get(TOTAL_ROW, NO_USAGE), _values(sums, dimension))


def _values(sums: dict[str, UsageTotals], dimension: Dimension | None) -> dict[str, UsageTotals]:
    if dimension is None:
        return {}
    prefix = f"{dimension}|"
    found = {n.removeprefix(prefix): use for n, use in sums.items() if n.startswith(prefix)}
    return found | {OTHER: sums[dimension]} if dimension in sums else found
