"""The cost of keys, cache and coalescing in an admission: no further round trip, few commands."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import pytest

from core.store.client import RedisClient
from core.tenants.limits import GlobalLimits
from core.transactions.admission import CACHE_BYPASS
from tests.support.coalescing import CACHE_REQUEST, CoalescingHarness
from tests.support.redis import redis_client
from tests.support.store_harness import EVERY_LIMIT, redis_harness

KINDS: Final[Mapping[str, dict[str, Any]]] = {
    "off": {"reuse": CACHE_BYPASS},
    "off, with a key": {"reuse": CACHE_BYPASS, "key": "new"},
    "miss": {"reuse": CACHE_REQUEST, "fingerprint": "1:new"},
    "miss, with a key": {"reuse": CACHE_REQUEST, "fingerprint": "1:new", "key": "new"},
    "joined": {"reuse": CACHE_REQUEST, "fingerprint": "1:open"},
    "hit": {"reuse": CACHE_REQUEST, "fingerprint": "1:kept"},
    "replayed": {"key": "old", "fingerprint": "1:old"},
    "dry run": {"reuse": CACHE_REQUEST, "fingerprint": "1:new", "dry_run": True},
}
MAX_COMMANDS: Final = {
    "off": 34,  # 3 read the API key's limits and the stored bytes, 1 counts those
    "off, with a key": 36,  # GET, SET
    "miss": 36,  # HMGET; HSET
    "miss, with a key": 38,
    "joined": 27,
    "hit": 24,
    "replayed": 6,  # 2 count it as a call
    "dry run": 13,
}
"""The most commands that each may run inside Redis."""
FOLLOWERS: Final = 300
ROUNDS: Final = 40
BATCH: Final = 25


@dataclass
class CountedCoalescing:
    """A coalescing harness that counts the calls to Redis."""

    coalescing: CoalescingHarness
    wire: RedisClient
    trips: list[str] = field(default_factory=list)

    async def submit(self, kind: str, number: int) -> None:
        """Submit a request of this kind; its input is new where the kind requires it."""
        given: dict[str, Any] = {
            name: f"{value}{number}" if value in {"new", "1:new"} else value
            for name, value in KINDS[kind].items()
        }
        await self.coalescing.submit("ape", **given)

    async def commands(self, kind: str, number: int) -> dict[str, int]:
        """The calls of one submit, by command."""
        await self.wire.execute("CONFIG", "RESETSTAT")
        self.trips.clear()
        await self.submit(kind, number)
        assert self.trips == ["EVALSHA"]
        text = (await self.wire.execute("INFO", "commandstats")).decode()
        rows = [line.removeprefix("cmdstat_").partition(":") for line in text.splitlines()]
        found = {name: int(rest.split(",")[0].split("=")[1]) for name, _, rest in rows if rest}
        del found["config|resetstat"], found["evalsha"]
        return found

    async def spent(self) -> float:
        """The microseconds that scripts have taken inside Redis."""
        text = (await self.wire.execute("INFO", "commandstats")).decode()
        line = next(line for line in text.splitlines() if line.startswith("cmdstat_evalsha:"))
        return float(line.split(",")[1].split("=")[1])


@pytest.fixture
async def counted_coalescing(
    redis_flushed: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CountedCoalescing]:
    """A tenant with every limit, one open job, one cached result, one key; no slot is free."""
    async with redis_client(redis_flushed) as wire:
        flight = CoalescingHarness(redis_harness(wire))
        await flight.stores.tenant("ape", EVERY_LIMIT)
        await flight.finish(await flight.submit_job(fingerprint="1:kept"))
        await flight.stores.admin.set_limits(GlobalLimits(running=1))
        await flight.submit_job(fingerprint="1:open")
        await flight.submit(key="old", fingerprint="1:old")
        counted = CountedCoalescing(flight, wire)
        execute = wire.execute

        async def tripping(*command: Any) -> Any:  # noqa: ANN401 - as the wire
            counted.trips.append(command[0])
            return await execute(*command)

        monkeypatch.setattr(wire, "execute", tripping)
        yield counted


async def test_every_kind_is_one_trip_and_few_commands(
    counted_coalescing: CountedCoalescing,
) -> None:
    found = {
        kind: sum((await counted_coalescing.commands(kind, number)).values())
        for number, kind in enumerate(KINDS)
    }
    print(f"\ncommands inside Redis by what is found: {found}")
    assert all(found[kind] <= most for kind, most in MAX_COMMANDS.items()), found


async def test_no_crowd_of_followers_adds_a_command(counted_coalescing: CountedCoalescing) -> None:
    few = await counted_coalescing.commands("joined", 0)
    for number in range(FOLLOWERS):
        await counted_coalescing.submit("joined", number)
    assert await counted_coalescing.commands("joined", FOLLOWERS) == few


@pytest.mark.bench
@pytest.mark.timeout(600)
async def test_the_time_of_an_admission_by_what_is_found(
    counted_coalescing: CountedCoalescing,
) -> None:
    """Measure both alternately, since a machine stays busy for seconds."""
    calls: dict[str, list[float]] = {kind: [] for kind in KINDS}
    inside: dict[str, list[float]] = {kind: [] for kind in KINDS}
    number = 0
    for _ in range(ROUNDS):
        for kind in KINDS:
            before = await counted_coalescing.spent()
            for _ in range(BATCH):
                number += 1
                began = time.perf_counter()
                await counted_coalescing.submit(kind, number)
                calls[kind].append((time.perf_counter() - began) * 1e6)
            inside[kind].append((await counted_coalescing.spent() - before) / BATCH)
    print(f"\n{'microseconds':24}{'script, min':>14}{'median':>8}{'call, p50':>12}{'p99':>8}")
    for kind in KINDS:
        spans, scripts = sorted(calls[kind]), inside[kind]
        late = spans[len(spans) * 99 // 100]
        print(
            f"{kind:24}{min(scripts):14.0f}{median(scripts):8.0f}{median(spans):12.0f}{late:8.0f}"
        )
