"""Deliveries to a live receiver, with and without as many due to a host that never answers."""

import time

import pytest

from simulator.private_redis import PrivateRedis
from tests.support.delivery_worker import delivery_worker, running_loop, running_receiver

COUNT = 1000
MAX_CONCURRENCY = 100
ROUNDS = 3


async def live_delivery_times(redis_url: str, *, beside_a_black_hole: bool) -> list[float]:
    """Seconds from the start to the end of each live delivery, sorted."""
    async with (
        running_receiver(answers=True) as live,
        running_receiver(answers=False) as black_hole,
        delivery_worker(redis_url, MAX_CONCURRENCY) as (office, loop),
    ):
        if beside_a_black_hole:
            await office.enqueue(COUNT, [black_hole.url])
        ids = await office.enqueue(COUNT, [live.url])
        began = time.monotonic()
        async with running_loop(loop):
            await office.finished(ids)
        return sorted(office.done[name] - began for name in ids)


@pytest.mark.bench
async def test_an_unresponsive_host_does_not_double_the_p99_of_a_live_receiver(
    redis_server: PrivateRedis, redis_flushed: str
) -> None:
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    for _ in range(ROUNDS):
        for found, black in ((alone, False), (beside, True)):
            redis_server.flush()
            found.append(await live_delivery_times(redis_flushed, beside_a_black_hole=black))
    p99 = [min(times[int(COUNT * 0.99)] for times in found) for found in (alone, beside)]
    rate = COUNT / min(times[-1] for times in alone)
    print(f"\n{COUNT} due to a live receiver, alone: p99 {p99[0]:.3f} s, {rate:.0f} a second")
    print(
        f"the same beside {COUNT} due to a black hole: p99 {p99[1]:.3f} s ({p99[1] / p99[0]:.2f}x)"
    )
    assert p99[1] <= 2 * p99[0]
