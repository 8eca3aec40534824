"""Identical requests in flight: one is paid for, the others follow; who takes over, and who pays.

The same in the twin and in Redis.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from core.changes import Change, Outcome, ReuseRequest
from core.deliveries import Delivery, EventType
from core.jobs import Billed, CancelOutcome, Errand, Fact, JobState
from core.ledger import Booking
from core.limits import GlobalLimits, Limits, Priority, UnknownPrice
from core.money import MicroUsd
from core.reuse import CacheOption, Reuse, ReusePolicy
from core.sharing import FOLLOW_CHECK
from tests.contract.flight import BROKEN, COST, EXPIRED, OUTPUT, SECOND, Flight
from tests.contract.gateway import PRICE, SUBJECTS, gateway_of, in_redis, wire_to
from tests.integration.recount import breaches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.jobs import Job

SHARED: Final = ReusePolicy(shared=True)
OFF: Final = ReuseRequest(asked=CacheOption.OFF)


@pytest.fixture(params=SUBJECTS)
async def flight(request: pytest.FixtureRequest) -> AsyncIterator[Flight]:
    """With a tenant of its own and two that share; Redis' books are counted again at the end."""
    if request.param == "memory":
        async with gateway_of("memory", request) as gateway:
            yield await _furnished(Flight(gateway))
        return
    async with wire_to(request.getfixturevalue("redis_flushed")) as wire:
        flight = await _furnished(Flight(in_redis(wire)))
        yield flight
        assert flight.lost or await breaches(wire) == []


async def _furnished(flight: Flight) -> Flight:
    await flight.gateway.tenant("ape")
    for name in ("bee", "cow"):
        await flight.gateway.tenant(name, reuse=SHARED)
    return flight


async def _booking(flight: Flight, tenant: str = "ape") -> Booking:
    return (await flight.gateway.use(tenant)).windows[0].total.booking


async def _due(flight: Flight) -> set[str]:
    """Who must be looked at now; looked at again a second later."""
    return {job.id for job in await flight.gateway.jobs.claim_due(SECOND, 100)}


async def _crew(flight: Flight, size: int = 3) -> list[Job]:
    """A job and those that follow it; the last of them has the latest deadline."""
    now = flight.gateway.clock.now()
    return [
        await flight.join(finish_by=now + (number + 1) * timedelta(hours=1))
        for number in range(size)
    ]


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
    leader, *followers = await _crew(flight)
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
    leader, *followers = await _crew(flight)
    ids = {job.id for job in followers}
    await flight.step(leader, Fact.CLAIMED)
    assert not ids & await _due(flight)
    await flight.step(leader, Fact.ACCEPTED, upstream_id="up", upstream_running=True)
    assert ids <= await _due(flight)
    for follower in followers:
        await flight.look(follower)
    assert {(await flight.now(job)).status for job in followers} == {"in_progress"}
    flight.gateway.clock.jump(2 * SECOND)
    await flight.succeed(leader)
    assert ids <= await _due(flight)


async def test_a_success_is_everybodys_and_paid_by_one(flight: Flight) -> None:
    leader, *followers = await _crew(flight)
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
    leader, *followers = await _crew(flight, 602)
    await flight.run(leader)
    flight.gateway.clock.jump(FOLLOW_CHECK + SECOND)
    woken = await flight.gateway.jobs.claim_due(timedelta(hours=1), 5000)
    assert {job.id for job in woken} >= {job.id for job in followers}
    await flight.succeed(leader)
    assert {job.id for job in followers} <= {
        job.id for job in await flight.gateway.jobs.claim_due(timedelta(hours=1), 5000)
    }


async def test_a_follower_that_is_cancelled_leaves_the_others(flight: Flight) -> None:
    leader, first, second = await _crew(flight)
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
    leader, other, heir = await _crew(flight)
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
    assert await _booking(flight) == Booking(2 * PRICE, released=PRICE)
    assert (await flight.gateway.use("ape")).running == 1
    await flight.succeed(taker)
    assert await flight.look(other) is Outcome.STORED
    assert (await flight.record(other)).output == OUTPUT
    assert await _booking(flight) == Booking(2 * PRICE, COST, 2 * PRICE - COST)
    assert (await flight.gateway.use("ape")).running == 0


async def test_work_is_handed_on_as_often_as_somebody_wants_it(flight: Flight) -> None:
    crew = await _crew(flight, 5)
    await flight.run(crew[0])
    holder = crew[0]
    for _ in range(4):
        holder = await flight.hand_on(holder)
    assert holder.upstream_id == f"up-{crew[0].id}"
    assert await flight.cancel(holder) is Outcome.STORED
    assert await flight.state(holder) is JobState.CANCELLING


async def test_new_requests_follow_the_heir(flight: Flight) -> None:
    leader, heir = await _crew(flight, 2)
    await flight.run(leader)
    await flight.hand_on(leader)
    late = await flight.join()
    assert late.leader == heir.id
    await flight.succeed(heir)
    assert await flight.look(late) is Outcome.STORED
    assert (await flight.join()).leader == heir.id  # a hit


async def test_an_heir_that_was_cancelled_first_inherits_nothing(flight: Flight) -> None:
    leader, heir = await _crew(flight, 2)
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
    assert await _booking(flight, "bee") == Booking(PRICE, released=PRICE)
    assert await _booking(flight, "cow") == Booking(PRICE, COST, PRICE - COST)


async def test_a_leader_whose_first_submit_may_have_been_charged_does_not_say_it_was_free(
    flight: Flight,
) -> None:
    """Found: after an approved resend, what became of the first submit is not known."""
    leader, heir = await _crew(flight, 2)
    await flight.step(leader, Fact.CLAIMED, Fact.NO_ANSWER)
    await flight.step(leader, Fact.RESEND_APPROVED, resends_approved=1)
    await flight.run(leader)
    await flight.hand_on(leader)
    assert (await flight.now(leader)).billed is Billed.UNKNOWN
    await flight.succeed(heir)
    assert await _booking(flight) == Booking(2 * PRICE, PRICE + COST, PRICE - COST)


async def test_an_heir_is_told_of_its_start_though_it_had_not_heard_of_it(flight: Flight) -> None:
    """Found: it took its leader's words over, so that no poll had any news, nor its callback."""
    leader, heir = await _crew(flight, 2)
    await flight.run(leader)
    assert (await flight.now(heir)).status == "in_queue"
    taker = await flight.hand_on(leader)
    assert (taker.status, taker.upstream_running) == ("in_queue", False)


async def test_work_that_runcomfy_has_cancelled_is_not_handed_on(flight: Flight) -> None:
    """Found: who joined while RunComfy was asked to cancel got the cancelled work."""
    leader, late = await _crew(flight, 2)
    await flight.run(leader)
    assert (await flight.step(leader, Fact.OUT_OF_TIME, billed=Billed.NO)).final
    assert await flight.look(late) is Outcome.STORED
    assert await flight.state(late) is JobState.QUEUED


async def test_work_that_may_go_on_is_wanted(flight: Flight) -> None:
    leader, _ = await _crew(flight, 2)
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


# --- promotion


async def test_when_a_leader_is_cancelled_in_the_queue_one_is_submitted_in_its_place(
    flight: Flight,
) -> None:
    leader, first, second = await _crew(flight)
    assert await flight.cancel(leader) is Outcome.STORED
    assert {first.id, second.id} <= await _due(flight)
    assert await flight.look(first) is Outcome.STORED
    assert await flight.state(first) is JobState.QUEUED
    assert await flight.look(second) is None
    assert await _booking(flight) == Booking(2 * PRICE, released=PRICE)
    await flight.finish(first)
    assert await flight.look(second) is Outcome.STORED
    assert (await flight.record(second)).output == OUTPUT


@pytest.mark.parametrize(("promote", "state"), [(True, JobState.QUEUED), (False, JobState.FAILED)])
async def test_a_failure_is_told_or_tried_again(
    flight: Flight, *, promote: bool, state: JobState
) -> None:
    leader, follower = await _crew(flight, 2)
    await flight.fail(await flight.run(leader))
    await flight.look(follower, promote=promote)
    after = await flight.now(follower)
    assert (after.state, after.billed) == (state, Billed.NO)
    assert after.error == (None if promote else BROKEN)


async def test_a_failure_that_may_have_cost_money_is_never_tried_again(flight: Flight) -> None:
    leader, follower = await _crew(flight, 2)
    await flight.fail(await flight.run(leader), Billed.UNKNOWN)
    await flight.look(follower, promote=True)
    assert await flight.state(follower) is JobState.FAILED


async def test_in_doubt_followers_wait_and_are_never_promoted(flight: Flight) -> None:
    leader, follower = await _crew(flight, 2)
    await flight.step(leader, Fact.CLAIMED, Fact.NO_ANSWER)
    assert await flight.look(follower, promote=True) is None
    assert (await flight.join()).leader == leader.id  # and new ones wait with them
    await flight.step(leader, Fact.GIVEN_UP, error=BROKEN, billed=Billed.UNKNOWN)
    await flight.look(follower, promote=True)
    assert await flight.state(follower) is JobState.FAILED
    assert await _booking(flight) == Booking(PRICE, settled=PRICE)


async def test_of_two_that_are_promoted_at_once_one_leads_and_the_other_follows(
    flight: Flight,
) -> None:
    """Found: the second made the first its own successor: an endless chain, and all lost."""
    leader, first, second, third = await _crew(flight, 4)
    await flight.cancel(leader)
    decided = [await flight.decide(job) for job in (first, second)]
    outcomes = [await flight.carry_out(held, move) for held, move in decided if move]
    assert outcomes == [Outcome.STORED, Outcome.LED]
    assert await flight.look(second) is None
    followed = await flight.gateway.jobs.leader(second)
    assert followed is not None
    assert followed.job.id == first.id
    await flight.finish(first)
    for job in (second, third):
        assert await flight.look(job) is Outcome.STORED
        assert (await flight.record(job)).output == OUTPUT
    assert (await _booking(flight)).reserved == 2 * PRICE


async def test_a_promotion_that_comes_late_does_not_pay_for_what_is_there_by_then(
    flight: Flight,
) -> None:
    """Found: the other was promoted first and succeeded; the late one was paid for again."""
    leader, first, second = await _crew(flight)
    await flight.cancel(leader)
    held, move = await flight.decide(second)
    assert move is not None
    await flight.look(first)
    await flight.finish(first)
    assert await flight.carry_out(held, move) is Outcome.LED
    await flight.look(second)
    assert (await flight.record(second)).output == OUTPUT
    assert (await _booking(flight)).reserved == 2 * PRICE


async def test_a_new_request_that_came_between_leads_those_who_were_left(flight: Flight) -> None:
    leader, first, second = await _crew(flight)
    await flight.cancel(leader)
    newcomer = await flight.join()
    assert newcomer.leader is None
    assert await flight.look(first) is Outcome.LED
    for job in (first, second):
        found = await flight.gateway.jobs.leader(job)
        assert found is not None
        assert found.job.id == newcomer.id
    await flight.finish(newcomer)
    for job in (first, second):
        assert await flight.look(job) is Outcome.STORED
        assert await flight.state(job) is JobState.SUCCEEDED


async def test_failures_move_through_as_many_promotions_as_there_are_followers(
    flight: Flight,
) -> None:
    crew = await _crew(flight, 5)
    for number, job in enumerate(crew):
        if number:
            assert await flight.look(job, promote=True) is Outcome.STORED
        await flight.fail(await flight.run(job))
    assert {await flight.state(job) for job in crew} == {JobState.FAILED}
    assert await _booking(flight) == Booking(5 * PRICE, released=5 * PRICE)


async def test_a_deleted_leader_leaves_no_follower_behind(flight: Flight) -> None:
    """Found: who led after it was named in its record alone."""
    leader, first, second = await _crew(flight)
    await flight.cancel(leader)
    await flight.look(first)
    await flight.lose(leader)
    assert await flight.look(second) is None
    await flight.cancel(second)
    assert await flight.gateway.jobs.heir(first.id) is None
    await flight.finish(first)


async def test_a_result_that_is_kept_shortly_is_there_for_who_follows(flight: Flight) -> None:
    """Found: a tenant's short time took the record away before its followers had looked."""
    await flight.gateway.tenant("dog", result_ttl=timedelta(seconds=60))
    leader, follower = [await flight.join("dog") for _ in range(2)]
    await flight.finish(leader)
    await flight.keeps(leader, timedelta(hours=1))
    assert await flight.look(follower) is Outcome.STORED
    assert (await flight.record(follower)).output == OUTPUT


@pytest.mark.parametrize(
    "limits",
    [
        Limits(usd_per_day=MicroUsd(PRICE - 1)),
        Limits(usd_per_month=MicroUsd(PRICE - 1)),
        Limits(usd_per_request=MicroUsd(PRICE - 1)),
    ],
)
async def test_who_cannot_pay_fails_and_the_next_is_asked(flight: Flight, limits: Limits) -> None:
    """Found: what a single request may cost was not asked when a follower was promoted."""
    now = flight.gateway.clock.now()
    leader = await flight.join("bee")
    poor = await flight.join("cow", finish_by=now + timedelta(hours=1))
    other = await flight.join("bee")
    await flight.gateway.limit("cow", limits)
    await flight.cancel(leader)
    assert await flight.look(poor) is Outcome.OVER_BUDGET
    after = await flight.now(poor)
    assert after.error is not None
    assert (after.state, after.error.code) == (JobState.FAILED, "budget_reached")
    assert await flight.look(other) is Outcome.STORED
    assert await flight.state(other) is JobState.QUEUED


async def test_what_nobody_knows_the_price_of_is_not_bought_for_who_refuses_that(
    flight: Flight,
) -> None:
    leader = await flight.join("bee", estimate=None)
    follower = await flight.join("cow", estimate=None)
    await flight.gateway.limit("cow", Limits(unknown_price=UnknownPrice.REFUSE))
    await flight.cancel(leader)
    assert await flight.look(follower) is Outcome.OVER_BUDGET


async def test_a_promoted_job_waits_its_turn(flight: Flight) -> None:
    await flight.gateway.controls.set_limits(GlobalLimits(running=1))
    leader, follower = await _crew(flight, 2)
    other = await flight.join(fingerprint="1:g")
    await flight.cancel(leader)
    await flight.look(follower)
    assert await flight.gateway.start(follower.id) is Outcome.NO_SLOT
    await flight.finish(other)
    assert await flight.gateway.start(follower.id) is Outcome.STORED


async def test_a_promotion_with_callbacks_for_other_endpoints_is_refused(flight: Flight) -> None:
    leader, first = await _crew(flight, 2)
    await flight.cancel(leader)
    held, move = await flight.decide(first)
    assert move is not None
    assert move.entry is not None
    change = Change(held, move.after, (move.entry,), instead_of=move.instead_of)
    refused = replace(change, setup_mark="another")
    assert await flight.gateway.jobs.store(refused) is Outcome.SETUP_CHANGED
    assert await flight.state(first) is JobState.FOLLOWING
    assert await flight.look(first) is Outcome.STORED


async def test_a_promotion_that_changes_the_word_is_told(flight: Flight) -> None:
    """Found: the callback of a follower that goes back into the queue was dropped."""
    leader, follower = await _crew(flight, 2)
    await flight.run(leader)
    await flight.look(follower)
    await flight.fail(leader)
    held, move = await flight.decide(follower, promote=True)
    assert move is not None
    now = flight.gateway.clock.now()
    notice = Delivery("msg_1", held.id, "ape", EventType.IN_QUEUE, "https://a.test/", now, now)
    assert move.entry is not None
    change = Change(
        held, move.after, (move.entry,), deliveries=(notice,), instead_of=move.instead_of
    )
    assert await flight.gateway.jobs.store(change) is Outcome.STORED
    view = await flight.gateway.jobs.view(held.id)
    assert view is not None
    assert view.delivery_ids == ("msg_1",)


async def test_a_follower_of_a_job_that_may_not_be_shared_is_none(flight: Flight) -> None:
    await flight.join(reuse=OFF)
    assert (await flight.join()).leader is None


async def test_a_cancel_that_came_too_late_still_keeps_the_result(flight: Flight) -> None:
    job = await flight.run(await flight.join())
    await flight.cancel(job)
    another = await flight.join()
    assert another.leader is None  # nobody joins what is being cancelled
    await flight.step(job, Fact.NOT_CANCELLABLE)
    await flight.succeed(job)
    assert (await flight.join()).leader == job.id
    await flight.finish(another)
    assert replace(await flight.now(another), version=0).state is JobState.SUCCEEDED
