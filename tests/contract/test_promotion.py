"""Promotion: when a leader ends without a result, one of its followers is submitted instead."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from core.billing.settlement import ReservationTotals
from core.deduplication.coalescing import FOLLOWER_POLL_INTERVAL
from core.jobs.job import BillingStatus, JobState, Trigger
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import GlobalLimits, Limits, UnknownPrice
from core.transactions.admission import CacheRequest
from core.transactions.job_update import WriteResult
from core.webhooks.delivery import Delivery, WebhookEventType
from tests.contract.shared_tenants import due_jobs, leader_with_followers, totals_for
from tests.support.coalescing import OUTPUT, UPSTREAM_ERROR, CoalescingHarness
from tests.support.store_harness import PRICE

OFF: Final = CacheRequest(requested=CacheOption.OFF)


async def test_when_a_leader_is_cancelled_in_the_queue_one_is_submitted_in_its_place(
    coalescing: CoalescingHarness,
) -> None:
    leader, first, second = await leader_with_followers(coalescing)
    assert await coalescing.cancel(leader) is WriteResult.STORED
    assert {first.id, second.id} <= await due_jobs(coalescing)
    assert await coalescing.step_follower(first) is WriteResult.STORED
    assert await coalescing.state(first) is JobState.QUEUED
    assert await coalescing.step_follower(second) is None
    assert await totals_for(coalescing) == ReservationTotals(2 * PRICE, released=PRICE)
    await coalescing.finish(first)
    assert await coalescing.step_follower(second) is WriteResult.STORED
    assert (await coalescing.record(second)).output == OUTPUT


@pytest.mark.parametrize(("promote", "state"), [(True, JobState.QUEUED), (False, JobState.FAILED)])
async def test_a_failure_fails_the_followers_or_promotes_one(
    coalescing: CoalescingHarness, *, promote: bool, state: JobState
) -> None:
    leader, follower = await leader_with_followers(coalescing, 2)
    await coalescing.fail(await coalescing.run(leader))
    await coalescing.step_follower(follower, promote=promote)
    after = await coalescing.current(follower)
    assert (after.state, after.billed) == (state, BillingStatus.NO)
    assert after.error == (None if promote else UPSTREAM_ERROR)


async def test_a_failure_that_may_have_cost_money_is_never_tried_again(
    coalescing: CoalescingHarness,
) -> None:
    leader, follower = await leader_with_followers(coalescing, 2)
    await coalescing.fail(await coalescing.run(leader), BillingStatus.UNKNOWN)
    await coalescing.step_follower(follower, promote=True)
    assert await coalescing.state(follower) is JobState.FAILED


async def test_in_doubt_followers_wait_and_are_never_promoted(
    coalescing: CoalescingHarness,
) -> None:
    leader, follower = await leader_with_followers(coalescing, 2)
    await coalescing.apply_triggers(leader, Trigger.CLAIMED, Trigger.NO_ANSWER)
    assert await coalescing.step_follower(follower, promote=True) is None
    assert (await coalescing.submit_job()).leader == leader.id  # and new ones wait with them
    await coalescing.apply_triggers(
        leader, Trigger.MARKED_LOST, error=UPSTREAM_ERROR, billed=BillingStatus.UNKNOWN
    )
    await coalescing.step_follower(follower, promote=True)
    assert await coalescing.state(follower) is JobState.FAILED
    assert await totals_for(coalescing) == ReservationTotals(PRICE, settled=PRICE)


async def test_of_two_concurrent_promotions_one_leads_and_the_other_follows(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: the second made the first its own successor, and all were lost in a cycle."""
    leader, first, second, third = await leader_with_followers(coalescing, 4)
    await coalescing.cancel(leader)
    decided = [await coalescing.decide(job) for job in (first, second)]
    outcomes = [await coalescing.stores.jobs.store(change) for change in decided if change]
    assert outcomes == [WriteResult.STORED, WriteResult.OTHER_LEADER]
    assert await coalescing.step_follower(second) is None
    followed = await coalescing.stores.jobs.load_leader(second)
    assert followed is not None
    assert followed.job.id == first.id
    await coalescing.finish(first)
    for job in (second, third):
        assert await coalescing.step_follower(job) is WriteResult.STORED
        assert (await coalescing.record(job)).output == OUTPUT
    assert (await totals_for(coalescing)).reserved == 2 * PRICE


async def test_a_promotion_that_comes_late_does_not_pay_for_what_is_there_by_then(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: another was promoted first and succeeded; the late one was paid for again."""
    leader, first, second = await leader_with_followers(coalescing)
    await coalescing.cancel(leader)
    change = await coalescing.decide(second)
    assert change is not None
    await coalescing.step_follower(first)
    await coalescing.finish(first)
    assert await coalescing.stores.jobs.store(change) is WriteResult.OTHER_LEADER
    await coalescing.step_follower(second)
    assert (await coalescing.record(second)).output == OUTPUT
    assert (await totals_for(coalescing)).reserved == 2 * PRICE


async def test_a_new_request_that_came_between_leads_the_remaining_followers(
    coalescing: CoalescingHarness,
) -> None:
    leader, first, second = await leader_with_followers(coalescing)
    await coalescing.cancel(leader)
    newcomer = await coalescing.submit_job()
    assert newcomer.leader is None
    assert await coalescing.step_follower(first) is WriteResult.OTHER_LEADER
    for job in (first, second):
        found = await coalescing.stores.jobs.load_leader(job)
        assert found is not None
        assert found.job.id == newcomer.id
    await coalescing.finish(newcomer)
    for job in (first, second):
        assert await coalescing.step_follower(job) is WriteResult.STORED
        assert await coalescing.state(job) is JobState.SUCCEEDED


async def test_failures_move_through_as_many_promotions_as_there_are_followers(
    coalescing: CoalescingHarness,
) -> None:
    crew = await leader_with_followers(coalescing, 5)
    for number, job in enumerate(crew):
        if number:
            assert await coalescing.step_follower(job, promote=True) is WriteResult.STORED
        await coalescing.fail(await coalescing.run(job))
    assert {await coalescing.state(job) for job in crew} == {JobState.FAILED}
    assert await totals_for(coalescing) == ReservationTotals(5 * PRICE, released=5 * PRICE)


async def test_a_deleted_leader_leaves_no_follower_behind(coalescing: CoalescingHarness) -> None:
    """Regression: only the deleted record named the next leader."""
    leader, first, second = await leader_with_followers(coalescing)
    await coalescing.cancel(leader)
    await coalescing.step_follower(first)
    await coalescing.delete_record(leader)
    assert await coalescing.step_follower(second) is None
    await coalescing.cancel(second)
    assert await coalescing.stores.jobs.load_successor(first.id) is None
    await coalescing.finish(first)


async def test_a_result_with_a_short_retention_is_there_for_its_followers(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: a tenant's short retention removed the record before its followers had polled."""
    await coalescing.stores.tenant("dog", result_ttl=timedelta(seconds=60))
    leader, follower = [await coalescing.submit_job("dog") for _ in range(2)]
    await coalescing.finish(leader)
    await coalescing.assert_retained_for(leader, timedelta(hours=1))
    assert await coalescing.step_follower(follower) is WriteResult.STORED
    assert (await coalescing.record(follower)).output == OUTPUT


@pytest.mark.parametrize(
    "limits",
    [
        Limits(usd_per_day=MicroUsd(PRICE - 1)),
        Limits(usd_per_month=MicroUsd(PRICE - 1)),
        Limits(usd_per_request=MicroUsd(PRICE - 1)),
    ],
)
async def test_a_follower_over_budget_fails_and_the_next_is_promoted(
    coalescing: CoalescingHarness, limits: Limits
) -> None:
    """Regression: the maximum price of a request was not checked at a promotion."""
    now = coalescing.stores.clock.now()
    leader = await coalescing.submit_job("bee")
    poor = await coalescing.submit_job("cow", deadline=now + timedelta(hours=1))
    other = await coalescing.submit_job("bee")
    await coalescing.stores.set_limits("cow", limits)
    await coalescing.cancel(leader)
    assert await coalescing.step_follower(poor) is WriteResult.OVER_BUDGET
    after = await coalescing.current(poor)
    assert after.error is not None
    assert (after.state, after.error.code) == (JobState.FAILED, "budget_reached")
    assert await coalescing.step_follower(other) is WriteResult.STORED
    assert await coalescing.state(other) is JobState.QUEUED


async def test_a_model_of_unknown_price_is_not_submitted_for_a_tenant_that_refuses_it(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee", estimate=None)
    follower = await coalescing.submit_job("cow", estimate=None)
    await coalescing.stores.set_limits("cow", Limits(unknown_price=UnknownPrice.REFUSE))
    await coalescing.cancel(leader)
    assert await coalescing.step_follower(follower) is WriteResult.OVER_BUDGET


async def test_a_promoted_job_waits_its_turn(coalescing: CoalescingHarness) -> None:
    await coalescing.stores.admin.set_limits(GlobalLimits(running=1))
    leader, follower = await leader_with_followers(coalescing, 2)
    other = await coalescing.submit_job(fingerprint="1:g")
    await coalescing.cancel(leader)
    await coalescing.step_follower(follower)
    assert await coalescing.stores.start(follower.id) is WriteResult.NO_SLOT
    await coalescing.finish(other)
    assert await coalescing.stores.start(follower.id) is WriteResult.STORED


async def test_a_promoted_job_without_a_deadline_is_not_due_before_it_has_a_slot(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: it stayed due as the follower it was, and a worker's every lease was in vain."""
    await coalescing.stores.admin.set_limits(GlobalLimits(running=1))
    other = await coalescing.submit_job(fingerprint="1:g")
    leader, follower = await coalescing.submit_job(), await coalescing.submit_job()
    await coalescing.cancel(leader)
    assert await coalescing.step_follower(follower) is WriteResult.STORED
    coalescing.stores.clock.shift(FOLLOWER_POLL_INTERVAL)
    assert await due_jobs(coalescing) == {other.id}
    await coalescing.finish(other)
    coalescing.stores.clock.shift(FOLLOWER_POLL_INTERVAL)
    assert await due_jobs(coalescing) == {follower.id}


async def test_a_promotion_with_deliveries_for_other_endpoints_is_refused(
    coalescing: CoalescingHarness,
) -> None:
    leader, first = await leader_with_followers(coalescing, 2)
    await coalescing.cancel(leader)
    move = await coalescing.decide(first)
    assert move is not None
    refused = replace(move, config_digest="another")
    assert await coalescing.stores.jobs.store(refused) is WriteResult.WEBHOOK_CONFIG_CHANGED
    assert await coalescing.state(first) is JobState.FOLLOWING
    assert await coalescing.step_follower(first) is WriteResult.STORED


async def test_a_promotion_that_changes_the_status_has_its_event(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: the delivery of a follower that goes back into the queue was dropped."""
    leader, follower = await leader_with_followers(coalescing, 2)
    await coalescing.run(leader)
    await coalescing.step_follower(follower)
    await coalescing.fail(leader)
    move = await coalescing.decide(follower, promote=True)
    assert move is not None
    now = coalescing.stores.clock.now()
    notice = Delivery(
        "msg_1", follower.id, "ape", WebhookEventType.IN_QUEUE, "https://a.test/", now, now
    )
    change = replace(move, deliveries=(notice,))
    assert await coalescing.stores.jobs.store(change) is WriteResult.STORED
    view = await coalescing.stores.jobs.load_view(follower.id)
    assert view is not None
    assert view.delivery_ids == ("msg_1",)


async def test_a_follower_of_a_job_that_may_not_be_shared_is_none(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.submit_job(reuse=OFF)
    assert (await coalescing.submit_job()).leader is None


async def test_a_cancel_that_came_too_late_still_keeps_the_result(
    coalescing: CoalescingHarness,
) -> None:
    job = await coalescing.run(await coalescing.submit_job())
    await coalescing.cancel(job)
    another = await coalescing.submit_job()
    assert another.leader is None  # no request joins a job that is being cancelled
    await coalescing.apply_triggers(job, Trigger.NOT_CANCELLABLE)
    await coalescing.succeed(job)
    assert (await coalescing.submit_job()).leader == job.id
    await coalescing.finish(another)
    assert replace(await coalescing.current(another), version=0).state is JobState.SUCCEEDED
