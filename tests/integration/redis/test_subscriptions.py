"""Job changes over a real Redis: subscriptions that wake, a restart, run times."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from core.clock import SystemClock
from core.ids import SystemIds
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.run_times import MAX_RUNS, run_time
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.events import Event, OperationalWarning
from core.store.client import RedisClient, build_connection_pool
from core.store.jobs import JobStore, Projection
from core.store.pubsub import JobChangeSubscriber
from core.store.run_times import RunTimeStore
from core.store.scripts import LuaScripts, load_scripts
from core.store.tenants import TenantStore
from core.tenants.api_keys import ApiKey, Credential, api_key_digest, build_api_key, parse_api_key
from core.tenants.tenant import Tenant
from core.transactions.admission import Admission
from core.transactions.job_update import Change, WriteResult
from service.streaming.subscriptions import Subscription, Subscriptions, WakeReason
from simulator.private_redis import PrivateRedis
from tests.support.records import SECOND
from tests.support.redis import redis_client, redis_policy

SOON = timedelta(seconds=60)
BRIEFLY = timedelta(milliseconds=300)


@dataclass(frozen=True, slots=True)
class SubscriptionHarness:
    """The parts of a service process that wait for changes, over a real Redis."""

    wire: RedisClient
    jobs: JobStore
    run_times: RunTimeStore
    subscriptions: Subscriptions
    events: list[Event]
    credential: Credential

    async def admit(self, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Admit a job."""
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
        await self.jobs.admit(Admission(self.credential, job, b"{}"))
        return job

    async def apply_trigger(self, job: Job, fact: Trigger, **changes: Any) -> Job:  # noqa: ANN401 - as above
        """Store the job's next transition."""
        now = SystemClock().now()
        after = job.transition(fact, now, **changes)
        entry = TimelineEntry(now, TimelineKind.TRANSITION, fact, after.state, status=after.status)
        assert await self.jobs.store(Change(job, after, entry)) is WriteResult.STORED
        return after

    def subscribe(self, job: Job, *, ends_only: bool = False) -> Subscription:
        """Subscribe to the job."""
        waiter = self.subscriptions.subscribe(job.id, job.tenant, final_only=ends_only)
        assert waiter is not None
        return waiter


@asynccontextmanager
async def open_harness(url: str) -> AsyncIterator[SubscriptionHarness]:
    """A harness whose subscriber listens, with one tenant."""
    clock, events = SystemClock(), list[Any]()
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(redis_client(url, SECOND))
        scripts = LuaScripts(wire, load_scripts())
        waiters = Subscriptions(clock, 10_000, 10_000)
        source = build_connection_pool(redis_policy(url, SECOND), "feed")
        feed = asyncio.create_task(JobChangeSubscriber(source, waiters, clock, events.append).run())
        stack.push_async_callback(_ended, feed)
        key = build_api_key("video-team", b"k" * 32)
        now = clock.now()
        record = ApiKey(api_key_digest(key), "video-team", now)
        await TenantStore(wire, scripts, clock).create(Tenant("video-team", now), record)
        built = SubscriptionHarness(
            wire,
            JobStore(wire, scripts, clock),
            RunTimeStore(wire),
            waiters,
            events,
            parse_api_key(key),
        )
        await _listening(wire)
        yield built


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _listening(wire: RedisClient) -> None:
    for _ in range(1000):
        if (await wire.execute("PUBSUB", "NUMSUB", "gw:changes"))[1] == 1:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_a_stored_change_wakes_the_subscriptions_to_that_job(redis_flushed: str) -> None:
    async with open_harness(redis_flushed) as h:
        job, other = await h.admit(), await h.admit()
        waiter, deaf = h.subscribe(job), h.subscribe(other)
        await h.apply_trigger(job, Trigger.CLAIMED)

        assert await waiter.wait(SOON) is WakeReason.CHANGED
        assert await deaf.wait(BRIEFLY) is WakeReason.TIMEOUT


async def test_a_wait_for_the_end_is_woken_only_by_it(redis_flushed: str) -> None:
    async with open_harness(redis_flushed) as h:
        job = await h.admit()
        waiter = h.subscribe(job, ends_only=True)
        held = await h.apply_trigger(job, Trigger.CLAIMED)
        assert await waiter.wait(BRIEFLY) is WakeReason.TIMEOUT
        await h.apply_trigger(
            held, Trigger.REJECTED, finished_at=SystemClock().now(), billed=BillingStatus.NO
        )

        assert await waiter.wait(SOON) is WakeReason.CHANGED


async def test_a_change_that_lost_its_race_wakes_no_subscription(redis_flushed: str) -> None:
    async with open_harness(redis_flushed) as h:
        job = await h.admit()
        held = await h.apply_trigger(job, Trigger.CLAIMED)
        waiter = h.subscribe(job)
        waiter.seen_version = held.version
        stale = Change(job, job.transition(Trigger.CLAIMED, SystemClock().now()))

        assert await h.jobs.store(stale) is WriteResult.CONFLICT
        assert await waiter.wait(BRIEFLY) is WakeReason.TIMEOUT


async def test_foreign_messages_do_no_harm(redis_flushed: str) -> None:
    async with open_harness(redis_flushed) as h:
        job = await h.admit()
        waiter = h.subscribe(job)
        for message in (b"", b"\xff\xfe", b"req x running", f"{job.id} 9".encode()):
            await h.wire.execute("PUBLISH", "gw:changes", message)

        assert await waiter.wait(SOON) is WakeReason.CHANGED  # the last is readable enough
        assert h.events == []


async def test_a_restart_of_redis_wakes_every_subscription_once(own_redis: PrivateRedis) -> None:
    async with open_harness(own_redis.url) as h:
        jobs = [await h.admit() for _ in range(50)]
        waiters = [h.subscribe(job, ends_only=True) for job in jobs]
        waits = [asyncio.create_task(waiter.wait(timedelta(seconds=30))) for waiter in waiters]
        await asyncio.to_thread(own_redis.restart)
        woken = await asyncio.gather(*waits)
        views = await asyncio.gather(
            *(h.jobs.read(h.credential, job.id, Projection.STATUS) for job in jobs)
        )

        assert set(woken) == {WakeReason.CHANGED}
        assert {view.record.job.state for view in views} == {JobState.QUEUED}
        assert [e.code for e in h.events if isinstance(e, OperationalWarning)] == [
            "pubsub_disconnected"
        ]
        await _listening(h.wire)
        held = await h.apply_trigger(jobs[0], Trigger.CLAIMED)
        again = h.subscribe(held)
        await h.apply_trigger(held, Trigger.NOT_SENT)
        assert await again.wait(SOON) is WakeReason.CHANGED


async def test_an_end_that_was_missed_while_redis_was_away_is_found(
    own_redis: PrivateRedis,
) -> None:
    async with open_harness(own_redis.url) as h:
        job = await h.admit()
        waiter = h.subscribe(job, ends_only=True)
        waiting = asyncio.create_task(waiter.wait(timedelta(seconds=30)))
        await h.wire.execute("CLIENT", "KILL", "TYPE", "pubsub")
        await h.apply_trigger(job, Trigger.CANCEL_REQUESTED, finished_at=SystemClock().now())

        assert await waiting is WakeReason.CHANGED
        view = await h.jobs.read(h.credential, job.id, Projection.STATUS)
        assert view.record.job.is_final


async def test_successes_are_remembered_by_model_and_only_the_last(redis_flushed: str) -> None:
    async with open_harness(redis_flushed) as h:
        now = SystemClock().now()
        since = now - timedelta(seconds=42)
        for seconds in range(MAX_RUNS + 5):
            running = await h.admit(
                state=JobState.COLLECTING, running_since=since - timedelta(seconds=seconds)
            )
            ended = await h.apply_trigger(running, Trigger.COLLECTED, finished_at=now)
            assert run_time(running, ended) == timedelta(seconds=42 + seconds)
        counts = await h.run_times.load_counts()
        (history,) = (await h.run_times.load(["kling/test"])).values()

        assert counts == {"kling/test": MAX_RUNS + 5}
        assert len(history.times) == MAX_RUNS
        assert history.times[0] == timedelta(seconds=47)  # the oldest five are gone
        assert history.times[-1] == timedelta(seconds=42 + MAX_RUNS + 4)
