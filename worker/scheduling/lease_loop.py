"""Claims due work under short leases and handles many items concurrently.

The work of a process that died is claimed by another when its leases expire.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from core.clock import Clock
from core.errors import StoreUnavailable
from core.observability.events import Emit, OperationalWarning, RedisDisconnected, RedisReconnected
from worker.scheduling.fair_share import FairShare

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoopPolicy:
    """How much work runs concurrently, and how often the loop claims more."""

    max_concurrency: int
    poll_interval: timedelta = timedelta(milliseconds=100)
    store_retry_delay: timedelta = timedelta(milliseconds=500)
    slow_after: timedelta = timedelta(seconds=1)
    """An item that takes longer moves to a second capacity of the same size, if its groups have
    their share there: slow answers do not occupy the places of fast ones."""
    min_available: int | None = None
    """Claim before the next interval only if the last claim was full and this many can be taken.
    None: claim whenever an item ends, since due work may have waited for that."""


@dataclass(frozen=True, slots=True)
class WorkSource(Generic[T]):
    """What the loop claims and handles. `claim(limit)` leases at most `limit` due items."""

    name: str
    claim: Callable[[int], Awaitable[Sequence[T]]]
    handle: Callable[[T], Awaitable[None]]
    id_of: Callable[[T], str]
    groups_of: Callable[[T], tuple[str, ...]] = lambda _: ()
    """Whose share of the capacity an item takes; none: it needs no share."""
    give_back: Callable[[T], Awaitable[None]] | None = None
    """Makes an item due a little later, because its groups have their share in flight."""


class LeaseLoop(Generic[T]):
    """Claims and handles work until it is cancelled; what is in flight can then be drained."""

    def __init__(self, work: WorkSource[T], policy: LoopPolicy, clock: Clock, emit: Emit) -> None:
        """Nothing runs before `run`."""
        self._work = work
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._fast = FairShare(policy.max_concurrency)
        self._slow = FairShare(policy.max_concurrency)
        self._shares: dict[str, FairShare] = {}
        self._wake_event = asyncio.Event()
        self._disconnected_at: timedelta | None = None
        self._has_more = False

    @property
    def in_flight(self) -> int:
        """How many items are being handled."""
        return len(self._tasks)

    @property
    def capacity(self) -> int:
        """How many items may be handled concurrently."""
        return self._policy.max_concurrency

    def wake(self) -> None:
        """Claim immediately: something may have become due."""
        self._wake_event.set()

    def start(self, item: T) -> asyncio.Task[None]:
        """Handle one item in the background; an item in flight is not started a second time."""
        name = self._work.id_of(item)
        running = self._tasks.get(name)
        if running is not None:
            return running
        task = asyncio.create_task(self._handle_safely(item), name=f"{self._work.name}:{name}")
        self._tasks[name], self._shares[name] = task, self._fast
        groups = self._work.groups_of(item)
        self._fast.enter(groups)
        delay = self._policy.slow_after.total_seconds()
        timer = asyncio.get_running_loop().call_later(delay, self._make_slow, name, groups)

        def on_done(_: asyncio.Task[None]) -> None:
            timer.cancel()
            self._on_done(name, groups)

        task.add_done_callback(on_done)
        return task

    def _make_slow(self, name: str, groups: tuple[str, ...]) -> None:
        if self._shares.get(name) is self._fast and self._slow.admits(groups):
            self._fast.leave(groups)
            self._slow.enter(groups)
            self._shares[name] = self._slow
            self._wake_if_available()

    async def run(self) -> None:
        """Claim and handle forever. While Redis is unavailable, wait for it."""
        while True:
            claimed = await self._claim()
            for item in claimed:
                await self._start_or_give_back(item)
            if not claimed:
                # `wait_for` may swallow a cancellation on Python 3.11; `timeout` does not.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._policy.poll_interval.total_seconds()):
                        await self._wake_event.wait()
            self._wake_event.clear()

    async def _start_or_give_back(self, item: T) -> None:
        give_back = self._work.give_back
        if give_back is None or self._fast.admits(self._work.groups_of(item)):
            self.start(item)
            return
        with suppress(StoreUnavailable):
            await give_back(item)

    async def drain(self, grace_period: timedelta) -> int:
        """Wait for the items in flight, then cancel the rest. Returns how many were cancelled."""
        tasks = list(self._tasks.values())
        if not tasks:
            return 0
        _, late = await asyncio.wait(tasks, timeout=grace_period.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)

    async def _claim(self) -> Sequence[T]:
        available = self._fast.available
        if available <= 0:
            self._has_more = True
            return ()
        try:
            claimed = await self._work.claim(available)
        except StoreUnavailable as error:
            await self._wait_for_store(error)
            return ()
        self._emit_if_reconnected()
        self._has_more = len(claimed) >= available
        return claimed

    async def _wait_for_store(self, error: StoreUnavailable) -> None:
        if self._disconnected_at is None:
            self._disconnected_at = self._clock.monotonic()
            self._emit(RedisDisconnected(detail=f"{self._work.name}: {error.operator_detail}"))
        await self._clock.sleep(self._policy.store_retry_delay)

    def _emit_if_reconnected(self) -> None:
        if self._disconnected_at is not None:
            self._emit(RedisReconnected(downtime=self._clock.monotonic() - self._disconnected_at))
            self._disconnected_at = None

    async def _handle_safely(self, item: T) -> None:
        """Handle one item; if that fails in any way, it is claimed again when its lease ends."""
        try:
            await self._work.handle(item)
        except StoreUnavailable:
            return
        except Exception as error:  # noqa: BLE001 - one item must not end the loop
            self._emit(
                OperationalWarning(
                    code=f"{self._work.name}_failed",
                    detail=f"{type(error).__name__}: {error}",
                    job_id=self._work.id_of(item),
                    error=error,
                )
            )

    def _on_done(self, name: str, groups: tuple[str, ...]) -> None:
        del self._tasks[name]
        self._shares.pop(name).leave(groups)
        self._wake_if_available()

    def _wake_if_available(self) -> None:
        available = self._fast.available
        enough = self._policy.min_available
        if available > 0 if enough is None else self._has_more and available >= enough:
            self._wake_event.set()
