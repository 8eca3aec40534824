"""A dry run says what the submit would meet, and writes nothing. The twin and Redis agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import (
    BudgetReached,
)
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import Limits
from core.transactions.admission import ReuseRequest
from tests.contract.flight import Flight
from tests.contract.gateway import in_memory, in_redis, wire_to

if TYPE_CHECKING:
    from core.transactions.admission import Admitted

OFF: Final = ReuseRequest(asked=CacheOption.OFF)


CASES: Final[dict[str, dict[str, Any]]] = {
    "miss": {"fingerprint": "1:new"},
    "off": {"reuse": OFF},
    "hit": {},
    "joined": {"fingerprint": "1:open"},
    "replayed": {"key": "k"},
}


async def _furnish(flight: Flight) -> None:
    limits = Limits(requests_per_minute=600, jobs_per_day=100, usd_per_day=MicroUsd(10**9))
    await flight.gateway.limit("ape", limits)
    await flight.finish((await flight.ask(key="k"))[0])
    await flight.join(fingerprint="1:open")


@pytest.mark.parametrize("case", CASES)
async def test_a_dry_run_says_what_the_submit_then_meets(flight: Flight, case: str) -> None:
    await _furnish(flight)
    _, dry = await flight.ask(**CASES[case], dry_run=True)
    _, real = await flight.ask(**CASES[case])
    assert _gist(dry) == _gist(real)
    assert dry.reuse == case


def _gist(admitted: Admitted) -> tuple[object, ...]:
    return admitted.reuse, admitted.running, admitted.reserved, admitted.quotas


async def test_a_dry_run_meets_the_refusal(flight: Flight) -> None:
    await flight.gateway.limit("ape", Limits(usd_per_day=MicroUsd(1)))
    with pytest.raises(BudgetReached):
        await flight.ask(dry_run=True)


@pytest.mark.parametrize("case", CASES)
async def test_a_dry_run_writes_nothing_to_redis(redis_flushed: str, case: str) -> None:
    async with wire_to(redis_flushed) as wire:
        flight = Flight(in_redis(wire))
        await flight.gateway.tenant("ape")
        await _furnish(flight)

        async def dump() -> dict[bytes, tuple[bytes, int]]:
            names = sorted(await wire.execute("KEYS", "*"))
            return {n: (await wire.execute("DUMP", n), await _life(n)) for n in names}

        async def _life(name: bytes) -> int:
            return int(await wire.execute("PEXPIRETIME", name))

        before = await dump()
        assert (await flight.ask(**CASES[case], dry_run=True))[1].reuse == case
        assert await dump() == before


async def test_a_dry_run_writes_nothing_to_the_twin() -> None:
    gateway, stores = in_memory()
    flight = Flight(gateway)
    await gateway.tenant("ape")
    await _furnish(flight)
    jobs, held = list(stores.memory.jobs), stores.memory.flights.inputs.copy()
    for case in CASES.values():
        await flight.ask(**case, dry_run=True)
    assert (list(stores.memory.jobs), stores.memory.flights.inputs) == (jobs, held)
