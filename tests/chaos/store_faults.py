"""What can happen to the store: one fault at a time, on a running stack. Uses signals and files."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

import redis

from simulator.private_redis import LOOPBACK, URL_VARIABLE
from simulator.stack import ManagedProcess, stop_all
from tests.chaos.store_under_attack import StoreUnderAttack, frozen, sleep
from tests.support.sentinel import SentinelProcess, sentinel

SETTLE: Final = timedelta(seconds=2)
"""Between two steps of a fault; less than the time after which Sentinel replaces a master."""
PAUSE: Final = timedelta(seconds=10)
"""How long a paused master is away after its replacement."""
SPLIT: Final = timedelta(seconds=25)
"""How long there are two masters."""

StoreFault = Callable[[StoreUnderAttack], Awaitable[None]]


async def _planned_failover(store: StoreUnderAttack) -> None:
    await asyncio.to_thread(_watcher(store).fail_over)
    await store.wait_for_failover()
    await store.wait_for_replica()


async def _master_killed(store: StoreUnderAttack) -> None:
    dead = store.master
    dead.kill()
    await store.wait_for_failover()
    await sleep(SETTLE)
    dead.start()
    await store.wait_for_replica()


async def _master_paused(store: StoreUnderAttack) -> None:
    async with frozen(store.master.pid or 0):
        await store.wait_for_failover()
        await sleep(PAUSE)
    await store.wait_for_replica()


async def _replica_behind(store: StoreUnderAttack) -> None:
    """The replica gets nothing for two seconds; then the master dies, and it is elected."""
    dead, replica = store.master, store.servers[1]
    async with frozen(replica.pid or 0):
        # Without its connection nothing waits for it in a buffer of the kernel.
        with redis.Redis(port=dead.port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        await sleep(SETTLE)
        dead.kill()
    await store.wait_for_failover()
    await sleep(SETTLE)
    dead.start()
    await store.wait_for_replica()


async def _replica_behind_with_a_minimum(store: StoreUnderAttack) -> None:
    """As `_replica_behind`: Redis counts a replica that was silent for less than 10 s."""
    with redis.Redis(port=store.master.port) as client:
        client.config_set("min-replicas-to-write", 1)
    await _replica_behind(store)


async def _split_brain(store: StoreUnderAttack) -> None:
    """Two masters: a worker follows a Sentinel that has failed over, all others one that hangs."""
    first, worker = _watcher(store), store.stack.workers[-1]
    folder, before = store.stack.plan.folder / "second", worker.environment
    folder.mkdir(exist_ok=True)
    with sentinel(folder, store.master.port) as second:
        await asyncio.to_thread(second.wait_for_replicas, 1)
        await _restart_with(worker, {"GATEWAY_REDIS_SENTINELS": f'["{LOOPBACK}:{second.port}"]'})
        async with frozen(first.pid):
            await asyncio.to_thread(second.fail_over)
            store.watcher = second
            await store.wait_for_failover()
            # Now it does not make the old master a replica either.
            async with frozen(second.pid):
                await sleep(SPLIT)
        await store.wait_for_replica()
        await _restart_with(worker, before)
    store.watcher = first
    while not await asyncio.to_thread(first.is_master, store.master.port):
        await sleep(SETTLE)


async def _swapped_for_a_copy(store: StoreUnderAttack) -> None:
    await asyncio.to_thread(store.copy_data)
    await sleep(store.copy_age)
    store.swap_data()


async def _swapped_and_all_workers_killed(store: StoreUnderAttack) -> None:
    await asyncio.to_thread(store.copy_data)
    await sleep(store.copy_age)
    for worker in store.stack.workers:
        worker.kill()
    store.swap_data()
    for worker in store.stack.workers:
        worker.start()
        await asyncio.to_thread(worker.wait_until_ready)


async def _flushed(store: StoreUnderAttack) -> None:
    store.master.flush()
    await sleep(SETTLE)
    await store.recreate_tenants()


async def _replaced_by_an_empty_store(store: StoreUnderAttack) -> None:
    store.master.kill()
    shutil.rmtree(store.master.directory / "appendonlydir")
    store.master.start()
    await sleep(SETTLE)
    await store.recreate_tenants()


async def _moved_to_a_hot_backup(store: StoreUnderAttack) -> None:
    """All processes change over to a copy that was made while they worked."""
    await asyncio.to_thread(store.copy_data)
    await sleep(store.copy_age)
    server, stack = store.start_server("moved", from_copy=True), store.stack
    moved = {URL_VARIABLE: server.url}
    await asyncio.to_thread(stop_all, [*stack.services, *stack.workers])
    store.ending.callback(store.master.stop)
    store.servers[0] = server
    stack.environment = {**stack.environment, **moved}
    for child in (*stack.services, *stack.workers):
        await _restart_with(child, moved)


def _watcher(store: StoreUnderAttack) -> SentinelProcess:
    if store.watcher is None:
        raise RuntimeError("without a Sentinel there is no fail-over")
    return store.watcher


async def _restart_with(child: ManagedProcess, changed: Mapping[str, str]) -> None:
    child.environment = {**child.environment, **changed}
    await asyncio.to_thread(child.restart)


FAILOVERS: Final[Mapping[str, StoreFault]] = {
    "planned fail-over": _planned_failover,
    "master killed": _master_killed,
    "master paused": _master_paused,
    "replica 2 s behind, master killed": _replica_behind,
    "replica 2 s behind, min-replicas-to-write 1": _replica_behind_with_a_minimum,
    "split brain for 25 s": _split_brain,
}
COPIES: Final[Mapping[str, StoreFault]] = {
    "swapped for a copy": _swapped_for_a_copy,
    "swapped for a copy, all workers killed": _swapped_and_all_workers_killed,
}
REWINDS: Final[Mapping[str, StoreFault]] = {
    **COPIES,
    "FLUSHALL": _flushed,
    "empty store": _replaced_by_an_empty_store,
    "moved to a hot backup": _moved_to_a_hot_backup,
}
