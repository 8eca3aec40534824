"""Who of the followers is paid for when the leader is not; of identical requests in flight.

The same in the twin and in Redis.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from core.billing.settlement import Booking
from core.jobs.job import Billed, Fact, JobState
from core.money import MicroUsd
from core.tenants.cache_policy import CacheOption
from core.tenants.limits import GlobalLimits, Limits, UnknownPrice
from core.transactions.admission import ReuseRequest
from core.transactions.job_update import Change, Outcome
from core.webhooks.delivery import Delivery, EventType
from tests.contract.flight import BROKEN, OUTPUT, Flight
from tests.contract.gateway import PRICE
from tests.contract.shared_flight import booking, crew_of, due

OFF: Final = ReuseRequest(asked=CacheOption.OFF)


async def test_when_a_leader_is_cancelled_in_the_queue_one_is_submitted_in_its_place(
    flight: Flight,
) -> None:
    leader, first, second = await crew_of(flight)
    assert await flight.cancel(leader) is Outcome.STORED
    assert {first.id, second.id} <= await due(flight)
    assert await flight.look(first) is Outcome.STORED
    assert await flight.state(first) is JobState.QUEUED
    assert await flight.look(second) is None
    assert await booking(flight) == Booking(2 * PRICE, released=PRICE)
    await flight.finish(first)
    assert await flight.look(second) is Outcome.STORED
    assert (await flight.record(second)).output == OUTPUT


@pytest.mark.parametrize(("promote", "state"), [(True, JobState.QUEUED), (False, JobState.FAILED)])
async def test_a_failure_is_told_or_tried_again(
    flight: Flight, *, promote: bool, state: JobState
) -> None:
    leader, follower = await crew_of(flight, 2)
    await flight.fail(await flight.run(leader))
    await flight.look(follower, promote=promote)
    after = await flight.now(follower)
    assert (after.state, after.billed) == (state, Billed.NO)
    assert after.error == (None if promote else BROKEN)


async def test_a_failure_that_may_have_cost_money_is_never_tried_again(flight: Flight) -> None:
    leader, follower = await crew_of(flight, 2)
    await flight.fail(await flight.run(leader), Billed.UNKNOWN)
    await flight.look(follower, promote=True)
    assert await flight.state(follower) is JobState.FAILED


async def test_in_doubt_followers_wait_and_are_never_promoted(flight: Flight) -> None:
    leader, follower = await crew_of(flight, 2)
    await flight.step(leader, Fact.CLAIMED, Fact.NO_ANSWER)
    assert await flight.look(follower, promote=True) is None
    assert (await flight.join()).leader == leader.id  # and new ones wait with them
    await flight.step(leader, Fact.GIVEN_UP, error=BROKEN, billed=Billed.UNKNOWN)
    await flight.look(follower, promote=True)
    assert await flight.state(follower) is JobState.FAILED
    assert await booking(flight) == Booking(PRICE, settled=PRICE)


async def test_of_two_that_are_promoted_at_once_one_leads_and_the_other_follows(
    flight: Flight,
) -> None:
    """Found: the second made the first its own successor: an endless chain, and all lost."""
    leader, first, second, third = await crew_of(flight, 4)
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
    assert (await booking(flight)).reserved == 2 * PRICE


async def test_a_promotion_that_comes_late_does_not_pay_for_what_is_there_by_then(
    flight: Flight,
) -> None:
    """Found: the other was promoted first and succeeded; the late one was paid for again."""
    leader, first, second = await crew_of(flight)
    await flight.cancel(leader)
    held, move = await flight.decide(second)
    assert move is not None
    await flight.look(first)
    await flight.finish(first)
    assert await flight.carry_out(held, move) is Outcome.LED
    await flight.look(second)
    assert (await flight.record(second)).output == OUTPUT
    assert (await booking(flight)).reserved == 2 * PRICE


async def test_a_new_request_that_came_between_leads_those_who_were_left(flight: Flight) -> None:
    leader, first, second = await crew_of(flight)
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
    crew = await crew_of(flight, 5)
    for number, job in enumerate(crew):
        if number:
            assert await flight.look(job, promote=True) is Outcome.STORED
        await flight.fail(await flight.run(job))
    assert {await flight.state(job) for job in crew} == {JobState.FAILED}
    assert await booking(flight) == Booking(5 * PRICE, released=5 * PRICE)


async def test_a_deleted_leader_leaves_no_follower_behind(flight: Flight) -> None:
    """Found: who led after it was named in its record alone."""
    leader, first, second = await crew_of(flight)
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
    leader, follower = await crew_of(flight, 2)
    other = await flight.join(fingerprint="1:g")
    await flight.cancel(leader)
    await flight.look(follower)
    assert await flight.gateway.start(follower.id) is Outcome.NO_SLOT
    await flight.finish(other)
    assert await flight.gateway.start(follower.id) is Outcome.STORED


async def test_a_promotion_with_callbacks_for_other_endpoints_is_refused(flight: Flight) -> None:
    leader, first = await crew_of(flight, 2)
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
    leader, follower = await crew_of(flight, 2)
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
