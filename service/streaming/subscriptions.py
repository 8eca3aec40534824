"""Subscriptions to job changes within this process. Holds no records, knows no store."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from core.clock import Clock


class WakeReason(Enum):
    """Why a wait ended."""

    CHANGED = auto()
    """The job has a new version, or may have one: read its record."""
    TIMEOUT = auto()
    """Nothing changed within the maximum wait."""
    DISCONNECTED = auto()
    """The caller disconnected."""
    CLOSED = auto()
    """The process is shutting down."""


STOP_REASONS: Final = frozenset({WakeReason.DISCONNECTED, WakeReason.CLOSED})


class Subscription(AbstractContextManager["Subscription"]):
    """One caller's subscription to one job. Changes between two waits are merged into one wake."""

    __slots__ = (
        "_final_only",
        "_is_stale",
        "_stop_reason",
        "_subscriptions",
        "_wake_future",
        "job_id",
        "seen_version",
        "tenant",
        "wait_duration",
    )

    def __init__(
        self, subscriptions: "Subscriptions", job_id: str, tenant: str, *, final_only: bool
    ) -> None:
        """Called by `Subscriptions.subscribe` only."""
        self.job_id = job_id
        self.tenant = tenant
        self.seen_version = 0
        """The newest version that the subscriber has read; older ones do not wake it."""
        self.wait_duration = timedelta()
        """Total time spent in `wait`."""
        self._subscriptions = subscriptions
        self._final_only = final_only
        self._is_stale = False
        self._stop_reason: WakeReason | None = None
        self._wake_future: asyncio.Future[None] | None = None

    def __exit__(self, *_: object) -> None:
        """Unsubscribe."""
        self._subscriptions.unsubscribe(self)

    async def wait(self, max_wait: timedelta) -> WakeReason:
        """Wait for a change. `DISCONNECTED` and `CLOSED` are returned again every time."""
        if self._stop_reason is None and not self._is_stale:
            await self._sleep(max_wait)
        if self._stop_reason is not None:
            return self._stop_reason
        changed, self._is_stale = self._is_stale, False
        return WakeReason.CHANGED if changed else WakeReason.TIMEOUT

    def switch_job(self, job_id: str) -> None:
        """Subscribe to another job instead, which may have changed already."""
        if job_id != self.job_id:
            self._subscriptions.switch_job(self, job_id)
            self.mark_stale()

    def notify(self, version: int, *, ended: bool) -> None:
        """Wake the subscriber if this version of the job is new to it."""
        if version > self.seen_version and (ended or not self._final_only):
            self.mark_stale()

    def mark_stale(self) -> None:
        """Wake the subscriber: the job may have changed."""
        self._is_stale = True
        self._wake()

    def stop(self, reason: WakeReason) -> None:
        """End this and every later wait with `DISCONNECTED` or `CLOSED`; the first reason stays."""
        self._stop_reason = self._stop_reason or reason
        self._wake()

    async def _sleep(self, max_wait: timedelta) -> None:
        self._wake_future = woken = asyncio.get_running_loop().create_future()
        clock = self._subscriptions.clock
        began = clock.monotonic()
        timer = asyncio.create_task(clock.sleep(max_wait))
        # Of this wait alone: a cancelled timer calls back when the next wait may have begun.
        timer.add_done_callback(lambda _: _resolve(woken))
        try:
            await woken
        finally:
            self._wake_future = None
            self.wait_duration += clock.monotonic() - began
            timer.cancel()

    def _wake(self) -> None:
        if self._wake_future is not None:
            _resolve(self._wake_future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Subscriptions:
    """All subscriptions of this process, by job. A `core.store.pubsub.JobChangeListener`."""

    def __init__(self, clock: Clock, max_subscriptions: int, max_per_tenant: int) -> None:
        """Allow at most `max_subscriptions` at any time: each holds an open connection."""
        self.clock: Final = clock
        self._max_subscriptions = max_subscriptions
        self._max_per_tenant = max_per_tenant
        self._count = 0
        self._by_tenant: Counter[str] = Counter()
        self._closed = False
        self._by_job: dict[str, set[Subscription]] = {}

    def __len__(self) -> int:
        """Return the number of subscriptions."""
        return self._count

    @property
    def by_job(self) -> Mapping[str, set[Subscription]]:
        """The subscriptions by job id."""
        return self._by_job

    def subscribe(
        self, job_id: str, tenant: str, *, final_only: bool = False
    ) -> Subscription | None:
        """Return a subscription, to be used as a context manager.

        None: the maximum of all or of this tenant is reached, or the process is shutting down. With
        `final_only` only the job's end wakes it.
        """
        if self._closed or self._is_full(tenant):
            return None
        subscription = Subscription(self, job_id, tenant, final_only=final_only)
        self._add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscription; without effect if it was removed before."""
        of_job = self._by_job.get(subscription.job_id, set())
        if subscription in of_job:
            self._count -= 1
            self._by_tenant[subscription.tenant] -= 1
            if not self._by_tenant[subscription.tenant]:
                del self._by_tenant[subscription.tenant]
            of_job.remove(subscription)
            if not of_job:
                del self._by_job[subscription.job_id]

    def switch_job(self, subscription: Subscription, job_id: str) -> None:
        """Move a subscription to another job."""
        self.unsubscribe(subscription)
        subscription.job_id = job_id
        self._add(subscription)

    def job_changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """Notify the subscribers of a job. See `core.store.pubsub.JobChangeListener`."""
        for subscription in self._by_job.get(job_id, ()):
            subscription.notify(version, ended=ended)

    def invalidate_all(self) -> None:
        """Let every subscriber read its job once: changes may have been missed.

        See `core.store.pubsub.JobChangeListener`.
        """
        for subscription in self._all():
            subscription.mark_stale()

    @property
    def is_closed(self) -> bool:
        """Return whether the process is shutting down."""
        return self._closed

    def close(self) -> None:
        """End every wait now, and accept no new subscription: the process is shutting down."""
        self._closed = True
        for subscription in self._all():
            subscription.stop(WakeReason.CLOSED)

    def _is_full(self, tenant: str) -> bool:
        return (
            self._count >= self._max_subscriptions
            or self._by_tenant[tenant] >= self._max_per_tenant
        )

    def _add(self, subscription: Subscription) -> None:
        self._by_job.setdefault(subscription.job_id, set()).add(subscription)
        self._count += 1
        self._by_tenant[subscription.tenant] += 1

    def _all(self) -> list[Subscription]:
        return [one for of_job in self._by_job.values() for one in of_job]
