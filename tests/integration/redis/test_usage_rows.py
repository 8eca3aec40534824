"""Rows of usage that another release wrote."""

import struct

from core.billing.usage import UsageTotals
from core.store import keys
from core.tenants.windows import window_names
from tests.support.redis import redis_client
from tests.support.store_harness import PRICE, redis_harness

LATER_NUMBERS = (7, 9)


async def test_numbers_of_a_later_release_stay_in_a_row_that_is_added_to(
    redis_flushed: str,
) -> None:
    async with redis_client(redis_flushed) as wire:
        harness = redis_harness(wire)
        await harness.tenant("ape")
        first = await harness.submit("ape")
        key, name = keys.usage("ape"), window_names(first.usage_day)[0]
        row = await wire.execute("HGET", key, name)
        assert UsageTotals.parse(row).jobs == 1
        whole = row.ljust(len(UsageTotals().numbers) * 8, b"\0")
        later = struct.pack(">2q", *LATER_NUMBERS)
        await wire.execute("HSET", key, name, whole + later)
        await harness.submit("ape")
        row = await wire.execute("HGET", key, name)
        assert row.endswith(later)
        total = UsageTotals.parse(row)
        assert (total.jobs, total.reserved) == (2, 2 * PRICE)
