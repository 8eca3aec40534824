"""Who waits in this process for which job. Knows no store and no HTTP; keeps places, no records."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from core.clock import Clock


class WakeReason(Enum):
    """Why a wait ended."""

    CHANGED = auto()
    """The job has a new version, or may have: its record is to be read."""
    TIMEOUT = auto()
    """Nothing was heard in the time that was given."""
    DISCONNECTED = auto()
    """The caller has gone."""
    CLOSED = auto()
    """The process stops."""


STOP_REASONS: Final = frozenset({WakeReason.DISCONNECTED, WakeReason.CLOSED})


class Subscription(AbstractContextManager["Subscription"]):
    """One caller's place. Any number of changes between two waits is one wake: nothing piles up."""

    __slots__ = (
        "_final_only",
        "_is_stale",
        "_stop_reason",
        "_subscriptions",
        "_wake_future",
        "job_id",
        "seen_version",
        "wait_time",
    )

    def __init__(self, subscriptions: "Subscriptions", job_id: str, *, final_only: bool) -> None:
        """Made by `Subscriptions.join` alone."""
        self.job_id = job_id
        self.seen_version = 0
        """The newest version that its holder has read: what is told of older ones is no news."""
        self.wait_time = timedelta()
        """How long it has waited in all."""
        self._subscriptions = subscriptions
        self._final_only = final_only
        self._is_stale = False
        self._stop_reason: WakeReason | None = None
        self._wake_future: asyncio.Future[None] | None = None

    def __exit__(self, *_: object) -> None:
        """Give the place up."""
        self._subscriptions.unsubscribe(self)

    async def wait(self, max_wait: timedelta) -> WakeReason:
        """Wait for a change. `DISCONNECTED` and `CLOSED` are returned again every time."""
        if self._stop_reason is None and not self._is_stale:
            await self._sleep(max_wait)
        if self._stop_reason is not None:
            return self._stop_reason
        news, self._is_stale = self._is_stale, False
        return WakeReason.CHANGED if news else WakeReason.TIMEOUT

    def switch_job(self, job_id: str) -> None:
        """Wait for another job instead, which may have changed already."""
        if job_id != self.job_id:
            self._subscriptions.switch_job(self, job_id)
            self.mark_stale()

    def notify(self, version: int, *, ended: bool) -> None:
        """The job has this version now."""
        if version > self.seen_version and (ended or not self._final_only):
            self.mark_stale()

    def mark_stale(self) -> None:
        """The job may have changed."""
        self._is_stale = True
        self._wake()

    def stop(self, reason: WakeReason) -> None:
        """End every wait with `DISCONNECTED` or `CLOSED`; the first reason stays."""
        self._stop_reason = self._stop_reason or reason
        self._wake()

    async def _sleep(self, max_wait: timedelta) -> None:
        self._wake_future = asyncio.get_running_loop().create_future()
        clock = self._subscriptions.clock
        began = clock.monotonic()
        timer = asyncio.create_task(clock.sleep(max_wait))
        timer.add_done_callback(self._wake)
        try:
            await self._wake_future
        finally:
            self._wake_future = None
            self.wait_time += clock.monotonic() - began
            timer.cancel()

    def _wake(self, _: object = None) -> None:
        if self._wake_future is not None and not self._wake_future.done():
            self._wake_future.set_result(None)


class Subscriptions:
    """All who wait in this process, by job. `changed` and `missed` listen to the change feed."""

    def __init__(self, clock: Clock, max_subscriptions: int) -> None:
        """Give out at most `most` places at any time."""
        self.clock: Final = clock
        self._max_subscriptions = max_subscriptions
        self._count = 0
        self._closed = False
        self._by_job: dict[str, set[Subscription]] = {}

    def __len__(self) -> int:
        """How many places are taken."""
        return self._count

    @property
    def by_job(self) -> Mapping[str, set[Subscription]]:
        """Who waits for what."""
        return self._by_job

    def subscribe(self, job_id: str, *, final_only: bool = False) -> Subscription | None:
        """A place, to be given up by its holder. None: all are taken, or the process stops.

        With `ends_only` no change wakes it but the job's end.
        """
        if self._closed or self._count >= self._max_subscriptions:
            return None
        waiter = Subscription(self, job_id, final_only=final_only)
        self._by_job.setdefault(job_id, set()).add(waiter)
        self._count += 1
        return waiter

    def unsubscribe(self, subscription: Subscription) -> None:
        """Take a place back."""
        places = self._by_job.get(subscription.job_id, set())
        if subscription in places:
            self._count -= 1
            places.remove(subscription)
            if not places:
                del self._by_job[subscription.job_id]

    def switch_job(self, subscription: Subscription, job_id: str) -> None:
        """Give a waiter a place at another job."""
        self.unsubscribe(subscription)
        subscription.job_id = job_id
        self._by_job.setdefault(job_id, set()).add(subscription)
        self._count += 1

    def job_changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """See `core.store.pubsub.JobChangeListener`."""
        for waiter in self._by_job.get(job_id, ()):
            waiter.notify(version, ended=ended)

    def invalidate_all(self) -> None:
        """See `core.store.pubsub.JobChangeListener`: everybody looks for himself once."""
        for waiter in self._all():
            waiter.mark_stale()

    def close(self) -> None:
        """The process stops: every wait ends now, and no new one begins."""
        self._closed = True
        for waiter in self._all():
            waiter.stop(WakeReason.CLOSED)

    def _all(self) -> list[Subscription]:
        return [waiter for places in self._by_job.values() for waiter in places]
