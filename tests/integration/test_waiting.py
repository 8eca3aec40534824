"""Changes heard over a real Redis: who is woken, what survives its restart, what is remembered."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import Billed, Fact, Job, JobState
from core.jobs.run_times import KEPT, run_time
from core.jobs.timeline import Note, TimelineEntry
from core.observability.events import OperationalWarning
from core.settings import RedisPolicy
from core.store.client import Wire, connection_source
from core.store.jobs import Depth, JobStore
from core.store.pubsub import ChangeFeed
from core.store.run_times import HistoryStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.tenants.api_keys import Credential, KeyRecord, digest_of, mint_key, read_key
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission
from core.transactions.job_update import Change, Outcome
from service.streaming.subscriptions import Waiter, Waiters, Wake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.observability.events import Event
    from simulator.private_redis import PrivateRedis

SOON = timedelta(seconds=8)
BRIEFLY = timedelta(milliseconds=300)


def policy_of(url: str) -> RedisPolicy:
    second = timedelta(seconds=1)
    return RedisPolicy(SecretStr(url), (), "", timeout=second, connect_timeout=second)


@dataclass(frozen=True, slots=True)
class House:
    """What a service process has of this, over a real Redis."""

    wire: Wire
    jobs: JobStore
    histories: HistoryStore
    waiters: Waiters
    events: list[Event]
    credential: Credential

    async def admitted(self, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """A new job in the queue."""
        now = SystemClock().now()
        job = Job(
            id=SystemIds().job_id(now),
            tenant=self.credential.tenant,
            model_id="kling/test",
            fingerprint="1:x",
            created_at=now,
            updated_at=now,
        )
        job = replace(job, **changes)
        entry = TimelineEntry(now, Note.ADMITTED, "admitted", job.state)
        await self.jobs.admit(Admission(self.credential, job, b"{}", entry))
        return job

    async def moved(self, job: Job, fact: Fact, **changes: Any) -> Job:  # noqa: ANN401 - as above
        """The job one fact on."""
        now = SystemClock().now()
        after = job.after(fact, now, **changes)
        entry = TimelineEntry(now, Note.MOVED, fact, after.state, status=after.status)
        assert await self.jobs.store(Change(job, after, (entry,))) is Outcome.STORED
        return after

    def joined(self, job: Job, *, ends_only: bool = False) -> Waiter:
        """A place beside `job`."""
        waiter = self.waiters.join(job.id, ends_only=ends_only)
        assert waiter is not None
        return waiter


@asynccontextmanager
async def house(url: str) -> AsyncIterator[House]:
    """A house whose feed listens, and a tenant."""
    clock, events = SystemClock(), list[Any]()
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(connection_source(policy_of(url), "test")))
        scripts = Scripts(wire, read_scripts())
        waiters = Waiters(clock, 10_000)
        source = connection_source(policy_of(url), "feed")
        feed = asyncio.create_task(ChangeFeed(source, waiters, clock, events.append).run())
        stack.push_async_callback(_ended, feed)
        key = mint_key("video-team", b"k" * 32)
        now = clock.now()
        record = KeyRecord(digest_of(key), "video-team", now)
        await TenantStore(wire, scripts, clock).create(Tenant("video-team", now), record)
        built = House(
            wire, JobStore(wire, scripts, clock), HistoryStore(wire), waiters, events, read_key(key)
        )
        await _listening(wire)
        yield built


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _listening(wire: Wire) -> None:
    for _ in range(1000):
        if (await wire.execute("PUBSUB", "NUMSUB", "gw:changes"))[1] == 1:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_a_stored_change_wakes_who_waits_for_that_job(redis_flushed: str) -> None:
    async with house(redis_flushed) as h:
        job, other = await h.admitted(), await h.admitted()
        waiter, deaf = h.joined(job), h.joined(other)
        await h.moved(job, Fact.CLAIMED)

        assert await waiter.wait(SOON) is Wake.CHANGED
        assert await deaf.wait(BRIEFLY) is Wake.QUIET


async def test_who_waits_for_the_end_hears_only_of_it(redis_flushed: str) -> None:
    async with house(redis_flushed) as h:
        job = await h.admitted()
        waiter = h.joined(job, ends_only=True)
        held = await h.moved(job, Fact.CLAIMED)
        assert await waiter.wait(BRIEFLY) is Wake.QUIET
        await h.moved(held, Fact.REJECTED, finished_at=SystemClock().now(), billed=Billed.NO)

        assert await waiter.wait(SOON) is Wake.CHANGED


async def test_a_change_that_lost_its_race_tells_nobody(redis_flushed: str) -> None:
    async with house(redis_flushed) as h:
        job = await h.admitted()
        held = await h.moved(job, Fact.CLAIMED)
        waiter = h.joined(job)
        waiter.seen = held.version
        stale = Change(job, job.after(Fact.CLAIMED, SystemClock().now()))

        assert await h.jobs.store(stale) is Outcome.STALE
        assert await waiter.wait(BRIEFLY) is Wake.QUIET


async def test_foreign_messages_do_no_harm(redis_flushed: str) -> None:
    async with house(redis_flushed) as h:
        job = await h.admitted()
        waiter = h.joined(job)
        for message in (b"", b"\xff\xfe", b"req x running", f"{job.id} 9".encode()):
            await h.wire.execute("PUBLISH", "gw:changes", message)

        assert await waiter.wait(SOON) is Wake.CHANGED  # the last is readable enough
        assert h.events == []


async def test_a_restart_of_redis_lets_everybody_look_once(own_redis: PrivateRedis) -> None:
    async with house(own_redis.url) as h:
        jobs = [await h.admitted() for _ in range(50)]
        waiters = [h.joined(job, ends_only=True) for job in jobs]
        waits = [asyncio.create_task(waiter.wait(timedelta(seconds=30))) for waiter in waiters]
        await asyncio.to_thread(own_redis.restart)
        woken = await asyncio.gather(*waits)
        views = await asyncio.gather(
            *(h.jobs.read(h.credential, job.id, Depth.STATUS) for job in jobs)
        )

        assert set(woken) == {Wake.CHANGED}
        assert {view.record.job.state for view in views} == {JobState.QUEUED}
        assert [e.code for e in h.events if isinstance(e, OperationalWarning)] == [
            "pubsub_disconnected"
        ]
        await _listening(h.wire)
        held = await h.moved(jobs[0], Fact.CLAIMED)
        again = h.joined(held)
        await h.moved(held, Fact.NOT_SENT)
        assert await again.wait(SOON) is Wake.CHANGED


async def test_an_end_that_was_missed_while_redis_was_away_is_found(
    own_redis: PrivateRedis,
) -> None:
    async with house(own_redis.url) as h:
        job = await h.admitted()
        waiter = h.joined(job, ends_only=True)
        waiting = asyncio.create_task(waiter.wait(timedelta(seconds=30)))
        await h.wire.execute("CLIENT", "KILL", "TYPE", "pubsub")
        await h.moved(job, Fact.CANCEL_ASKED, finished_at=SystemClock().now())

        assert await waiting is Wake.CHANGED
        view = await h.jobs.read(h.credential, job.id, Depth.STATUS)
        assert view.record.job.final


async def test_successes_are_remembered_by_model_and_only_the_last(redis_flushed: str) -> None:
    async with house(redis_flushed) as h:
        now = SystemClock().now()
        since = now - timedelta(seconds=42)
        for seconds in range(KEPT + 5):
            running = await h.admitted(
                state=JobState.COLLECTING, running_since=since - timedelta(seconds=seconds)
            )
            ended = await h.moved(running, Fact.COLLECTED, finished_at=now)
            assert run_time(running, ended) == timedelta(seconds=42 + seconds)
        counts = await h.histories.counts()
        (history,) = (await h.histories.load(["kling/test"])).values()

        assert counts == {"kling/test": KEPT + 5}
        assert len(history.times) == KEPT
        assert history.times[0] == timedelta(seconds=47)  # the oldest five are gone
        assert history.times[-1] == timedelta(seconds=42 + KEPT + 4)
