"""A host that never answers uses its own endpoint's slots only. Counted, not timed."""

import asyncio

from core.webhooks.circuit_breaker import EndpointCircuitPolicy
from tests.support.delivery_worker import (
    OTHER_TENANT,
    delivery_worker,
    running_loop,
    running_receiver,
)

COUNT = 300
AT_ONCE = 100


async def test_what_is_due_to_a_black_hole_does_not_hold_up_a_live_receiver(
    redis_flushed: str,
) -> None:
    async with (
        running_receiver(answers=True) as live,
        running_receiver(answers=False) as black_hole,
    ):
        # Each delivery has its own path, as with callers that write ids into their URLs.
        paths = [f"{black_hole.url}/{number}" for number in range(COUNT)]
        async with delivery_worker(redis_flushed, AT_ONCE) as (office, loop):
            lost = await office.enqueue(1, paths)
            ids = await office.enqueue(COUNT, [live.url])
            async with asyncio.timeout(15), running_loop(loop):  # less than one attempt's 20 s
                await office.finished(ids)
            assert live.received == COUNT
            assert not set(lost) & set(office.done)
            assert black_hole.connections == EndpointCircuitPolicy().max_concurrency < AT_ONCE


async def test_a_tenant_whose_many_hosts_do_not_answer_does_not_hold_up_another(
    redis_flushed: str,
) -> None:
    async with (
        running_receiver(answers=True) as live,
        running_receiver(answers=False, address="0.0.0.0") as black_hole,  # noqa: S104 - all of 127/8
    ):
        hosts = [f"127.{high}.{low}.1" for high in range(4) for low in range(1, 251)]
        async with delivery_worker(redis_flushed, AT_ONCE) as (office, loop):
            lost = await office.enqueue(1, [f"http://{host}:{black_hole.port}/" for host in hosts])
            ids = await office.enqueue(8, [live.url], OTHER_TENANT)
            async with asyncio.timeout(15), running_loop(loop):  # less than one attempt's 20 s
                await office.finished(ids)
            assert live.received == len(ids)
            assert not set(lost) & set(office.done)
            assert black_hole.connections <= AT_ONCE * 2 // 3 + 1
