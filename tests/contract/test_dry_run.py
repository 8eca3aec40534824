"""A dry run returns what the submit would return, and writes nothing."""

from typing import Any, Final

import pytest

from core.errors import (
    BudgetReached,
    LimitReached,
)
from core.money import MicroUsd
from core.store import keys
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.tenants.windows import AccountingCalendar
from core.transactions.admission import AdmissionResult, CacheRequest
from tests.support.coalescing import CoalescingHarness
from tests.support.redis import redis_client
from tests.support.store_harness import memory_harness, redis_harness

OFF: Final = CacheRequest(requested=CacheOption.OFF)


CASES: Final[dict[str, dict[str, Any]]] = {
    "miss": {"fingerprint": "1:new"},
    "off": {"reuse": OFF},
    "hit": {},
    "joined": {"fingerprint": "1:open"},
    "replayed": {"key": "k"},
}


async def _create_tenants(coalescing: CoalescingHarness) -> None:
    limits = Limits(requests_per_minute=600, jobs_per_day=100, usd_per_day=MicroUsd(10**9))
    await coalescing.stores.set_limits("ape", limits)
    await coalescing.finish((await coalescing.submit(key="k"))[0])
    await coalescing.submit_job(fingerprint="1:open")


@pytest.mark.parametrize("case", CASES)
async def test_a_dry_run_returns_what_the_submit_then_returns(
    coalescing: CoalescingHarness, case: str
) -> None:
    await _create_tenants(coalescing)
    _, dry = await coalescing.submit(**CASES[case], dry_run=True)
    _, real = await coalescing.submit(**CASES[case])
    assert _summary(dry) == _summary(real)
    assert dry.cache_status == case


def _summary(admitted: AdmissionResult) -> tuple[object, ...]:
    return admitted.cache_status, admitted.has_slot, admitted.reserved, admitted.quotas


async def test_a_dry_run_is_refused_as_the_submit_is(coalescing: CoalescingHarness) -> None:
    await coalescing.stores.set_limits("ape", Limits(usd_per_day=MicroUsd(1)))
    with pytest.raises(BudgetReached):
        await coalescing.submit(dry_run=True)


@pytest.mark.parametrize("case", CASES)
async def test_a_dry_run_writes_nothing_to_redis(redis_flushed: str, case: str) -> None:
    async with redis_client(redis_flushed) as wire:
        flight = CoalescingHarness(redis_harness(wire))
        await flight.stores.tenant("ape")
        await _create_tenants(flight)

        async def dump() -> dict[bytes, tuple[bytes, int]]:
            found = sorted(await wire.execute("KEYS", "*"))
            # A dry run is a call, and counts in the tenant's rate of calls.
            rates = keys.LUA_NAMES["call_rate"].encode()
            names = [name for name in found if not name.startswith(rates)]
            return {n: (await wire.execute("DUMP", n), await _life(n)) for n in names}

        async def _life(name: bytes) -> int:
            return int(await wire.execute("PEXPIRETIME", name))

        before = await dump()
        assert (await flight.submit(**CASES[case], dry_run=True))[1].cache_status == case
        assert await dump() == before


async def test_a_dry_run_writes_nothing_to_the_memory_store() -> None:
    gateway, stores = memory_harness()
    flight = CoalescingHarness(gateway)
    await gateway.tenant("ape")
    await _create_tenants(flight)
    jobs, held = list(stores.memory.jobs), stores.memory.coalescing.entries.copy()
    for case in CASES.values():
        await flight.submit(**case, dry_run=True)
    assert (list(stores.memory.jobs), stores.memory.coalescing.entries) == (jobs, held)


async def test_a_dry_run_is_one_call_whatever_the_calendar(coalescing: CoalescingHarness) -> None:
    calendar = AccountingCalendar("Europe/Rome", 6)
    await coalescing.stores.tenant("cat", Limits(calls_per_minute=1), calendar=calendar)
    _, dry = await coalescing.submit("cat", dry_run=True)
    assert dry.cache_status == "miss"
    with pytest.raises(LimitReached):
        await coalescing.submit("cat", dry_run=True)
