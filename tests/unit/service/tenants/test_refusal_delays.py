"""After a burst of failures an address waits for each further answer; others do not."""

import asyncio
from datetime import timedelta

import pytest

from service.tenants import refusal_delays
from service.tenants.refusal_delays import DelayPolicy, RefusalDelays
from service.tenants.token_bucket import TokenBucket
from tests.support.clock import FakeClock, run_ready_tasks

POLICY = DelayPolicy(TokenBucket(3, timedelta(seconds=1)), delay=timedelta(seconds=2))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def failures(clock: FakeClock) -> RefusalDelays:
    return RefusalDelays(clock, POLICY)


async def is_delayed(failures: RefusalDelays, clock: FakeClock, address: str = "192.0.2.1") -> bool:
    """Record a failure; whether its answer waits for the policy's delay."""
    task = asyncio.create_task(failures.record(address))
    await run_ready_tasks()
    delayed = not task.done()
    before = clock.now()
    clock.move(POLICY.delay if delayed else timedelta())
    await task
    clock.set(before)
    return delayed


async def test_a_burst_is_answered_and_then_one_in_each_interval(
    failures: RefusalDelays, clock: FakeClock
) -> None:
    assert [await is_delayed(failures, clock) for _ in range(6)] == [False] * 3 + [True] * 3
    clock.move(POLICY.bucket.interval)
    assert [await is_delayed(failures, clock) for _ in range(2)] == [False, True]
    clock.move(10 * POLICY.bucket.interval)
    assert [await is_delayed(failures, clock) for _ in range(4)] == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("other", "shared"),
    [("192.0.2.2", False), ("", False), ("2001:db8::1", False), ("192.0.2.1", True)],
)
async def test_each_address_has_its_own_burst(
    failures: RefusalDelays, clock: FakeClock, other: str, *, shared: bool
) -> None:
    for _ in range(3):
        await failures.record("192.0.2.1")
    assert await is_delayed(failures, clock, other) is shared


async def test_a_network_of_ipv6_is_one_address(failures: RefusalDelays, clock: FakeClock) -> None:
    for number in range(3):
        await failures.record(f"2001:db8::{number}")
    assert await is_delayed(failures, clock, "2001:db8::ffff")
    assert not await is_delayed(failures, clock, "2001:db8:0:1::1")


async def test_what_is_remembered_and_what_waits_is_bounded(
    failures: RefusalDelays, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_delays, "_MAX_OWNERS", 2)
    monkeypatch.setattr(refusal_delays, "_MAX_DELAYED", 1)
    for number in range(10):
        await failures.record(f"192.0.2.{number}")
    assert len(failures._full_at) == 2
    for _ in range(2):
        await failures.record("192.0.2.9")
    waiting = asyncio.create_task(failures.record("192.0.2.9"))
    await run_ready_tasks()
    await failures.record("192.0.2.9")
    assert not waiting.done()
    clock.move(POLICY.delay)
    await waiting
