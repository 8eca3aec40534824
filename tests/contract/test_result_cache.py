"""The result cache and idempotency keys, as a submit reads them."""

from datetime import timedelta
from typing import Final

import pytest

from core.billing.usage import UsageTotals
from core.errors import (
    BudgetReached,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    LimitReached,
    NotPermitted,
)
from core.jobs.job import BillingStatus, FollowUp, JobState, Trigger
from core.money import MicroUsd
from core.retention import RETENTION
from core.store import keys
from core.tenants.cache_policy import (
    CacheMode,
    CacheOption,
    CacheStatus,
    TenantCachePolicy,
)
from core.tenants.limits import Limits, Priority
from core.transactions.admission import CacheRequest
from tests.support.coalescing import CACHE_REQUEST, COST, OUTPUT, SECOND, CoalescingHarness
from tests.support.redis import redis_client
from tests.support.store_harness import PRICE, redis_harness

SHARED: Final = TenantCachePolicy(shared=True)
REFRESH: Final = CacheRequest(requested=CacheOption.REFRESH)
OFF: Final = CacheRequest(requested=CacheOption.OFF)
CACHED_OPTIONS: Final = CacheRequest(requested=CacheOption.USE)
NON_DEFAULT_OPTIONS: Final = CacheRequest(mode=CacheMode.OFF)
HOUR: Final = timedelta(hours=1)


async def _usage_today(coalescing: CoalescingHarness, tenant: str = "ape") -> UsageTotals:
    return (await coalescing.stores.usage_of(tenant)).windows[0].total


# --- the cache


async def test_the_first_is_paid_for(coalescing: CoalescingHarness) -> None:
    job, admitted = await coalescing.submit()
    assert (admitted.cache_status, admitted.reserved, admitted.record) == (
        CacheStatus.MISS,
        PRICE,
        None,
    )
    assert await coalescing.state(job) is JobState.QUEUED


async def test_a_kept_result_is_a_job_of_its_own_that_has_ended(
    coalescing: CoalescingHarness,
) -> None:
    first = await coalescing.submit_job()
    await coalescing.finish(first)
    coalescing.stores.clock.shift(SECOND)
    hit, admitted = await coalescing.submit()
    assert (admitted.cache_status, admitted.reserved, admitted.has_slot) == (
        CacheStatus.HIT,
        0,
        False,
    )
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT
    assert await coalescing.record(hit) == admitted.record
    now = coalescing.stores.clock.now()
    assert hit.id != first.id
    assert (hit.state, hit.finished_at, hit.billed) == (JobState.SUCCEEDED, now, BillingStatus.NO)
    assert (hit.cost, hit.cost_source, hit.cost_saved, hit.leader) == (0, "cache", COST, first.id)
    day = await _usage_today(coalescing)
    assert (day.jobs, day.reused_jobs, day.cost_saved, day.reservations.used) == (2, 1, COST, COST)


async def test_a_hit_s_deliveries_are_a_follow_up_and_its_life_begins_after_it(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.finish(await coalescing.submit_job())
    hit = await coalescing.submit_job()
    assert hit.follow_up is FollowUp.NOTIFY
    assert hit.id in {job.id for job in await coalescing.stores.jobs.claim_due(SECOND, 10)}
    await coalescing.notify(hit)
    coalescing.stores.clock.shift(HOUR)
    assert hit.id not in {job.id for job in await coalescing.stores.jobs.claim_due(SECOND, 10)}
    day = await _usage_today(coalescing)
    assert (day.jobs, day.reused_jobs, day.cost_saved) == (2, 1, COST)


async def test_a_hit_saves_what_is_unknown_as_nothing(coalescing: CoalescingHarness) -> None:
    await coalescing.finish(await coalescing.submit_job(estimate=None), cost=None)
    hit = await coalescing.submit_job(estimate=None)
    assert (hit.state, hit.cost_saved) == (JobState.SUCCEEDED, None)
    assert (await _usage_today(coalescing)).cost_saved == 0


async def test_a_cost_that_is_still_unknown_counts_as_the_estimate(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.finish(await coalescing.submit_job(), cost=None, follow_up=FollowUp.READ_COST)
    assert (await coalescing.submit_job()).cost_saved == PRICE


async def test_the_largest_sums_keep_every_digit(coalescing: CoalescingHarness) -> None:
    large = MicroUsd(9_007_199_254_740_991)
    await coalescing.finish(await coalescing.submit_job(estimate=large), cost=large)
    hit, admitted = await coalescing.submit()
    assert hit.cost_saved == large
    assert admitted.reserved == 0
    assert (await _usage_today(coalescing)).cost_saved == large


async def test_a_hit_outlives_the_job_whose_result_it_has(coalescing: CoalescingHarness) -> None:
    first = await coalescing.finish(await coalescing.submit_job())
    hit = await coalescing.submit_job()
    await coalescing.delete_record(first)
    assert (await coalescing.record(hit)).output == OUTPUT
    again = await coalescing.submit_job()
    assert (again.state, again.leader) == (JobState.SUCCEEDED, first.id)


async def test_another_input_finds_nothing(coalescing: CoalescingHarness) -> None:
    await coalescing.finish(await coalescing.submit_job())
    assert (await coalescing.submit(fingerprint="1:g"))[1].cache_status is CacheStatus.MISS


@pytest.mark.parametrize("fact", [Trigger.RUN_FAILED, Trigger.DEADLINE_EXCEEDED])
async def test_a_failure_is_not_kept(coalescing: CoalescingHarness, fact: Trigger) -> None:
    await coalescing.apply_triggers(await coalescing.run(await coalescing.submit_job()), fact)
    assert (await coalescing.submit())[1].cache_status is CacheStatus.MISS


@pytest.mark.parametrize(
    ("asked", "kept", "under_way", "alone", "after"),
    [
        (CACHE_REQUEST, CacheStatus.HIT, CacheStatus.COLLAPSED, CacheStatus.MISS, CacheStatus.HIT),
        (CACHED_OPTIONS, CacheStatus.HIT, CacheStatus.COLLAPSED, CacheStatus.MISS, CacheStatus.HIT),
        (REFRESH, CacheStatus.COLLAPSED, CacheStatus.COLLAPSED, CacheStatus.MISS, CacheStatus.HIT),
        (OFF, CacheStatus.BYPASS, CacheStatus.BYPASS, CacheStatus.BYPASS, CacheStatus.MISS),
        (
            NON_DEFAULT_OPTIONS,
            CacheStatus.BYPASS,
            CacheStatus.BYPASS,
            CacheStatus.BYPASS,
            CacheStatus.MISS,
        ),
    ],
)
async def test_what_each_option_reads_joins_and_leaves(
    coalescing: CoalescingHarness,
    asked: CacheRequest,
    kept: CacheStatus,
    under_way: CacheStatus,
    alone: CacheStatus,
    after: CacheStatus,
) -> None:
    """The documented table: with nothing cached, one in flight, a result too, and afterwards."""
    both = "1:both"
    await coalescing.finish(await coalescing.submit_job(fingerprint=both))
    await coalescing.submit_job(reuse=REFRESH, fingerprint=both)
    assert (await coalescing.submit(reuse=asked, fingerprint=both))[1].cache_status is kept
    await coalescing.submit_job(fingerprint="1:under way")
    assert (await coalescing.submit(reuse=asked, fingerprint="1:under way"))[
        1
    ].cache_status is under_way
    job, admitted = await coalescing.submit(reuse=asked, fingerprint="1:alone")
    assert admitted.cache_status is alone
    await coalescing.finish(job)
    assert (await coalescing.submit(fingerprint="1:alone"))[1].cache_status is after


async def test_a_refresh_puts_its_result_in_the_place_of_the_old_one(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.finish(await coalescing.submit_job())
    second = await coalescing.submit_job(reuse=REFRESH)
    assert (await coalescing.submit_job()).leader != second.id  # the old result serves until then
    await coalescing.finish(second)
    assert (await coalescing.submit_job()).leader == second.id


async def test_a_refresh_that_fails_leaves_the_old_result(coalescing: CoalescingHarness) -> None:
    first = await coalescing.finish(await coalescing.submit_job())
    await coalescing.fail(await coalescing.run(await coalescing.submit_job(reuse=REFRESH)))
    assert (await coalescing.submit_job()).leader == first.id


@pytest.mark.parametrize(
    ("policy", "asked", "found"),
    [
        (TenantCachePolicy(cache=CacheMode.OFF), CACHE_REQUEST, CacheStatus.BYPASS),
        (TenantCachePolicy(cache=CacheMode.OFF), CACHED_OPTIONS, CacheStatus.MISS),
        (TenantCachePolicy(cache=CacheMode.OFF), REFRESH, CacheStatus.MISS),
        (TenantCachePolicy(cache=CacheMode.USE), NON_DEFAULT_OPTIONS, CacheStatus.MISS),
        (TenantCachePolicy(cache=CacheMode.USE), OFF, CacheStatus.BYPASS),
    ],
)
async def test_the_submit_comes_before_the_tenant_before_the_model(
    coalescing: CoalescingHarness,
    policy: TenantCachePolicy,
    asked: CacheRequest,
    found: CacheStatus,
) -> None:
    await coalescing.stores.tenant("fox", cache_policy=policy)
    assert (await coalescing.submit("fox", asked))[1].cache_status is found


@pytest.mark.parametrize(
    ("own", "usual", "lasts"),
    [
        (None, HOUR, HOUR),
        (timedelta(seconds=90), HOUR, timedelta(seconds=90)),
        (2 * HOUR, HOUR, 2 * HOUR),
        (None, timedelta(days=7), timedelta(days=7)),
    ],
)
async def test_a_result_is_kept_for_its_tenant_s_lifetime_or_else_the_default(
    coalescing: CoalescingHarness, own: timedelta | None, usual: timedelta, lasts: timedelta
) -> None:
    await coalescing.stores.tenant("fox", cache_policy=TenantCachePolicy(lifetime=own))
    asked = CacheRequest(lifetime=usual)
    await coalescing.finish(await coalescing.submit_job("fox", reuse=asked))
    coalescing.stores.clock.shift(lasts - timedelta(milliseconds=1))
    assert (await coalescing.submit("fox", asked))[1].cache_status is CacheStatus.HIT
    coalescing.stores.clock.shift(timedelta(milliseconds=1))
    assert (await coalescing.submit("fox", asked))[1].cache_status is CacheStatus.MISS


async def test_no_result_is_kept_longer_than_runcomfy_keeps_its_output(
    coalescing: CoalescingHarness,
) -> None:
    """A job whose end was noticed five days late has two days left."""
    job = await coalescing.run(await coalescing.submit_job())
    ended = coalescing.stores.clock.now()
    coalescing.stores.clock.shift(timedelta(days=5))
    await coalescing.succeed(job, upstream_finished_at=ended)
    coalescing.stores.clock.shift(timedelta(days=2) - SECOND)
    assert (await coalescing.submit())[1].cache_status is CacheStatus.HIT
    coalescing.stores.clock.shift(SECOND)
    assert (await coalescing.submit())[1].cache_status is CacheStatus.MISS


async def test_a_result_that_is_too_old_already_is_not_kept(coalescing: CoalescingHarness) -> None:
    job = await coalescing.run(await coalescing.submit_job())
    ended = coalescing.stores.clock.now()
    coalescing.stores.clock.shift(timedelta(days=7))
    await coalescing.succeed(job, upstream_finished_at=ended)
    assert (await coalescing.submit())[1].cache_status is CacheStatus.MISS


async def test_a_tenant_whose_results_are_kept_shorter_has_none_reused_for_longer(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: the result stayed in the cache after its tenant's own retention."""
    await coalescing.stores.tenant("fox", result_ttl=HOUR)
    await coalescing.finish(await coalescing.submit_job("fox"))
    coalescing.stores.clock.shift(HOUR - SECOND)
    assert (await coalescing.submit("fox", dry_run=True))[1].cache_status is CacheStatus.HIT
    coalescing.stores.clock.shift(SECOND)
    assert (await coalescing.submit("fox", dry_run=True))[1].cache_status is CacheStatus.MISS


async def test_tenants_share_nothing_unless_an_operator_allows_it(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.stores.tenant("dog", cache_policy=TenantCachePolicy())
    await coalescing.finish(await coalescing.submit_job("bee"))  # bee and cow share
    found = {
        name: (await coalescing.submit(name))[1].cache_status for name in ("cow", "dog", "ape")
    }
    assert found == {"cow": CacheStatus.HIT, "dog": CacheStatus.MISS, "ape": CacheStatus.MISS}
    assert (await _usage_today(coalescing, "cow")).cost_saved == COST


@pytest.mark.parametrize("reference", [None, '"upstream_status":"failed"'])
async def test_a_hit_repeats_the_words_that_runcomfy_used_for_the_result(
    coalescing: CoalescingHarness, reference: str | None
) -> None:
    words = {"upstream_status": "succeeded", "upstream_result_status": "completed"}
    await coalescing.finish(await coalescing.submit_job(reference=reference), **words)
    hit = await coalescing.current(await coalescing.submit_job())
    assert (hit.state, hit.upstream_status, hit.upstream_result_status) == (
        JobState.SUCCEEDED,
        "succeeded",
        "completed",
    )


async def test_a_hit_whose_source_is_deleted_has_no_words_of_runcomfy(
    coalescing: CoalescingHarness,
) -> None:
    first = await coalescing.submit_job()
    await coalescing.finish(first, upstream_status="completed")
    await coalescing.delete_record(first)
    hit = await coalescing.current(await coalescing.submit_job())
    assert (hit.state, hit.upstream_status) == (JobState.SUCCEEDED, None)


# --- Idempotency-Key


async def test_the_same_key_is_the_same_job_open_or_ended(coalescing: CoalescingHarness) -> None:
    first, _ = await coalescing.submit(key="k", reuse=OFF)
    again, admitted = await coalescing.submit(key="k", reuse=OFF)
    assert (again, admitted.cache_status) == (await coalescing.current(first), CacheStatus.REPLAYED)
    await coalescing.finish(first)
    ended, admitted = await coalescing.submit(key="k", reuse=OFF)
    assert (ended.id, ended.state, admitted.cache_status) == (
        first.id,
        JobState.SUCCEEDED,
        CacheStatus.REPLAYED,
    )
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT
    assert (await _usage_today(coalescing)).jobs == 1


async def test_another_input_under_the_same_key_is_refused(coalescing: CoalescingHarness) -> None:
    await coalescing.submit(key="k")
    with pytest.raises(IdempotencyMismatch):
        await coalescing.submit(key="k", fingerprint="1:g")
    assert (await _usage_today(coalescing)).jobs == 1


async def test_keys_belong_to_their_tenant(coalescing: CoalescingHarness) -> None:
    await coalescing.stores.tenant("fox")
    await coalescing.submit(key="k")
    assert (await coalescing.submit("fox", key="k", fingerprint="1:g"))[
        1
    ].cache_status is CacheStatus.MISS


async def test_a_tenant_may_have_to_send_one(coalescing: CoalescingHarness) -> None:
    await coalescing.stores.tenant("fox", cache_policy=TenantCachePolicy(idempotency_required=True))
    with pytest.raises(IdempotencyKeyMissing):
        await coalescing.submit("fox")
    with pytest.raises(IdempotencyKeyMissing):
        await coalescing.submit("fox", dry_run=True)
    assert (await coalescing.submit("fox", key="k"))[1].cache_status is CacheStatus.MISS


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (Limits(requests_per_minute=0), LimitReached),
        (Limits(jobs_per_day=0), LimitReached),
        (Limits(usd_per_day=MicroUsd(1)), BudgetReached),
        (Limits(usd_per_request=MicroUsd(1)), BudgetReached),
        (Limits(models=("other/*",)), NotPermitted),
        (Limits(priority=Priority.LOW), NotPermitted),
        (Limits(running=0, waiting=0), LimitReached),
    ],
)
async def test_a_refused_submit_uses_no_key_and_has_no_followers(
    coalescing: CoalescingHarness, limits: Limits, refusal: type[Exception]
) -> None:
    await coalescing.stores.tenant("fox", limits)
    with pytest.raises((refusal, LimitReached)):
        await coalescing.submit("fox", key="k")
    await coalescing.stores.set_limits("fox", Limits())
    found = [(await coalescing.submit("fox", key="k"))[1].cache_status for _ in range(2)]
    assert found == [CacheStatus.MISS, CacheStatus.REPLAYED]


async def test_a_replay_counts_in_no_limit(coalescing: CoalescingHarness) -> None:
    tight = Limits(requests_per_minute=1, burst=1, jobs_per_day=1, usd_per_day=PRICE)
    await coalescing.stores.tenant("fox", tight)
    await coalescing.submit("fox", key="k")
    for _ in range(3):
        assert (await coalescing.submit("fox", key="k"))[1].cache_status is CacheStatus.REPLAYED


async def test_a_key_of_a_hit_and_of_a_follower_replays_them(coalescing: CoalescingHarness) -> None:
    leader = await coalescing.submit_job()
    follower, _ = await coalescing.submit(key="follower")
    assert (await coalescing.submit(key="follower"))[0] == follower
    await coalescing.finish(leader)
    hit, _ = await coalescing.submit(key="hit")
    again, admitted = await coalescing.submit(key="hit")
    assert (again, admitted.cache_status) == (hit, CacheStatus.REPLAYED)
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT


async def test_a_key_is_kept_as_long_as_its_job(redis_flushed: str) -> None:
    async with redis_client(redis_flushed) as wire:
        flight = CoalescingHarness(redis_harness(wire))
        await flight.stores.tenant("ape")
        job, _ = await flight.submit(key="k")
        hit_key, name = keys.idempotency("ape", "hit"), keys.idempotency("ape", "k")
        assert await wire.execute("PTTL", name) == -1
        await flight.finish(job)
        hit, _ = await flight.submit(key="hit")
        await flight.notify(hit)
        week = RETENTION // timedelta(milliseconds=1)
        for key, of in ((name, job), (hit_key, hit)):
            left, lives = [await wire.execute("PEXPIRETIME", k) for k in (key, keys.job(of.id))]
            assert left == lives
            assert week - 60_000 < await wire.execute("PTTL", key) <= week
