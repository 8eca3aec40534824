"""What a submit finds of its like: kept results and keys. The twin and Redis agree."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import (
    BudgetReached,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    LimitReached,
    NotPermitted,
)
from core.jobs.job import Billed, Errand, Fact, JobState
from core.money import MicroUsd
from core.retention import RETENTION
from core.store import keys
from core.tenants.cache_policy import CacheMode, CacheOption, CacheUse, Reuse, ReusePolicy
from core.tenants.limits import Limits, Priority
from core.transactions.admission import ReuseRequest
from tests.contract.flight import COST, OUTPUT, SECOND, USE, Flight
from tests.contract.gateway import PRICE, in_redis, wire_to

if TYPE_CHECKING:
    from core.billing.usage import Use

SHARED: Final = ReusePolicy(shared=True)
REFRESH: Final = ReuseRequest(asked=CacheOption.REFRESH)
OFF: Final = ReuseRequest(asked=CacheOption.OFF)
USED: Final = ReuseRequest(asked=CacheOption.USE)
UNUSUAL: Final = ReuseRequest(usual=CacheUse(CacheMode.OFF))
HOUR: Final = timedelta(hours=1)


async def _day(flight: Flight, tenant: str = "ape") -> Use:
    return (await flight.gateway.use(tenant)).windows[0].total


# --- the cache


async def test_the_first_is_paid_for(flight: Flight) -> None:
    job, admitted = await flight.ask()
    assert (admitted.reuse, admitted.reserved, admitted.record) == (Reuse.MISS, PRICE, None)
    assert await flight.state(job) is JobState.QUEUED


async def test_a_kept_result_is_a_job_of_its_own_that_has_ended(flight: Flight) -> None:
    first = await flight.join()
    await flight.finish(first)
    flight.gateway.clock.jump(SECOND)
    hit, admitted = await flight.ask()
    assert (admitted.reuse, admitted.reserved, admitted.running) == (Reuse.HIT, 0, False)
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT
    assert await flight.record(hit) == admitted.record
    now = flight.gateway.clock.now()
    assert hit.id != first.id
    assert (hit.state, hit.finished_at, hit.billed) == (JobState.SUCCEEDED, now, Billed.NO)
    assert (hit.cost, hit.cost_source, hit.saved, hit.leader) == (0, "cache", COST, first.id)
    day = await _day(flight)
    assert (day.jobs, day.reused, day.saved, day.booking.used) == (2, 1, COST, COST)


async def test_a_hit_s_callbacks_are_an_errand_and_its_life_begins_after_it(flight: Flight) -> None:
    await flight.finish(await flight.join())
    hit = await flight.join()
    assert hit.errand is Errand.NOTIFY
    assert hit.id in {job.id for job in await flight.gateway.jobs.claim_due(SECOND, 10)}
    await flight.notify(hit)
    flight.gateway.clock.jump(HOUR)
    assert hit.id not in {job.id for job in await flight.gateway.jobs.claim_due(SECOND, 10)}
    day = await _day(flight)
    assert (day.jobs, day.reused, day.saved) == (2, 1, COST)


async def test_a_hit_saves_what_is_unknown_as_nothing(flight: Flight) -> None:
    await flight.finish(await flight.join(estimate=None), cost=None)
    hit = await flight.join(estimate=None)
    assert (hit.state, hit.saved) == (JobState.SUCCEEDED, None)
    assert (await _day(flight)).saved == 0


async def test_a_cost_that_is_still_to_come_is_worth_the_estimate(flight: Flight) -> None:
    await flight.finish(await flight.join(), cost=None, errand=Errand.READ_COST)
    assert (await flight.join()).saved == PRICE


async def test_the_largest_sums_keep_every_digit(flight: Flight) -> None:
    large = MicroUsd(9_007_199_254_740_991)
    await flight.finish(await flight.join(estimate=large), cost=large)
    hit, admitted = await flight.ask()
    assert hit.saved == large
    assert admitted.reserved == 0
    assert (await _day(flight)).saved == large


async def test_a_hit_outlives_the_job_whose_result_it_has(flight: Flight) -> None:
    first = await flight.finish(await flight.join())
    hit = await flight.join()
    await flight.lose(first)
    assert (await flight.record(hit)).output == OUTPUT
    again = await flight.join()
    assert (again.state, again.leader) == (JobState.SUCCEEDED, first.id)


async def test_another_input_finds_nothing(flight: Flight) -> None:
    await flight.finish(await flight.join())
    assert (await flight.ask(fingerprint="1:g"))[1].reuse is Reuse.MISS


@pytest.mark.parametrize("fact", [Fact.BROKE, Fact.OUT_OF_TIME])
async def test_a_failure_is_not_kept(flight: Flight, fact: Fact) -> None:
    await flight.step(await flight.run(await flight.join()), fact)
    assert (await flight.ask())[1].reuse is Reuse.MISS


@pytest.mark.parametrize(
    ("asked", "kept", "under_way", "alone", "after"),
    [
        (USE, Reuse.HIT, Reuse.JOINED, Reuse.MISS, Reuse.HIT),
        (USED, Reuse.HIT, Reuse.JOINED, Reuse.MISS, Reuse.HIT),
        (REFRESH, Reuse.JOINED, Reuse.JOINED, Reuse.MISS, Reuse.HIT),
        (OFF, Reuse.OFF, Reuse.OFF, Reuse.OFF, Reuse.MISS),
        (UNUSUAL, Reuse.OFF, Reuse.OFF, Reuse.OFF, Reuse.MISS),
    ],
)
async def test_what_each_option_reads_joins_and_leaves(
    flight: Flight, asked: ReuseRequest, kept: Reuse, under_way: Reuse, alone: Reuse, after: Reuse
) -> None:
    """The page's table: with nothing there, with one under way, with a result too, and then."""
    both = "1:both"
    await flight.finish(await flight.join(fingerprint=both))
    await flight.join(reuse=REFRESH, fingerprint=both)
    assert (await flight.ask(reuse=asked, fingerprint=both))[1].reuse is kept
    await flight.join(fingerprint="1:under way")
    assert (await flight.ask(reuse=asked, fingerprint="1:under way"))[1].reuse is under_way
    job, admitted = await flight.ask(reuse=asked, fingerprint="1:alone")
    assert admitted.reuse is alone
    await flight.finish(job)
    assert (await flight.ask(fingerprint="1:alone"))[1].reuse is after


async def test_a_refresh_puts_its_result_in_the_place_of_the_old_one(flight: Flight) -> None:
    await flight.finish(await flight.join())
    second = await flight.join(reuse=REFRESH)
    assert (await flight.join()).leader != second.id  # the old one serves until then
    await flight.finish(second)
    assert (await flight.join()).leader == second.id


async def test_a_refresh_that_fails_leaves_the_old_result(flight: Flight) -> None:
    first = await flight.finish(await flight.join())
    await flight.fail(await flight.run(await flight.join(reuse=REFRESH)))
    assert (await flight.join()).leader == first.id


@pytest.mark.parametrize(
    ("policy", "asked", "found"),
    [
        (ReusePolicy(cache=CacheMode.OFF), USE, Reuse.OFF),
        (ReusePolicy(cache=CacheMode.OFF), USED, Reuse.MISS),
        (ReusePolicy(cache=CacheMode.OFF), REFRESH, Reuse.MISS),
        (ReusePolicy(cache=CacheMode.USE), UNUSUAL, Reuse.MISS),
        (ReusePolicy(cache=CacheMode.USE), OFF, Reuse.OFF),
    ],
)
async def test_the_submit_comes_before_the_tenant_before_the_model(
    flight: Flight, policy: ReusePolicy, asked: ReuseRequest, found: Reuse
) -> None:
    await flight.gateway.tenant("fox", reuse=policy)
    assert (await flight.ask("fox", asked))[1].reuse is found


@pytest.mark.parametrize(
    ("own", "usual", "lasts"),
    [
        (None, HOUR, HOUR),
        (timedelta(seconds=90), HOUR, timedelta(seconds=90)),
        (2 * HOUR, HOUR, 2 * HOUR),
        (None, timedelta(days=7), timedelta(days=7)),
    ],
)
async def test_a_result_is_kept_for_its_tenant_s_lifetime_or_else_the_usual_one(
    flight: Flight, own: timedelta | None, usual: timedelta, lasts: timedelta
) -> None:
    await flight.gateway.tenant("fox", reuse=ReusePolicy(lifetime=own))
    asked = ReuseRequest(usual=CacheUse(lifetime=usual))
    await flight.finish(await flight.join("fox", reuse=asked))
    flight.gateway.clock.jump(lasts - timedelta(milliseconds=1))
    assert (await flight.ask("fox", asked))[1].reuse is Reuse.HIT
    flight.gateway.clock.jump(timedelta(milliseconds=1))
    assert (await flight.ask("fox", asked))[1].reuse is Reuse.MISS


async def test_no_result_is_kept_longer_than_runcomfy_keeps_its_output(flight: Flight) -> None:
    """A job that was found ended five days late has two days left."""
    job = await flight.run(await flight.join())
    ended = flight.gateway.clock.now()
    flight.gateway.clock.jump(timedelta(days=5))
    await flight.succeed(job, upstream_finished_at=ended)
    flight.gateway.clock.jump(timedelta(days=2) - SECOND)
    assert (await flight.ask())[1].reuse is Reuse.HIT
    flight.gateway.clock.jump(SECOND)
    assert (await flight.ask())[1].reuse is Reuse.MISS


async def test_a_result_that_is_too_old_already_is_not_kept(flight: Flight) -> None:
    job = await flight.run(await flight.join())
    ended = flight.gateway.clock.now()
    flight.gateway.clock.jump(timedelta(days=7))
    await flight.succeed(job, upstream_finished_at=ended)
    assert (await flight.ask())[1].reuse is Reuse.MISS


async def test_a_tenant_whose_results_are_kept_shorter_has_none_reused_for_longer(
    flight: Flight,
) -> None:
    """Found: the result stayed in the cache after its tenant's own time."""
    await flight.gateway.tenant("fox", result_ttl=HOUR)
    await flight.finish(await flight.join("fox"))
    flight.gateway.clock.jump(HOUR - SECOND)
    assert (await flight.ask("fox", dry_run=True))[1].reuse is Reuse.HIT
    flight.gateway.clock.jump(SECOND)
    assert (await flight.ask("fox", dry_run=True))[1].reuse is Reuse.MISS


async def test_tenants_share_nothing_unless_an_operator_says_so(flight: Flight) -> None:
    await flight.gateway.tenant("dog", reuse=ReusePolicy())
    await flight.finish(await flight.join("bee"))  # bee and cow share
    found = {name: (await flight.ask(name))[1].reuse for name in ("cow", "dog", "ape")}
    assert found == {"cow": Reuse.HIT, "dog": Reuse.MISS, "ape": Reuse.MISS}
    assert (await _day(flight, "cow")).saved == COST


# --- Idempotency-Key


async def test_the_same_key_is_the_same_job_open_or_ended(flight: Flight) -> None:
    first, _ = await flight.ask(key="k", reuse=OFF)
    again, admitted = await flight.ask(key="k", reuse=OFF)
    assert (again, admitted.reuse) == (await flight.now(first), Reuse.REPLAYED)
    await flight.finish(first)
    ended, admitted = await flight.ask(key="k", reuse=OFF)
    assert (ended.id, ended.state, admitted.reuse) == (
        first.id,
        JobState.SUCCEEDED,
        Reuse.REPLAYED,
    )
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT
    assert (await _day(flight)).jobs == 1


async def test_another_input_under_the_same_key_is_refused(flight: Flight) -> None:
    await flight.ask(key="k")
    with pytest.raises(IdempotencyMismatch):
        await flight.ask(key="k", fingerprint="1:g")
    assert (await _day(flight)).jobs == 1


async def test_keys_belong_to_their_tenant(flight: Flight) -> None:
    await flight.gateway.tenant("fox")
    await flight.ask(key="k")
    assert (await flight.ask("fox", key="k", fingerprint="1:g"))[1].reuse is Reuse.MISS


async def test_a_tenant_may_have_to_send_one(flight: Flight) -> None:
    await flight.gateway.tenant("fox", reuse=ReusePolicy(idempotency_required=True))
    with pytest.raises(IdempotencyKeyMissing):
        await flight.ask("fox")
    with pytest.raises(IdempotencyKeyMissing):
        await flight.ask("fox", dry_run=True)
    assert (await flight.ask("fox", key="k"))[1].reuse is Reuse.MISS


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
async def test_a_submit_that_is_refused_burns_no_key_and_leads_nobody(
    flight: Flight, limits: Limits, refusal: type[Exception]
) -> None:
    await flight.gateway.tenant("fox", limits)
    with pytest.raises((refusal, LimitReached)):
        await flight.ask("fox", key="k")
    await flight.gateway.limit("fox", Limits())
    found = [(await flight.ask("fox", key="k"))[1].reuse for _ in range(2)]
    assert found == [Reuse.MISS, Reuse.REPLAYED]


async def test_a_replay_takes_part_in_no_limit(flight: Flight) -> None:
    tight = Limits(requests_per_minute=1, burst=1, jobs_per_day=1, usd_per_day=PRICE)
    await flight.gateway.tenant("fox", tight)
    await flight.ask("fox", key="k")
    for _ in range(3):
        assert (await flight.ask("fox", key="k"))[1].reuse is Reuse.REPLAYED


async def test_a_key_of_a_hit_and_of_a_follower_replays_them(flight: Flight) -> None:
    leader = await flight.join()
    follower, _ = await flight.ask(key="follower")
    assert (await flight.ask(key="follower"))[0] == follower
    await flight.finish(leader)
    hit, _ = await flight.ask(key="hit")
    again, admitted = await flight.ask(key="hit")
    assert (again, admitted.reuse) == (hit, Reuse.REPLAYED)
    assert admitted.record is not None
    assert admitted.record.output == OUTPUT


async def test_a_key_is_kept_as_long_as_its_job(redis_flushed: str) -> None:
    async with wire_to(redis_flushed) as wire:
        flight = Flight(in_redis(wire))
        await flight.gateway.tenant("ape")
        job, _ = await flight.ask(key="k")
        hit_key, name = keys.idempotency("ape", "hit"), keys.idempotency("ape", "k")
        assert await wire.execute("PTTL", name) == -1
        await flight.finish(job)
        hit, _ = await flight.ask(key="hit")
        await flight.notify(hit)
        week = RETENTION // timedelta(milliseconds=1)
        for key, of in ((name, job), (hit_key, hit)):
            left, lives = [await wire.execute("PEXPIRETIME", k) for k in (key, keys.job(of.id))]
            assert left == lives
            assert week - 60_000 < await wire.execute("PTTL", key) <= week
