"""What can happen to the store: one fault at a time, on a running stack. Uses signals and files."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import redis

from simulator.private_redis import PrivateRedis
from simulator.stack import Stack, TenantCredentials
from tests.support.sentinel import SentinelProcess

SETTLE: Final = timedelta(seconds=2)
"""Between two steps of a fault."""
PAUSE: Final = timedelta(seconds=25)
"""How long a paused master is away: longer than Sentinel needs to replace it."""
NO_BUDGET: Final = ("--usd-per-day", "100000", "--usd-per-month", "100000")
FAILOVER_TIMEOUT: Final = timedelta(seconds=120)
_POLL: Final = timedelta(milliseconds=100)


@dataclass(slots=True)
class StoreUnderAttack:
    """The stack, its Redis servers and, for fail-overs, the Sentinel; the tenants as they are."""

    stack: Stack
    servers: list[PrivateRedis]
    """The first one is the master until a fault makes another one the master."""
    tenants: list[TenantCredentials]
    copy_age: timedelta
    """How old the copy is that a fault puts in Redis's place."""
    watcher: SentinelProcess | None = None
    copies: Path = field(default_factory=Path)

    @property
    def master(self) -> PrivateRedis:
        """The master, as Sentinel sees it; without Sentinel the only server."""
        return self.servers[0]

    async def wait_for_failover(self) -> None:
        """Return when Sentinel names another master, which is then `master`."""
        watcher, replica = self.watcher, self.servers[1]
        if watcher is None:
            raise RuntimeError("without a Sentinel there is no fail-over")
        async with asyncio.timeout(FAILOVER_TIMEOUT.total_seconds()):
            while not await asyncio.to_thread(watcher.is_master, replica.port):
                await _sleep(_POLL)
        self.servers.reverse()

    async def wait_for_replica(self) -> None:
        """Return when the other server follows the master, and Sentinel knows it."""
        async with asyncio.timeout(FAILOVER_TIMEOUT.total_seconds()):
            while not await asyncio.to_thread(self._is_followed):
                await _sleep(_POLL)

    def _is_followed(self) -> bool:
        with redis.Redis(port=self.master.port) as client:
            replica = client.info("replication").get("slave0", {})
        return bool(replica.get("state") == "online")

    async def recreate_tenants(self) -> None:
        """What an operator does with an empty store: tenants first, then it is the gateway's.

        In the other order jobs that are restored could end before their endpoints are known.
        """
        names = [tenant.name for tenant in self.tenants]
        self.tenants[:] = [
            await asyncio.to_thread(self.stack.create_tenant, name, *NO_BUDGET) for name in names
        ]
        await asyncio.to_thread(self.stack.run_gateway, "store", "init", "--replace")


StoreFault = Callable[[StoreUnderAttack], Awaitable[None]]


async def _planned_failover(store: StoreUnderAttack) -> None:
    if store.watcher is not None:
        await asyncio.to_thread(store.watcher.fail_over)
    await store.wait_for_failover()
    await store.wait_for_replica()


async def _master_killed(store: StoreUnderAttack) -> None:
    dead = store.master
    dead.kill()
    await store.wait_for_failover()
    await _sleep(SETTLE)
    dead.start()
    await store.wait_for_replica()


async def _master_paused(store: StoreUnderAttack) -> None:
    pid = store.master.pid or 0
    os.kill(pid, signal.SIGSTOP)
    try:
        await store.wait_for_failover()
        await _sleep(PAUSE)
    finally:
        os.kill(pid, signal.SIGCONT)
    await store.wait_for_replica()


async def _swapped_for_a_copy(store: StoreUnderAttack) -> None:
    await _copy_data(store)
    await _sleep(store.copy_age)
    _swap_data(store)


async def _swapped_and_all_workers_killed(store: StoreUnderAttack) -> None:
    await _copy_data(store)
    await _sleep(store.copy_age)
    for worker in store.stack.workers:
        worker.kill()
    _swap_data(store)
    for worker in store.stack.workers:
        worker.start()
        await asyncio.to_thread(worker.wait_until_ready)


async def _flushed(store: StoreUnderAttack) -> None:
    store.master.flush()
    await _sleep(SETTLE)
    await store.recreate_tenants()


async def _replaced_by_an_empty_store(store: StoreUnderAttack) -> None:
    store.master.kill()
    shutil.rmtree(store.master.directory / "appendonlydir")
    store.master.start()
    await _sleep(SETTLE)
    await store.recreate_tenants()


async def _copy_data(store: StoreUnderAttack) -> None:
    """Copy the append-only file of the running server: each of its beginnings is consistent."""
    shutil.rmtree(store.copies, ignore_errors=True)
    await asyncio.to_thread(shutil.copytree, store.master.directory, store.copies)


def _swap_data(store: StoreUnderAttack) -> None:
    server = store.master
    server.kill()
    shutil.rmtree(server.directory)
    shutil.copytree(store.copies, server.directory)
    server.start()


async def _sleep(span: timedelta) -> None:
    await asyncio.sleep(span.total_seconds())


FAILOVERS: Final[Mapping[str, StoreFault]] = {
    "planned fail-over": _planned_failover,
    "master killed": _master_killed,
    "master paused": _master_paused,
}
REWINDS: Final[Mapping[str, StoreFault]] = {
    "swapped for a copy": _swapped_for_a_copy,
    "swapped for a copy, all workers killed": _swapped_and_all_workers_killed,
    "FLUSHALL": _flushed,
    "empty store": _replaced_by_an_empty_store,
}
STORE_FAULTS: Final = {**FAILOVERS, **REWINDS}
