"""Wake-up messages between listeners over a real Redis: each is handled once, at a bounded cost."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import orjson
import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.jobs import serialize_job
from redis.asyncio import Redis

from core.clock import SystemClock
from core.store.client import build_retrying_pool
from core.store.keys import WAKE_QUEUE, arq_message
from core.store.wake_queue import WAKE_FUNCTION
from tests.support.redis import redis_policy
from worker.scheduling.arq_listener import WakeHandler, WakeListener, WakeListenerPolicy

MESSAGES: Final = 120
POLICY: Final = WakeListenerPolicy(max_concurrency=20, poll_interval=timedelta(milliseconds=5))
LIMIT: Final = 60.0


def _listener(url: str, handle: WakeHandler) -> WakeListener:
    def pool() -> ArqRedis:
        return ArqRedis(
            build_retrying_pool(redis_policy(url), "wake"),
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            default_queue_name=WAKE_QUEUE,
        )

    return WakeListener(pool, handle, POLICY, SystemClock())


async def _put(redis: Redis, names: list[str]) -> None:
    for name in names:
        body = serialize_job(WAKE_FUNCTION, (name, 1), {}, None, 1, serializer=orjson.dumps)
        await redis.set(arq_message(name), body)
        await redis.zadd(WAKE_QUEUE, {name: 1})


async def _run_until(done: Callable[[], Awaitable[bool]], *listeners: WakeListener) -> None:
    running = {asyncio.create_task(listener.run()) for listener in listeners}
    async with asyncio.timeout(LIMIT):
        while not await done():  # noqa: ASYNC110 - the queue is in Redis
            await asyncio.sleep(0.01)
        # redis-py can lose a cancellation.
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0.2)


@pytest.mark.parametrize("listeners", [1, 2])
async def test_each_message_is_handled_once_and_leaves_nothing(
    redis_flushed: str, listeners: int
) -> None:
    handled: Counter[str] = Counter()

    async def handle(job_id: str, _: int) -> None:
        await asyncio.sleep(0.001)
        handled[job_id] += 1

    async with Redis.from_url(redis_flushed) as redis:
        names = [f"job{number}" for number in range(MESSAGES)]
        await _put(redis, names)

        async def is_empty() -> bool:
            return not await redis.zcard(WAKE_QUEUE)

        await _run_until(is_empty, *(_listener(redis_flushed, handle) for _ in range(listeners)))

        assert handled == Counter(names)
        assert await redis.keys("arq:*") == []


async def test_waiting_messages_are_claimed_together(redis_flushed: str) -> None:
    """One round trip claims as many as may run; arq's own way takes four for each."""

    async def handle(_: str, __: int) -> None:
        return

    async with Redis.from_url(redis_flushed) as redis:
        await _put(redis, [f"job{number}" for number in range(MESSAGES)])
        await redis.config_resetstat()

        async def is_empty() -> bool:
            return not await redis.zcard(WAKE_QUEUE)

        await _run_until(is_empty, _listener(redis_flushed, handle))

        stats = await redis.info("commandstats")
        assert "cmdstat_watch" not in stats
        assert stats["cmdstat_set"]["calls"] == MESSAGES


async def test_no_more_messages_run_than_the_policy_allows(redis_flushed: str) -> None:
    release, running, most = asyncio.Event(), 0, 0

    async def handle(_: str, __: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with Redis.from_url(redis_flushed) as redis:
        await _put(redis, [f"job{number}" for number in range(MESSAGES)])

        async def is_full_then_empty() -> bool:
            if running == POLICY.max_concurrency:
                release.set()
            return not await redis.zcard(WAKE_QUEUE)

        await _run_until(is_full_then_empty, _listener(redis_flushed, handle))

        assert most == POLICY.max_concurrency


async def test_a_message_that_another_worker_has_is_left_to_it(redis_flushed: str) -> None:
    handled: list[str] = []

    async def handle(job_id: str, _: int) -> None:
        handled.append(job_id)

    async with Redis.from_url(redis_flushed) as redis:
        await _put(redis, ["locked", "free"])
        await redis.set(in_progress_key_prefix + "locked", b"1")

        async def is_free_handled() -> bool:
            return await redis.zscore(WAKE_QUEUE, "free") is None

        await _run_until(is_free_handled, _listener(redis_flushed, handle))

        assert handled == ["free"]
        assert await redis.zscore(WAKE_QUEUE, "locked") is not None
