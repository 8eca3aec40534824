"""Identical requests in flight: one is paid for, the others follow; take-over and its cost."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import pytest

from core.billing.charges import Charge
from core.billing.settlement import ReservationTotals, SettlementStatus
from core.deduplication.coalescing import FOLLOWER_POLL_INTERVAL
from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobState, Trigger
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, api_key_digest
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.admission import CacheRequest
from core.transactions.job_update import Change, WriteResult
from tests.contract.shared_tenants import due_jobs, leader_with_followers, totals_for
from tests.support.coalescing import COST, EXPIRE_LEADER, OUTPUT, SECOND, CoalescingHarness
from tests.support.store_harness import PRICE
from worker.jobs.decisions.after_end import record_unanswered_submit
from worker.ports import UpstreamFault

OFF: Final = CacheRequest(requested=CacheOption.OFF)


# --- joining


async def test_a_follower_counts_as_a_job_and_not_as_money(coalescing: CoalescingHarness) -> None:
    leader = await coalescing.submit_job()
    follower, admitted = await coalescing.submit()
    assert (admitted.cache_status, admitted.reserved, admitted.has_slot) == (
        CacheStatus.COLLAPSED,
        0,
        False,
    )
    assert (follower.state, follower.leader) == (JobState.FOLLOWING, leader.id)
    assert follower.next_run_at == coalescing.stores.clock.now() + FOLLOWER_POLL_INTERVAL
    use = await coalescing.stores.usage_of("ape")
    assert [(window.total.jobs, window.total.reservations) for window in use.windows] == [
        (2, ReservationTotals(PRICE))
    ] * 4
    assert use.running == 1


async def test_a_follower_is_joined_by_way_of_its_leader(coalescing: CoalescingHarness) -> None:
    leader, *followers = await leader_with_followers(coalescing)
    assert {job.leader for job in followers} == {leader.id}


async def test_tenants_that_share_follow_each_other_and_no_other(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee")
    assert (await coalescing.submit_job("cow")).leader == leader.id
    assert (await coalescing.submit_job("ape")).leader is None


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (Limits(usd_per_day=PRICE), CacheStatus.COLLAPSED),
        (Limits(usd_per_month=PRICE), CacheStatus.COLLAPSED),
        (Limits(running=1, waiting=0), CacheStatus.COLLAPSED),
    ],
)
async def test_a_follower_needs_neither_money_nor_a_slot(
    coalescing: CoalescingHarness, limits: Limits, found: CacheStatus
) -> None:
    await coalescing.stores.set_limits("ape", limits)
    await coalescing.submit_job()
    assert (await coalescing.submit())[1].cache_status is found


@pytest.mark.parametrize("limits", [Limits(jobs_per_day=1), Limits(requests_per_minute=1, burst=1)])
async def test_a_follower_counts_in_jobs_and_requests(
    coalescing: CoalescingHarness, limits: Limits
) -> None:
    await coalescing.stores.set_limits("ape", limits)
    await coalescing.submit_job()
    with pytest.raises(Exception, match=r"."):
        await coalescing.submit()


async def test_a_paid_job_that_waits_rises_to_the_highest_follower(
    coalescing: CoalescingHarness,
) -> None:
    await coalescing.stores.admin.set_limits(GlobalLimits(running=1))
    running = await coalescing.submit_job(fingerprint="1:first")
    low = await coalescing.submit_job(priority=int(Priority.LOW))
    normal = await coalescing.submit_job(fingerprint="1:second", priority=int(Priority.NORMAL))
    await coalescing.submit_job(priority=int(Priority.HIGH))
    await coalescing.submit_job(priority=int(Priority.LOW))
    await coalescing.finish(running)
    assert await coalescing.stores.start(normal.id) is WriteResult.NO_SLOT
    assert await coalescing.stores.start(low.id) is WriteResult.STORED


async def test_followers_wake_when_their_leader_has_news(coalescing: CoalescingHarness) -> None:
    leader, *followers = await leader_with_followers(coalescing)
    ids = {job.id for job in followers}
    await coalescing.apply_triggers(leader, Trigger.CLAIMED)
    assert not ids & await due_jobs(coalescing)
    await coalescing.apply_triggers(
        leader, Trigger.ACCEPTED, upstream_id="up", upstream_running=True
    )
    assert ids <= await due_jobs(coalescing)
    for follower in followers:
        await coalescing.step_follower(follower)
    assert {(await coalescing.current(job)).status for job in followers} == {"in_progress"}
    coalescing.stores.clock.shift(2 * SECOND)
    await coalescing.succeed(leader)
    assert ids <= await due_jobs(coalescing)


async def test_a_success_serves_all_and_is_paid_by_one(coalescing: CoalescingHarness) -> None:
    leader, *followers = await leader_with_followers(coalescing)
    await coalescing.finish(leader)
    for follower in followers:
        assert await coalescing.step_follower(follower) is WriteResult.STORED
        record = await coalescing.record(follower)
        assert (record.job.state, record.output) == (JobState.SUCCEEDED, OUTPUT)
        assert (record.job.cost, record.job.cost_saved, record.job.billed) == (
            0,
            COST,
            BillingStatus.NO,
        )
    day = (await coalescing.stores.usage_of("ape")).windows[0].total
    assert (day.jobs, day.reused_jobs, day.cost_saved) == (3, 2, 2 * COST)
    assert day.reservations == ReservationTotals(PRICE, COST, PRICE - COST)
    assert await coalescing.stores.jobs.load_successor(leader.id) is None


async def test_five_hundred_and_more_follow_and_wake(coalescing: CoalescingHarness) -> None:
    leader, *followers = await leader_with_followers(coalescing, 602)
    await coalescing.run(leader)
    coalescing.stores.clock.shift(FOLLOWER_POLL_INTERVAL + SECOND)
    woken = await coalescing.stores.jobs.claim_due(timedelta(hours=1), 5000)
    assert {job.id for job in woken} >= {job.id for job in followers}
    await coalescing.succeed(leader)
    assert {job.id for job in followers} <= {
        job.id for job in await coalescing.stores.jobs.claim_due(timedelta(hours=1), 5000)
    }


async def test_a_follower_that_is_cancelled_leaves_the_others(
    coalescing: CoalescingHarness,
) -> None:
    leader, first, second = await leader_with_followers(coalescing)
    await coalescing.run(leader)
    assert await coalescing.cancel(second) is WriteResult.STORED
    assert await coalescing.state(second) is JobState.CANCELLED
    successor = await coalescing.stores.jobs.load_successor(leader.id)
    assert successor is not None
    assert successor.id == first.id
    assert await coalescing.state(leader) is JobState.RUNNING


# --- transferring running work


@pytest.mark.parametrize("ended", ["cancelled", "expired"])
async def test_the_one_with_the_latest_deadline_takes_over_work_slot_and_money(
    coalescing: CoalescingHarness, ended: str
) -> None:
    leader, other, successor = await leader_with_followers(coalescing)
    running = await coalescing.run(leader)
    if ended == "cancelled":
        assert await coalescing.cancel(leader) is WriteResult.HAS_FOLLOWERS
        taker = await coalescing.hand_over(leader)
    else:
        taker = await coalescing.hand_over(leader, EXPIRE_LEADER)
    gone = await coalescing.current(leader)
    assert taker.id == successor.id
    assert (taker.state, taker.upstream_id) == (JobState.RUNNING, running.upstream_id)
    assert taker.leader is None
    assert gone.is_final
    assert gone.billed is BillingStatus.NO
    assert await totals_for(coalescing) == ReservationTotals(2 * PRICE, released=PRICE)
    assert (await coalescing.stores.usage_of("ape")).running == 1
    await coalescing.succeed(taker)
    assert await coalescing.step_follower(other) is WriteResult.STORED
    assert (await coalescing.record(other)).output == OUTPUT
    assert await totals_for(coalescing) == ReservationTotals(2 * PRICE, COST, 2 * PRICE - COST)
    assert (await coalescing.stores.usage_of("ape")).running == 0


async def test_work_is_transferred_as_long_as_a_follower_is_left(
    coalescing: CoalescingHarness,
) -> None:
    crew = await leader_with_followers(coalescing, 5)
    await coalescing.run(crew[0])
    holder = crew[0]
    for _ in range(4):
        holder = await coalescing.hand_over(holder)
    assert holder.upstream_id == f"up-{crew[0].id}"
    assert await coalescing.cancel(holder) is WriteResult.STORED
    assert await coalescing.state(holder) is JobState.CANCELLING


async def test_new_requests_follow_the_successor(coalescing: CoalescingHarness) -> None:
    leader, successor = await leader_with_followers(coalescing, 2)
    await coalescing.run(leader)
    await coalescing.hand_over(leader)
    late = await coalescing.submit_job()
    assert late.leader == successor.id
    await coalescing.succeed(successor)
    assert await coalescing.step_follower(late) is WriteResult.STORED
    assert (await coalescing.submit_job()).leader == successor.id  # a hit


async def test_a_successor_that_was_cancelled_first_takes_nothing_over(
    coalescing: CoalescingHarness,
) -> None:
    leader, successor = await leader_with_followers(coalescing, 2)
    await coalescing.run(leader)
    seen = await coalescing.stores.jobs.load_successor(leader.id)
    assert seen is not None
    await coalescing.cancel(successor)
    held, now = await coalescing.current(leader), coalescing.stores.clock.now()
    late = coalescing.handover_change(held, seen, now)
    assert await coalescing.stores.jobs.store(late) is WriteResult.SUCCESSOR_CONFLICT
    assert await coalescing.cancel(leader) is WriteResult.STORED
    assert (await coalescing.current(leader)).cancel_outcome is CancelOutcome.REQUESTED


async def test_a_slot_that_goes_to_another_tenant_frees_one_for_a_waiting_job(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: the slot that became free for the first tenant stayed unused."""
    await coalescing.stores.set_limits("bee", Limits(running=1))
    leader = await coalescing.submit_job("bee")
    successor = await coalescing.submit_job("cow")
    waiting = await coalescing.submit_job("bee", fingerprint="1:g")
    await coalescing.run(leader)
    assert await coalescing.stores.start(waiting.id) is WriteResult.NO_SLOT
    assert (await coalescing.hand_over(leader)).id == successor.id
    assert await coalescing.stores.start(waiting.id) is WriteResult.STORED


async def test_a_successor_of_another_tenant_is_charged_to_that_tenant(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee")
    successor = await coalescing.submit_job("cow")
    await coalescing.run(leader)
    await coalescing.hand_over(leader)
    await coalescing.succeed(successor)
    assert await totals_for(coalescing, "bee") == ReservationTotals(PRICE, released=PRICE)
    assert await totals_for(coalescing, "cow") == ReservationTotals(PRICE, COST, PRICE - COST)


async def test_a_leader_whose_first_submit_may_have_been_charged_is_not_reported_as_free(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: after an approved resend the outcome of the first submit is unknown."""
    leader, successor = await leader_with_followers(coalescing, 2)
    await coalescing.apply_triggers(leader, Trigger.CLAIMED, Trigger.NO_ANSWER)
    await coalescing.apply_triggers(leader, Trigger.RESEND_APPROVED, resends_approved=1)
    await coalescing.run(leader)
    await coalescing.hand_over(leader)
    assert (await coalescing.current(leader)).billed is BillingStatus.UNKNOWN
    await coalescing.succeed(successor)
    assert await totals_for(coalescing) == ReservationTotals(2 * PRICE, PRICE + COST, PRICE - COST)


async def test_a_successor_gets_the_event_of_a_start_that_it_had_not_polled(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: it copied its leader's status: no poll found a change, no event was sent."""
    leader, successor = await leader_with_followers(coalescing, 2)
    await coalescing.run(leader)
    assert (await coalescing.current(successor)).status == "in_queue"
    taker = await coalescing.hand_over(leader)
    assert (taker.status, taker.upstream_running) == ("in_queue", False)


async def test_work_that_runcomfy_has_cancelled_is_not_transferred(
    coalescing: CoalescingHarness,
) -> None:
    """Regression: a request that joined during the cancel at RunComfy got the cancelled work."""
    leader, late = await leader_with_followers(coalescing, 2)
    await coalescing.run(leader)
    assert (
        await coalescing.apply_triggers(leader, Trigger.DEADLINE_EXCEEDED, billed=BillingStatus.NO)
    ).is_final
    assert await coalescing.step_follower(late) is WriteResult.STORED
    assert await coalescing.state(late) is JobState.QUEUED


async def test_work_that_has_followers_may_not_be_ended(coalescing: CoalescingHarness) -> None:
    leader, _ = await leader_with_followers(coalescing, 2)
    held, now = await coalescing.run(leader), coalescing.stores.clock.now()
    after = held.transition(
        Trigger.DEADLINE_EXCEEDED,
        now,
        finished_at=now,
        billed=BillingStatus.UNKNOWN,
        follow_up=FollowUp.AWAIT_LATE_RESULT,
        next_run_at=now,
    )
    assert await coalescing.stores.jobs.store(Change(held, after)) is WriteResult.HAS_FOLLOWERS


def _texts(view: JobView) -> str:
    return str((view.record.job.leader, [entry.detail for entry in view.timeline]))


async def test_a_tenant_reads_no_id_of_another_tenants_request(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee")
    follower = await coalescing.submit_job("cow")
    own = await coalescing.submit_job("bee")
    await coalescing.finish(leader)
    await coalescing.step_follower(follower)
    hit, own_hit = await coalescing.submit_job("cow"), await coalescing.submit_job("bee")
    for name, job, is_named in (
        ("cow", follower, False),
        ("cow", hit, False),
        ("bee", own, True),
        ("bee", own_hit, True),
    ):
        credential = Credential(name, api_key_digest(name))
        view = await coalescing.stores.jobs.read(credential, job.id, Projection.ALL)
        assert (leader.id in _texts(view)) is is_named
        unmasked = await coalescing.stores.jobs.load_view(job.id)
        assert unmasked is not None
        assert leader.id in _texts(unmasked)
        assert len(view.timeline) == len(unmasked.timeline)


async def test_a_request_that_handed_its_work_to_another_tenant_does_not_name_it(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee")
    follower = await coalescing.submit_job("cow")
    await coalescing.run(leader)
    successor = await coalescing.hand_over(leader)
    assert successor.id == follower.id
    for name, job, other in (("bee", leader, follower), ("cow", follower, leader)):
        credential = Credential(name, api_key_digest(name))
        view = await coalescing.stores.jobs.read(credential, job.id, Projection.ALL)
        assert other.id not in _texts(view)


@pytest.mark.parametrize("how", [(), (EXPIRE_LEADER,)], ids=["cancelled", "expired"])
async def test_the_id_of_a_run_that_was_handed_over_is_charged_to_the_successor_only(
    coalescing: CoalescingHarness, how: tuple[Callable[[Job, datetime], Job], ...]
) -> None:
    leader = await coalescing.submit_job("bee")
    successor = await coalescing.submit_job("cow")
    await coalescing.apply_triggers(leader, Trigger.CLAIMED, Trigger.NO_ANSWER)
    await coalescing.apply_triggers(leader, Trigger.RESEND_APPROVED, resends_approved=1)
    upstream_id = (await coalescing.run(leader)).upstream_id
    await coalescing.hand_over(leader, *how)
    charges = {f"?{leader.id}": Charge("bee", SettlementStatus.ESTIMATED, PRICE)}
    assert await _charges(coalescing) == charges
    await coalescing.succeed(successor)
    charges[f"{upstream_id}"] = Charge("cow", SettlementStatus.SPENT, COST)
    assert await _charges(coalescing) == charges


async def test_a_leader_that_is_found_to_have_been_charged_later_keeps_off_the_successors_charge(
    coalescing: CoalescingHarness,
) -> None:
    leader = await coalescing.submit_job("bee")
    successor = await coalescing.submit_job("cow")
    upstream_id = (await coalescing.run(leader)).upstream_id
    await coalescing.hand_over(leader)
    assert await _charges(coalescing) == {}
    await coalescing.succeed(successor)
    fault = UpstreamFault("no_answer", "No answer came.")
    ended, now = await coalescing.current(leader), coalescing.stores.clock.now()
    unanswered = record_unanswered_submit(ended, fault, now)
    assert await coalescing.stores.jobs.store(unanswered) is WriteResult.STORED
    found = await _charges(coalescing)
    assert found[f"{upstream_id}"] == Charge("cow", SettlementStatus.SPENT, COST)
    assert found[f"?{leader.id}"].status is SettlementStatus.ESTIMATED


async def _charges(coalescing: CoalescingHarness) -> Mapping[str, Charge]:
    stores = coalescing.stores
    return await stores.history.read_charges(stores.clock.now().date())
