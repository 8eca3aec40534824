"""What can happen to the journal and to workers: one fault at a time, on a running stack."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx

from simulator.private_redis import LOOPBACK, URL_VARIABLE, PrivateRedis, free_port
from simulator.stack import ManagedProcess
from tests.chaos.store_faults import StoreFault
from tests.chaos.store_under_attack import StoreUnderAttack, frozen, sleep
from tests.support.s3_server import S3Faults

AWAY: Final = timedelta(seconds=60)
FAILING: Final = timedelta(seconds=20)
PAST_THE_LEASE: Final = timedelta(seconds=20)
"""A submit's lease is 15 s."""
NOTICE_TIMEOUT: Final = timedelta(seconds=120)
MISTAKE: Final = timedelta(seconds=10)
"""How long a second gateway runs beside the first one."""
_SLOW_SUBMITS: Final = [{"call": "submit", "kind": "slow", "seconds": 1, "rate": 0.5}]


async def _journal_away(store: StoreUnderAttack) -> None:
    await _fail(store, S3Faults(rate=1), AWAY)


async def _journal_slow(store: StoreUnderAttack) -> None:
    await _fail(store, S3Faults(delay_seconds=2), FAILING)


async def _journal_failing(store: StoreUnderAttack) -> None:
    await _fail(store, S3Faults(rate=0.05), FAILING)


async def _journal_lost(store: StoreUnderAttack) -> None:
    """Its folder is gone while submits are in flight, with the workers that sent them."""
    empty = store.new_folder("empty-journal")
    empty.mkdir()
    await _lose_workers_and_journal(store, empty)


async def _journal_went_back(store: StoreUnderAttack) -> None:
    """As `_journal_lost`, and an older copy of it is there: it has the right identity."""
    copy = store.copy_journal("older-journal")
    await sleep(store.copy_age)
    await _lose_workers_and_journal(store, copy)


async def _store_and_journal_went_back(store: StoreUnderAttack) -> None:
    """Under running workers, which are the only ones that can notice it."""
    await asyncio.to_thread(store.copy_data)
    copy = await asyncio.to_thread(store.copy_journal, "older-journal")
    at = datetime.now(UTC).isoformat()
    await sleep(store.copy_age)
    store.swap_journal(copy)
    store.swap_data()
    store.is_journal_restored = True
    async with asyncio.timeout(NOTICE_TIMEOUT.total_seconds()):
        while not json.loads(await _gateway(store, "show", "--json"))["redis"]["lost_entry"]:
            await sleep(timedelta(seconds=1))
    await _gateway(store, "restored", "--at", at)


async def _gateway(store: StoreUnderAttack, *words: str) -> str:
    return await asyncio.to_thread(store.stack.run_gateway, "store", *words)


async def _lose_workers_and_journal(store: StoreUnderAttack, left: Path) -> None:
    """Workers die with submits in flight; they start with the journal `left`, which is accepted."""
    async with _slow_submits(store):
        for worker in store.stack.workers:
            worker.kill()
    store.swap_journal(left)
    for worker in store.stack.workers:
        worker.start()
        await asyncio.to_thread(worker.wait_until_ready)
    await sleep(PAST_THE_LEASE)
    await asyncio.to_thread(store.stack.run_gateway, "store", "replace-journal")


@asynccontextmanager
async def _slow_submits(store: StoreUnderAttack) -> AsyncIterator[None]:
    """Half of the submits take a second meanwhile, and some are in flight at the beginning."""
    url = f"{store.stack.runcomfy_url}/_sim/faults"
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(url, json=_SLOW_SUBMITS)).raise_for_status()
        await sleep(timedelta(seconds=2))
        yield
        (await http.delete(url)).raise_for_status()


async def _fail(store: StoreUnderAttack, faults: S3Faults, span: timedelta) -> None:
    if store.bucket is None:
        raise RuntimeError("the journal is not in a bucket")
    await asyncio.to_thread(store.bucket.fail, faults)
    await sleep(span)
    await asyncio.to_thread(store.bucket.fail, S3Faults())


async def _worker_frozen(store: StoreUnderAttack) -> None:
    """Some of its submits are in flight."""
    async with _slow_submits(store), frozen(store.stack.workers[0].pid or 0):
        await sleep(PAST_THE_LEASE)


async def _second_gateway_on_a_copy(store: StoreUnderAttack) -> None:
    """It has all jobs of the first one, and its identity."""
    await asyncio.to_thread(store.copy_data)
    server = store.start_server("second-redis", from_copy=True)
    await _run_second_gateway(store, server)


async def _second_gateway_on_an_empty_store(store: StoreUnderAttack) -> None:
    server = store.start_server("second-redis", from_copy=False)
    await _run_second_gateway(store, server)


async def _run_second_gateway(store: StoreUnderAttack, server: PrivateRedis) -> None:
    """One more worker, with the first one's journal and account, and a store of its own."""
    first, port = store.stack.workers[0], free_port()
    changed = {URL_VARIABLE: server.url, "GATEWAY_WORKER_METRICS_PORT": str(port)}
    second = ManagedProcess(
        name="second gateway",
        command=first.command,
        environment={**first.environment, **changed},
        log=first.log.with_stem("second-gateway"),
        url=f"http://{LOOPBACK}:{port}",
        ready_path="/healthz",
    )
    second.start()
    await asyncio.to_thread(second.wait_until_ready)
    await sleep(MISTAKE)
    await asyncio.to_thread(second.stop)
    server.stop()


JOURNAL_FAULTS: Final[Mapping[str, StoreFault]] = {
    "journal away for 60 s": _journal_away,
    "journal slow, 2 s a call": _journal_slow,
    "journal on S3, 5 % of calls fail": _journal_failing,
}
WORKER_FAULTS: Final[Mapping[str, StoreFault]] = {
    "worker frozen past its lease": _worker_frozen,
    "journal lost, all workers killed": _journal_lost,
    "journal went back, all workers killed": _journal_went_back,
    "store and journal swapped for one copy": _store_and_journal_went_back,
    "second gateway on a copy": _second_gateway_on_a_copy,
    "second gateway on an empty store": _second_gateway_on_an_empty_store,
}
