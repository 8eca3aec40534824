"""Who waits in this process for which job. Knows no store and no HTTP; keeps places, no records."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from enum import Enum, auto
from typing import Final

from core.clock import Clock


class Wake(Enum):
    """Why a wait ended."""

    CHANGED = auto()
    """The job has a new version, or may have: its record is to be read."""
    QUIET = auto()
    """Nothing was heard in the time that was given."""
    LEFT = auto()
    """The caller has gone."""
    CLOSED = auto()
    """The process stops."""


ENDINGS: Final = frozenset({Wake.LEFT, Wake.CLOSED})


class Waiter(AbstractContextManager["Waiter"]):
    """One caller's place. Any number of changes between two waits is one wake: nothing piles up."""

    __slots__ = ("_ends_only", "_news", "_over", "_roused", "_waiters", "job_id", "seen", "waited")

    def __init__(self, waiters: "Waiters", job_id: str, *, ends_only: bool) -> None:
        """Made by `Waiters.join` alone."""
        self.job_id = job_id
        self.seen = 0
        """The newest version that its holder has read: what is told of older ones is no news."""
        self.waited = timedelta()
        """How long it has waited in all."""
        self._waiters = waiters
        self._ends_only = ends_only
        self._news = False
        self._over: Wake | None = None
        self._roused: asyncio.Future[None] | None = None

    def __exit__(self, *_: object) -> None:
        """Give the place up."""
        self._waiters.leave(self)

    async def wait(self, within: timedelta) -> Wake:
        """Wait for news, `within` at the longest. `LEFT` and `CLOSED` are told again every time."""
        if self._over is None and not self._news:
            await self._sleep(within)
        if self._over is not None:
            return self._over
        news, self._news = self._news, False
        return Wake.CHANGED if news else Wake.QUIET

    def move(self, job_id: str) -> None:
        """Wait for another job instead, which may have changed already."""
        if job_id != self.job_id:
            self._waiters.move(self, job_id)
            self.doubt()

    def hear(self, version: int, *, ended: bool) -> None:
        """The job has this version now."""
        if version > self.seen and (ended or not self._ends_only):
            self.doubt()

    def doubt(self) -> None:
        """The job may have changed."""
        self._news = True
        self._rouse()

    def stop(self, why: Wake) -> None:
        """End this and every later wait with `LEFT` or `CLOSED`; the first reason stands."""
        self._over = self._over or why
        self._rouse()

    async def _sleep(self, within: timedelta) -> None:
        self._roused = asyncio.get_running_loop().create_future()
        clock = self._waiters.clock
        began = clock.monotonic()
        timer = asyncio.create_task(clock.sleep(within))
        timer.add_done_callback(self._rouse)
        try:
            await self._roused
        finally:
            self._roused = None
            self.waited += clock.monotonic() - began
            timer.cancel()

    def _rouse(self, _: object = None) -> None:
        if self._roused is not None and not self._roused.done():
            self._roused.set_result(None)


class Waiters:
    """All who wait in this process, by job. `changed` and `missed` listen to the change feed."""

    def __init__(self, clock: Clock, most: int) -> None:
        """Give out at most `most` places at any time."""
        self.clock: Final = clock
        self._most = most
        self._count = 0
        self._closed = False
        self._by_job: dict[str, set[Waiter]] = {}

    def __len__(self) -> int:
        """How many places are taken."""
        return self._count

    @property
    def by_job(self) -> Mapping[str, set[Waiter]]:
        """Who waits for what."""
        return self._by_job

    def join(self, job_id: str, *, ends_only: bool = False) -> Waiter | None:
        """A place, to be given up by its holder. None: all are taken, or the process stops.

        With `ends_only` no change wakes it but the job's end.
        """
        if self._closed or self._count >= self._most:
            return None
        waiter = Waiter(self, job_id, ends_only=ends_only)
        self._by_job.setdefault(job_id, set()).add(waiter)
        self._count += 1
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Take a place back."""
        places = self._by_job.get(waiter.job_id, set())
        if waiter in places:
            self._count -= 1
            places.remove(waiter)
            if not places:
                del self._by_job[waiter.job_id]

    def move(self, waiter: Waiter, job_id: str) -> None:
        """Give a waiter a place at another job."""
        self.leave(waiter)
        waiter.job_id = job_id
        self._by_job.setdefault(job_id, set()).add(waiter)
        self._count += 1

    def changed(self, job_id: str, version: int, *, ended: bool) -> None:
        """See `core.store.pubsub.Listener`."""
        for waiter in self._by_job.get(job_id, ()):
            waiter.hear(version, ended=ended)

    def missed(self) -> None:
        """See `core.store.pubsub.Listener`: everybody looks for himself once."""
        for waiter in self._everybody():
            waiter.doubt()

    def close(self) -> None:
        """The process stops: every wait ends now, and no new one begins."""
        self._closed = True
        for waiter in self._everybody():
            waiter.stop(Wake.CLOSED)

    def _everybody(self) -> list[Waiter]:
        return [waiter for places in self._by_job.values() for waiter in places]
