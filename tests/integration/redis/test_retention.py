"""Nothing of a job or a delivery outlives its retention: checked for every key pattern."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import pytest

from core.billing.thresholds import ReachedThreshold
from core.files.records import StoredFile
from core.jobs.job import FINAL_STATES, BillingStatus, FollowUp, Job, Trigger
from core.jobs.query import JobQuery
from core.money import MicroUsd
from core.operators.audit import AuditEntry
from core.operators.pauses import Pause
from core.quotas import CallRate
from core.retention import DELIVERY_RETENTION, RETENTION
from core.store import keys
from core.store.admin import AdminStore
from core.store.budget_thresholds import BudgetThresholdStore
from core.store.client import RedisClient
from core.store.event_streams import EventStreams
from core.store.job_index import DeletionResult
from core.store.keys import KEY_SPECS, KeyOwner
from core.store.scripts import LuaScripts, load_scripts
from core.tenants.api_keys import ApiKey, Credential, KeyLimits, Scope
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.tenants.windows import UTC_CALENDAR, window_names
from core.transactions.admission import AdmissionResult, CacheRequest, IdempotencyClaim
from core.transactions.job_update import Change, WriteResult
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import RedisStream
from core.webhooks.replay import ReplayRange
from tests.support.backends import StoreBackend, redis_backend
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.redis import (
    contents_of,
    every_key,
    pass_time,
    pattern_of,
    redis_client,
    take_messages,
)
from tests.support.store_steps import (
    SECOND,
    admission_of,
    apply_triggers,
    attempt_completion,
    cancellation_change,
    claim_deliveries,
    delivery_for,
    new_job,
    tenant_credential,
)
from worker.jobs.decisions.after_end import finish_notification
from worker.maintenance.index_pruning import IndexPruner, PrunePolicy

NO_END: Final = -1
"""Redis's PTTL of a key without an end; -2: it has ended meanwhile."""
RUNNING: Final = (Trigger.CLAIMED, Trigger.ACCEPTED)
DONE: Final = (*RUNNING, Trigger.FINISHED, Trigger.COLLECTED)
JOB_ENDINGS: Final = (
    DONE,
    (Trigger.CANCEL_REQUESTED,),
    (Trigger.CLAIMED, Trigger.REJECTED),
    (*RUNNING, Trigger.RUN_FAILED),
    (*RUNNING, Trigger.DEADLINE_EXCEEDED),
    (Trigger.CLAIMED, Trigger.NO_ANSWER, Trigger.MARKED_LOST),
    (Trigger.CLAIMED, Trigger.NO_ANSWER, Trigger.RESEND_APPROVED, *DONE),
)
EXPIRING_PATTERNS: Final = frozenset({KeyOwner.JOB, KeyOwner.DELIVERY})
OWNERS: Final = {spec.pattern: spec.owner for spec in KEY_SPECS}
DAY: Final = timedelta(days=1)


def test_every_key_names_its_cleanup() -> None:
    assert all(spec.cleanup for spec in KEY_SPECS)


@dataclass(frozen=True, slots=True)
class RetentionHarness:
    """Stores over a real Redis in which a test can let time pass."""

    subject: StoreBackend
    clock: FakeClock
    wire: RedisClient
    ids: SeededIds

    async def admit(self, tenant: str, **fields: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Admit a job."""
        now = self.clock.now()
        job = replace(new_job(now, self.ids.job_id(now), tenant), **fields)
        await self.subject.jobs.admit(admission_of(job))
        return job

    async def set_cache_policy(self, tenant: str, key: str) -> AdmissionResult:
        """Submit a request identical to others, with its own idempotency key."""
        now = self.clock.now()
        wish = admission_of(new_job(now, self.ids.job_id(now), tenant))
        self.clock.shift(SECOND)
        return await self.subject.jobs.admit(
            replace(
                wish, cache=CacheRequest(), idempotency=IdempotencyClaim(f"digest-{key}", "1:f")
            )
        )

    async def newest(self, number: int) -> Job:
        """The job of `ada` at that place, counted from the last."""
        page = await self.subject.job_index.list_page_for_tenant("ada", JobQuery())
        return page.items[number - 1]

    async def trim(self) -> None:
        """Run the worker's periodic maintenance."""
        subject = self.subject
        trimmer = IndexPruner("w", subject.job_index, subject.tenants, self.clock, PrunePolicy())
        await trimmer.run_once()

    async def is_expired(self) -> dict[str, str]:
        """The contents of all keys that belong to jobs or deliveries, by key."""
        found = {}
        for name in await every_key(self.wire):
            held = await contents_of(self.wire, name)
            if OWNERS[pattern_of(name)] in EXPIRING_PATTERNS or "req_" in held or "msg_" in held:
                found[name] = held
        return found


@pytest.fixture
async def harness(redis_flushed: str) -> AsyncIterator[RetentionHarness]:
    async with open_harness(redis_flushed) as house:
        yield house


@asynccontextmanager
async def open_harness(url: str) -> AsyncIterator[RetentionHarness]:
    """Two tenants: one with a slot too few, one with a short retention."""
    clock = FakeClock()
    clock.set(datetime.now(UTC))
    now = clock.now()
    async with redis_client(url) as wire:
        subject = redis_backend(clock, wire)
        for tenant in (
            Tenant("ada", now, limits=Limits(running=3, requests_per_minute=600)),
            Tenant("bob", now, keep_inputs=False, result_ttl=timedelta(hours=1)),
        ):
            key = ApiKey(f"digest-{tenant.name}", tenant.name, now)
            assert await subject.tenants.create(tenant, key)
        yield RetentionHarness(subject, clock, wire, SeededIds(Random(1)))


async def run_jobs(harness: RetentionHarness, tenant: str) -> None:
    """Create a job for each way to end, and deliveries for each way of theirs."""
    subject = harness.subject
    for number, facts in enumerate(JOB_ENDINGS):
        job = await harness.admit(tenant, reference=f"order {number}")
        harness.clock.shift(SECOND)
        await apply_triggers(subject, job, *facts)
    late = await apply_triggers(subject, await harness.admit(tenant), *RUNNING)
    now = harness.clock.now()
    errand = late.transition(
        Trigger.DEADLINE_EXCEEDED,
        now,
        next_run_at=now,
        finished_at=now,
        follow_up=FollowUp.AWAIT_LATE_RESULT,
    )
    assert await subject.jobs.store(Change(late, errand)) is WriteResult.STORED
    done = errand.evolve(now, next_run_at=None, follow_up=None)
    assert await subject.jobs.store(Change(errand, done)) is WriteResult.STORED
    await run_deliveries(harness, tenant)


async def run_deliveries(harness: RetentionHarness, tenant: str) -> None:
    """Three deliveries: one succeeds, one fails after a second attempt, one is held."""
    subject, now = harness.subject, harness.clock.now()
    for channel in ("a", "b", "c"):
        job = await harness.admit(tenant)
        event = replace(
            delivery_for(job, harness.ids.delivery_id(now)), queue=f"{tenant}/{channel}"
        )
        assert await subject.jobs.store(cancellation_change(job, now, event)) is WriteResult.STORED
    later = now + SECOND
    ends: dict[str, dict[str, Any]] = {
        f"{tenant}/a": {},
        f"{tenant}/b": {"state": DeliveryState.PENDING, "next_attempt_at": later},
        f"{tenant}/c": {"state": DeliveryState.HELD},
    }
    broken = EndpointCircuit(
        1, max_concurrency=1, consecutive_failures=3, is_open=True, paused_until=later
    )
    for each in await claim_deliveries(subject, 10):
        name = each.delivery.queue
        state = broken if name.endswith("b") else None
        await subject.deliveries.complete_attempt(attempt_completion(each, state, **ends[name]))
    harness.clock.shift(SECOND)
    for each in await claim_deliveries(subject, 10):
        failed = attempt_completion(each, state=DeliveryState.FAILED)
        await subject.deliveries.complete_attempt(failed)


async def test_what_was_is_gone_when_its_time_is_over(harness: RetentionHarness) -> None:
    for tenant in ("ada", "bob"):
        await run_jobs(harness, tenant)
    await AdminStore(harness.wire, LuaScripts(harness.wire, load_scripts()), harness.clock).pause(
        Pause.tenant("ada")
    )
    waits = await harness.admit("ada")
    await apply_triggers(harness.subject, waits, Trigger.CANCEL_REQUESTED)
    await take_messages(harness.wire)
    assert {OWNERS[pattern_of(name)] for name in await every_key(harness.wire)} >= EXPIRING_PATTERNS

    await pass_time(harness.wire, harness.clock, RETENTION - timedelta(hours=1))
    await harness.trim()
    listed = await harness.subject.probe.tenant_jobs("ada")
    assert len(listed) == len(JOB_ENDINGS) + 5, "before its time nothing is lost"
    assert await harness.subject.probe.tenant_jobs("bob") == {}

    await pass_time(harness.wire, harness.clock, timedelta(hours=2))
    await harness.trim()
    left = {pattern_of(name) for name in await harness.is_expired()}
    assert left == {
        "gw:delivery:{id}",
        "gw:delivery:{id}:attempts",
        "gw:outbox:{queue}:circuit",
        "gw:tenant:{name}:deliveries",
    }

    await pass_time(harness.wire, harness.clock, DELIVERY_RETENTION)
    assert await harness.is_expired() == {}
    assert await claim_deliveries(harness.subject, 10) == []
    assert list(await harness.subject.jobs.claim_due(SECOND, 10)) == []

    await pass_time(harness.wire, harness.clock, 401 * DAY)
    names = {pattern_of(name) for name in await every_key(harness.wire)}
    assert "gw:usage:{tenant}:{window}" not in names
    assert set(await harness.subject.probe.states()) <= FINAL_STATES


async def test_what_was_shared_is_gone_too(harness: RetentionHarness) -> None:
    subject = harness.subject
    first, joined = (
        await harness.set_cache_policy("ada", "one"),
        await harness.set_cache_policy("ada", "two"),
    )
    assert (first.cache_status, joined.cache_status) == (CacheStatus.MISS, CacheStatus.COLLAPSED)
    leader, follower = [await harness.newest(n) for n in (2, 1)]
    running = await apply_triggers(subject, leader, *RUNNING, Trigger.FINISHED)
    now = harness.clock.now()
    ended = running.transition(Trigger.COLLECTED, now, next_run_at=None, finished_at=now)
    assert await subject.jobs.store(Change(running, ended, output=b"{}")) is WriteResult.STORED
    await apply_triggers(subject, follower, Trigger.CANCEL_REQUESTED)
    assert (await harness.set_cache_policy("ada", "three")).cache_status is CacheStatus.HIT
    hit = await harness.newest(1)
    told = finish_notification(hit, now).after
    assert await subject.jobs.store(Change(hit, told)) is WriteResult.STORED
    await take_messages(harness.wire)
    rows = {pattern_of(name) for name in await every_key(harness.wire)}
    assert {"gw:dedup:{scope}:{fingerprint}", "gw:idempotency:{tenant}:{digest}"} <= rows

    await pass_time(harness.wire, harness.clock, RETENTION + DAY)
    await harness.trim()
    assert await harness.is_expired() == {}


async def paid_job(harness: RetentionHarness, output: bytes) -> Job:
    """A finished job of `ada` whose result is in the cache, with a delivery that was made."""
    subject, now = harness.subject, harness.clock.now()
    job = replace(new_job(now, harness.ids.job_id(now), "ada"), estimate=MicroUsd(1))
    wish = admission_of(replace(job, reference="x"))
    await subject.jobs.admit(
        replace(
            wish,
            cache=CacheRequest(CacheOption.USE),
            idempotency=IdempotencyClaim("digest-k", "1:f"),
        )
    )
    running = await apply_triggers(subject, await harness.newest(1), *RUNNING, Trigger.FINISHED)
    cost = {"upstream_id": "up-1", "cost": MicroUsd(1), "billed": BillingStatus.YES}
    ended = running.transition(Trigger.COLLECTED, now, next_run_at=None, finished_at=now, **cost)
    event = replace(delivery_for(job, harness.ids.delivery_id(now)), queue="ada/default")
    change = Change(running, ended, output=output, deliveries=(event,))
    assert await subject.jobs.store(change) is WriteResult.STORED
    (claimed,) = await claim_deliveries(subject, 5)
    await subject.deliveries.complete_attempt(attempt_completion(claimed))
    return ended


async def test_a_deleted_request_leaves_its_idempotency_key_only(
    harness: RetentionHarness,
) -> None:
    output = b'{"video":"https://media.test/deleted.mp4"}'
    job = await paid_job(harness, output)
    await take_messages(harness.wire)
    assert await harness.subject.job_index.delete(job) is DeletionResult.DELETED
    for name in await every_key(harness.wire):
        if pattern_of(name) == "gw:idempotency:{tenant}:{digest}":
            assert await harness.wire.execute("PTTL", name) > 0
            continue
        held = name + await contents_of(harness.wire, name)
        # The log of claims holds ids and times of the last 1,000, without which a store that went
        # back could not be recognized; RunComfy's id must not be given to another job.
        assert job.id not in held or name in {keys.STORE_CLAIMS, keys.upstream_id("up-1")}, name
        assert "deleted.mp4" not in held, name
    again = await harness.set_cache_policy("ada", "other")
    assert again.cache_status is CacheStatus.MISS


async def use_everything(harness: RetentionHarness) -> None:
    """Create a key of every kind that a tenant may have."""
    subject, wire, now = harness.subject, harness.wire, harness.clock.now()
    await run_jobs(harness, "ada")
    await paid_job(harness, b"{}")
    budgeted = ApiKey("digest-budget", "ada", now, limits=KeyLimits(usd_per_day=MicroUsd(10**6)))
    assert await subject.tenants.add_key(budgeted)
    job = replace(new_job(now, harness.ids.job_id(now), "ada"), estimate=MicroUsd(1))
    wish = replace(admission_of(job), credential=Credential("ada", budgeted.digest))
    await subject.jobs.admit(wish)
    await apply_triggers(subject, job, Trigger.CANCEL_REQUESTED)
    await subject.jobs.authenticate(
        tenant_credential("ada"), Scope.WEBHOOKS, CallRate.WEBHOOK_ACTIONS
    )
    await EventStreams(wire, {}, harness.clock).append("ada", RedisStream("jobs"), b"{}")
    await subject.files.add(StoredFile("file_1", "ada", now, "image/png", 1, "00", "00"))
    assert await subject.files.use("ada", job.id, ["file_1"])
    await subject.audit.append(AuditEntry(now, "ada/key", "webhook.test", "ada"), "ada")
    day = UTC_CALENDAR.windows_at(now)[0]
    reached = ReachedThreshold(day, 50, MicroUsd(5), MicroUsd(10))
    scripts = LuaScripts(wire, load_scripts())
    assert await BudgetThresholdStore(wire, scripts, harness.clock).notify("ada", reached, ())
    before = await subject.replays.load("ada")
    after = before.with_range(ReplayRange(now - DAY, now))
    assert await subject.replays.update(before, after, now)
    done = replace(after, version=after.version + 1, ranges=())
    assert await subject.replays.update(after, done, now)


async def delete_tenant(harness: RetentionHarness) -> None:
    before = await harness.subject.tenants.load("ada")
    assert before is not None
    now = harness.clock.now()
    after = replace(before, disabled=True, deleted_at=now, version=before.version + 1)
    assert await harness.subject.tenants.delete(before, after)
    for due in await harness.subject.files.list_due(10):
        await harness.subject.files.expire(due)


async def test_every_key_of_a_deleted_tenant_has_an_end(harness: RetentionHarness) -> None:
    await use_everything(harness)
    await harness.subject.admin.pause(Pause.tenant("ada"))
    await take_messages(harness.wire)
    made = {pattern_of(name) for name in await every_key(harness.wire)}
    await delete_tenant(harness)
    endless = {
        name: await contents_of(harness.wire, name)
        for name in await every_key(harness.wire)
        if await harness.wire.execute("PTTL", name) == NO_END
    }
    # What has no end is the gateway's, or the other tenant's; jobs that are open end by themselves.
    assert {OWNERS[pattern_of(name)] for name in endless if "ada" in name} == set()
    mentions = {name for name, held in endless.items() if "ada" in held}
    assert mentions <= {"gw:running", "gw:waiting"}, "counters of open jobs"
    tenants_patterns = {
        spec.pattern for spec in KEY_SPECS if spec.owner is KeyOwner.TENANT and "{" in spec.pattern
    }
    assert tenants_patterns - made <= {
        "gw:queue:models:{tenant}",
        "gw:key:{digest}",
        "gw:tenant:{name}:keys",
    }, "a key of each kind was there"


async def test_a_deleted_tenant_leaves_nothing(harness: RetentionHarness) -> None:
    await use_everything(harness)
    waits = await harness.admit("ada", reference="x")
    await delete_tenant(harness)
    await apply_triggers(harness.subject, waits, *RUNNING, Trigger.RUN_FAILED)
    await take_messages(harness.wire)

    await pass_time(harness.wire, harness.clock, 401 * DAY)
    for name in await every_key(harness.wire):
        assert "ada" not in name + await contents_of(harness.wire, name), name
    assert await harness.is_expired() == {}


async def test_a_settlement_in_an_expired_window_creates_no_new_one(
    harness: RetentionHarness,
) -> None:
    job = await apply_triggers(harness.subject, await harness.admit("ada"), *RUNNING)
    day = keys.usage_history("ada", f"{job.usage_day:%Y%m%d}")
    names = window_names(job.usage_day)
    assert None not in await harness.wire.execute("HMGET", keys.usage("ada"), *names)
    await pass_time(harness.wire, harness.clock, 401 * DAY)
    await harness.wire.execute("HDEL", keys.usage("ada"), *names[:3])
    await apply_triggers(harness.subject, job, Trigger.RUN_FAILED)
    kept = await harness.wire.execute("HMGET", keys.usage("ada"), *names)
    assert [window is None for window in kept] == [True, True, True, False]
    assert await harness.wire.execute("EXISTS", day) == 0


async def test_outdated_windows_go_with_the_first_admission_of_a_new_one(
    harness: RetentionHarness,
) -> None:
    job = await harness.admit("ada")
    harness.clock.shift(76 * DAY)
    later = await harness.admit("ada")
    kept = {name.decode() for name in await harness.wire.execute("HKEYS", keys.usage("ada"))}
    assert kept == set(window_names(later.usage_day))
    assert kept & set(window_names(job.usage_day)) == {"T"}
