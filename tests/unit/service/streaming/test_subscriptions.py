"""Subscriptions to jobs: which are woken, by which changes, and that none leaks."""

import asyncio
from datetime import timedelta

import pytest

from service.streaming.subscriptions import Subscription, Subscriptions, WakeReason
from tests.support.clock import FakeClock, run_ready_tasks

SPAN = timedelta(seconds=15)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def subscriptions(clock: FakeClock) -> Subscriptions:
    return Subscriptions(clock, max_subscriptions=3, max_per_tenant=2)


def subscribe(
    subscriptions: Subscriptions,
    job_id: str = "req_1",
    *,
    tenant: str = "a",
    ends_only: bool = False,
) -> Subscription:
    waiter = subscriptions.subscribe(job_id, tenant, final_only=ends_only)
    assert waiter is not None
    return waiter


async def start_waiting(waiter: Subscription) -> asyncio.Task[WakeReason]:
    task = asyncio.create_task(waiter.wait(SPAN))
    await run_ready_tasks()
    return task


async def test_a_change_wakes_everybody_who_waits_for_the_job(subscriptions: Subscriptions) -> None:
    tasks = [await start_waiting(subscribe(subscriptions)) for _ in range(2)]
    other = await start_waiting(subscribe(subscriptions, "req_2", tenant="b"))

    subscriptions.job_changed("req_1", 2, ended=False)
    await run_ready_tasks()

    assert [task.result() for task in tasks] == [WakeReason.CHANGED] * 2
    assert not other.done()
    subscriptions.close()
    await other


async def test_silence_ends_a_wait_after_its_span(
    clock: FakeClock, subscriptions: Subscriptions
) -> None:
    waiter = subscribe(subscriptions)
    task = await start_waiting(waiter)

    await clock.advance(SPAN - timedelta(milliseconds=1))
    assert not task.done()
    await clock.advance(timedelta(milliseconds=1))

    assert task.result() is WakeReason.TIMEOUT
    assert waiter.wait_duration == SPAN


async def test_many_changes_between_two_waits_are_one_wake(subscriptions: Subscriptions) -> None:
    waiter = subscribe(subscriptions)
    for version in range(2, 50):
        subscriptions.job_changed("req_1", version, ended=False)

    assert await waiter.wait(SPAN) is WakeReason.CHANGED
    assert not (again := await start_waiting(waiter)).done()
    subscriptions.close()
    assert await again is WakeReason.CLOSED


async def test_what_was_read_already_is_no_news(subscriptions: Subscriptions) -> None:
    waiter = subscribe(subscriptions)
    waiter.seen_version = 5
    task = await start_waiting(waiter)

    subscriptions.job_changed("req_1", 5, ended=True)
    await run_ready_tasks()
    assert not task.done()
    subscriptions.job_changed("req_1", 6, ended=False)

    assert await task is WakeReason.CHANGED


async def test_who_waits_for_the_end_sleeps_through_everything_else(
    subscriptions: Subscriptions,
) -> None:
    task = await start_waiting(subscribe(subscriptions, ends_only=True))

    subscriptions.job_changed("req_1", 2, ended=False)
    await run_ready_tasks()
    assert not task.done()
    subscriptions.job_changed("req_1", 3, ended=True)

    assert await task is WakeReason.CHANGED


async def test_after_an_outage_everybody_looks_once(subscriptions: Subscriptions) -> None:
    places = [subscribe(subscriptions), subscribe(subscriptions, "req_2", ends_only=True)]
    tasks = [await start_waiting(place) for place in places]

    subscriptions.invalidate_all()

    assert [await task for task in tasks] == [WakeReason.CHANGED] * 2
    again = [await start_waiting(place) for place in places]
    assert not any(task.done() for task in again)
    subscriptions.close()
    await asyncio.gather(*again)


async def test_a_closed_process_ends_every_wait_and_takes_nobody_in(
    subscriptions: Subscriptions,
) -> None:
    waiter = subscribe(subscriptions)
    task = await start_waiting(waiter)

    subscriptions.close()

    assert await task is WakeReason.CLOSED
    assert await waiter.wait(SPAN) is WakeReason.CLOSED
    assert subscriptions.subscribe("req_1", "c") is None


async def test_the_first_reason_to_stop_stands(subscriptions: Subscriptions) -> None:
    waiter = subscribe(subscriptions)
    waiter.stop(WakeReason.DISCONNECTED)
    subscriptions.close()

    assert await waiter.wait(SPAN) is WakeReason.DISCONNECTED


async def test_places_are_counted_and_come_back(subscriptions: Subscriptions) -> None:
    places = [subscribe(subscriptions, tenant=tenant) for tenant in ("a", "a", "b")]
    assert subscriptions.subscribe("req_1", "c") is None

    with places[0]:
        pass
    subscriptions.unsubscribe(places[0])  # twice is once

    assert len(subscriptions) == 2
    for place in places:
        subscriptions.unsubscribe(place)
    assert len(subscriptions) == 0
    assert not subscriptions.by_job


async def test_a_cancelled_wait_leaves_no_sleeper(
    clock: FakeClock, subscriptions: Subscriptions
) -> None:
    task = await start_waiting(subscribe(subscriptions))
    task.cancel()
    await run_ready_tasks()

    assert clock.sleepers == 0


async def test_the_timer_of_one_wait_does_not_end_the_next(subscriptions: Subscriptions) -> None:
    """Regression: a wait that began right after another one had ended returned at once."""
    waiter = subscribe(subscriptions)

    async def wait_twice() -> tuple[WakeReason, WakeReason]:
        return await waiter.wait(SPAN), await waiter.wait(SPAN)

    task = asyncio.create_task(wait_twice())
    await run_ready_tasks()
    subscriptions.job_changed("req_1", 2, ended=False)
    await run_ready_tasks()

    assert not task.done()
    subscriptions.close()
    assert await task == (WakeReason.CHANGED, WakeReason.CLOSED)


async def test_one_tenant_cannot_take_every_place(subscriptions: Subscriptions) -> None:
    places = [subscribe(subscriptions) for _ in range(2)]
    assert subscriptions.subscribe("req_1", "a") is None

    with subscribe(subscriptions, tenant="b"), places[0]:
        pass

    places[1].switch_job("req_2")
    assert subscribe(subscriptions).tenant == "a"
    assert subscriptions.subscribe("req_1", "a") is None
