"""Identical requests in flight: one is paid for, the others follow; who takes over, and who pays.

The same in the twin and in Redis.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from core.billing.settlement import Booking
from core.deduplication.coalescing import FOLLOW_CHECK
from core.jobs.job import Billed, CancelOutcome, Errand, Fact, JobState
from core.tenants.cache_policy import CacheOption, Reuse
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.admission import ReuseRequest
from core.transactions.job_update import Change, Outcome
from tests.contract.flight import COST, EXPIRED, OUTPUT, SECOND, Flight
from tests.contract.gateway import PRICE
from tests.contract.shared_flight import booking, crew_of, due

OFF: Final = ReuseRequest(asked=CacheOption.OFF)


# --- joining


async def test_a_follower_counts_as_a_job_and_not_as_money(flight: Flight) -> None:
    leader = await flight.join()
    follower, admitted = await flight.ask()
    assert (admitted.reuse, admitted.reserved, admitted.running) == (Reuse.JOINED, 0, False)
    assert (follower.state, follower.leader) == (JobState.FOLLOWING, leader.id)
    assert follower.due_at == flight.gateway.clock.now() + FOLLOW_CHECK
    use = await flight.gateway.use("ape")
    assert [(window.total.jobs, window.total.booking) for window in use.windows] == [
        (2, Booking(PRICE))
    ] * 2
    assert use.running == 1


async def test_a_follower_is_joined_by_way_of_its_leader(flight: Flight) -> None:
    leader, *followers = await crew_of(flight)
    assert {job.leader for job in followers} == {leader.id}


async def test_those_who_share_follow_each_other_and_nobody_else(flight: Flight) -> None:
    leader = await flight.join("bee")
    assert (await flight.join("cow")).leader == leader.id
    assert (await flight.join("ape")).leader is None


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        (Limits(usd_per_day=PRICE), Reuse.JOINED),
        (Limits(usd_per_month=PRICE), Reuse.JOINED),
        (Limits(running=1, waiting=0), Reuse.JOINED),
    ],
)
async def test_a_follower_needs_neither_money_nor_a_place(
    flight: Flight, limits: Limits, found: Reuse
) -> None:
    await flight.gateway.limit("ape", limits)
    await flight.join()
    assert (await flight.ask())[1].reuse is found


@pytest.mark.parametrize("limits", [Limits(jobs_per_day=1), Limits(requests_per_minute=1, burst=1)])
async def test_a_follower_counts_in_jobs_and_requests(flight: Flight, limits: Limits) -> None:
    await flight.gateway.limit("ape", limits)
    await flight.join()
    with pytest.raises(Exception, match=r"."):
        await flight.ask()


async def test_a_paid_job_that_waits_rises_to_the_highest_follower(flight: Flight) -> None:
    await flight.gateway.controls.set_limits(GlobalLimits(running=1))
    running = await flight.join(fingerprint="1:first")
    low = await flight.join(priority=int(Priority.LOW))
    normal = await flight.join(fingerprint="1:second", priority=int(Priority.NORMAL))
    await flight.join(priority=int(Priority.HIGH))
    await flight.join(priority=int(Priority.LOW))
    await flight.finish(running)
    assert await flight.gateway.start(normal.id) is Outcome.NO_SLOT
    assert await flight.gateway.start(low.id) is Outcome.STORED


async def test_followers_wake_when_their_leader_has_news(flight: Flight) -> None:
    leader, *followers = await crew_of(flight)
    ids = {job.id for job in followers}
    await flight.step(leader, Fact.CLAIMED)
    assert not ids & await due(flight)
    await flight.step(leader, Fact.ACCEPTED, upstream_id="up", upstream_running=True)
    assert ids <= await due(flight)
    for follower in followers:
        await flight.look(follower)
    assert {(await flight.now(job)).status for job in followers} == {"in_progress"}
    flight.gateway.clock.jump(2 * SECOND)
    await flight.succeed(leader)
    assert ids <= await due(flight)


async def test_a_success_is_everybodys_and_paid_by_one(flight: Flight) -> None:
    leader, *followers = await crew_of(flight)
    await flight.finish(leader)
    for follower in followers:
        assert await flight.look(follower) is Outcome.STORED
        record = await flight.record(follower)
        assert (record.job.state, record.output) == (JobState.SUCCEEDED, OUTPUT)
        assert (record.job.cost, record.job.saved, record.job.billed) == (0, COST, Billed.NO)
    day = (await flight.gateway.use("ape")).windows[0].total
    assert (day.jobs, day.reused, day.saved) == (3, 2, 2 * COST)
    assert day.booking == Booking(PRICE, COST, PRICE - COST)
    assert await flight.gateway.jobs.heir(leader.id) is None


async def test_five_hundred_and_more_follow_and_wake(flight: Flight) -> None:
    leader, *followers = await crew_of(flight, 602)
    await flight.run(leader)
    flight.gateway.clock.jump(FOLLOW_CHECK + SECOND)
    woken = await flight.gateway.jobs.claim_due(timedelta(hours=1), 5000)
    assert {job.id for job in woken} >= {job.id for job in followers}
    await flight.succeed(leader)
    assert {job.id for job in followers} <= {
        job.id for job in await flight.gateway.jobs.claim_due(timedelta(hours=1), 5000)
    }


async def test_a_follower_that_is_cancelled_leaves_the_others(flight: Flight) -> None:
    leader, first, second = await crew_of(flight)
    await flight.run(leader)
    assert await flight.cancel(second) is Outcome.STORED
    assert await flight.state(second) is JobState.CANCELLED
    heir = await flight.gateway.jobs.heir(leader.id)
    assert heir is not None
    assert heir.id == first.id
    assert await flight.state(leader) is JobState.RUNNING


# --- handing on running work


@pytest.mark.parametrize("ended", ["cancelled", "expired"])
async def test_the_one_with_the_latest_deadline_takes_over_work_slot_and_money(
    flight: Flight, ended: str
) -> None:
    leader, other, heir = await crew_of(flight)
    running = await flight.run(leader)
    if ended == "cancelled":
        assert await flight.cancel(leader) is Outcome.WANTED
        taker = await flight.hand_on(leader)
    else:
        taker = await flight.hand_on(leader, EXPIRED)
    gone = await flight.now(leader)
    assert taker.id == heir.id
    assert (taker.state, taker.upstream_id) == (JobState.RUNNING, running.upstream_id)
    assert taker.leader is None
    assert gone.final
    assert gone.billed is Billed.NO
    assert await booking(flight) == Booking(2 * PRICE, released=PRICE)
    assert (await flight.gateway.use("ape")).running == 1
    await flight.succeed(taker)
    assert await flight.look(other) is Outcome.STORED
    assert (await flight.record(other)).output == OUTPUT
    assert await booking(flight) == Booking(2 * PRICE, COST, 2 * PRICE - COST)
    assert (await flight.gateway.use("ape")).running == 0


async def test_work_is_handed_on_as_often_as_somebody_wants_it(flight: Flight) -> None:
    crew = await crew_of(flight, 5)
    await flight.run(crew[0])
    holder = crew[0]
    for _ in range(4):
        holder = await flight.hand_on(holder)
    assert holder.upstream_id == f"up-{crew[0].id}"
    assert await flight.cancel(holder) is Outcome.STORED
    assert await flight.state(holder) is JobState.CANCELLING


async def test_new_requests_follow_the_heir(flight: Flight) -> None:
    leader, heir = await crew_of(flight, 2)
    await flight.run(leader)
    await flight.hand_on(leader)
    late = await flight.join()
    assert late.leader == heir.id
    await flight.succeed(heir)
    assert await flight.look(late) is Outcome.STORED
    assert (await flight.join()).leader == heir.id  # a hit


async def test_an_heir_that_was_cancelled_first_inherits_nothing(flight: Flight) -> None:
    leader, heir = await crew_of(flight, 2)
    await flight.run(leader)
    seen = await flight.gateway.jobs.heir(leader.id)
    assert seen is not None
    await flight.cancel(heir)
    held, now = await flight.now(leader), flight.gateway.clock.now()
    late = flight.over(held, seen, now)
    assert await flight.gateway.jobs.store(late) is Outcome.HEIR_STALE
    assert await flight.cancel(leader) is Outcome.STORED
    assert (await flight.now(leader)).cancel_outcome is CancelOutcome.REQUESTED


async def test_a_slot_that_goes_to_another_tenant_leaves_its_own_to_who_waits(
    flight: Flight,
) -> None:
    """Found: the slot that became free for the first tenant was given to nobody."""
    await flight.gateway.limit("bee", Limits(running=1))
    leader = await flight.join("bee")
    heir = await flight.join("cow")
    waiting = await flight.join("bee", fingerprint="1:g")
    await flight.run(leader)
    assert await flight.gateway.start(waiting.id) is Outcome.NO_SLOT
    assert (await flight.hand_on(leader)).id == heir.id
    assert await flight.gateway.start(waiting.id) is Outcome.STORED


async def test_an_heir_of_another_tenant_pays_in_its_own_books(flight: Flight) -> None:
    leader = await flight.join("bee")
    heir = await flight.join("cow")
    await flight.run(leader)
    await flight.hand_on(leader)
    await flight.succeed(heir)
    assert await booking(flight, "bee") == Booking(PRICE, released=PRICE)
    assert await booking(flight, "cow") == Booking(PRICE, COST, PRICE - COST)


async def test_a_leader_whose_first_submit_may_have_been_charged_does_not_say_it_was_free(
    flight: Flight,
) -> None:
    """Found: after an approved resend, what became of the first submit is not known."""
    leader, heir = await crew_of(flight, 2)
    await flight.step(leader, Fact.CLAIMED, Fact.NO_ANSWER)
    await flight.step(leader, Fact.RESEND_APPROVED, resends_approved=1)
    await flight.run(leader)
    await flight.hand_on(leader)
    assert (await flight.now(leader)).billed is Billed.UNKNOWN
    await flight.succeed(heir)
    assert await booking(flight) == Booking(2 * PRICE, PRICE + COST, PRICE - COST)


async def test_an_heir_is_told_of_its_start_though_it_had_not_heard_of_it(flight: Flight) -> None:
    """Found: it took its leader's words over, so that no poll had any news, nor its callback."""
    leader, heir = await crew_of(flight, 2)
    await flight.run(leader)
    assert (await flight.now(heir)).status == "in_queue"
    taker = await flight.hand_on(leader)
    assert (taker.status, taker.upstream_running) == ("in_queue", False)


async def test_work_that_runcomfy_has_cancelled_is_not_handed_on(flight: Flight) -> None:
    """Found: who joined while RunComfy was asked to cancel got the cancelled work."""
    leader, late = await crew_of(flight, 2)
    await flight.run(leader)
    assert (await flight.step(leader, Fact.OUT_OF_TIME, billed=Billed.NO)).final
    assert await flight.look(late) is Outcome.STORED
    assert await flight.state(late) is JobState.QUEUED


async def test_work_that_may_go_on_is_wanted(flight: Flight) -> None:
    leader, _ = await crew_of(flight, 2)
    held, now = await flight.run(leader), flight.gateway.clock.now()
    after = held.after(
        Fact.OUT_OF_TIME,
        now,
        finished_at=now,
        billed=Billed.UNKNOWN,
        errand=Errand.AWAIT_LATE_RESULT,
        due_at=now,
    )
    assert await flight.gateway.jobs.store(Change(held, after)) is Outcome.WANTED
