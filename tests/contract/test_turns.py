"""Who gets the next slot, and that no slot stands idle while anything may run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from core.operations import Pause
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.job_update import Outcome
from tests.contract.gateway import SUBJECTS, gateway_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.jobs.job import Job
    from tests.contract.gateway import Gateway

ONE_SLOT = GlobalLimits(running=1)


@pytest.fixture(params=SUBJECTS)
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with gateway_of(request.param, request) as gateway:
        yield gateway


async def _served(gateway: Gateway, jobs: list[Job]) -> list[Job]:
    """One slot: whoever can be claimed runs and ends, until nobody is left. In order of service."""
    order: list[Job] = []
    left = {job.id: job for job in jobs}
    while left:
        able = [job for job in left.values() if await gateway.start(job.id) is Outcome.STORED]
        assert len(able) == 1
        await gateway.succeed(able[0].id, 0)
        order.append(left.pop(able[0].id))
    return order


async def test_a_job_without_a_slot_cannot_be_claimed(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    first, second = [await gateway.submit("ape") for _ in range(2)]
    assert await gateway.start(second.id) is Outcome.NO_SLOT
    assert await gateway.start(first.id) is Outcome.STORED
    await gateway.succeed(first.id, 0)
    assert await gateway.start(second.id) is Outcome.STORED


async def test_an_end_without_a_ring_of_its_own_rings_for_the_next(gateway: Gateway) -> None:
    """The next one's message was given no lifetime where the ended job had no message."""
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    first, second = [await gateway.submit("ape") for _ in range(2)]
    assert await gateway.cancel(first.id) is Outcome.STORED
    assert await gateway.start(second.id) is Outcome.STORED


async def test_within_a_tenant_priority_goes_first_then_age(gateway: Gateway) -> None:
    """Ids made in the same millisecond are in no order; arrivals are."""
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    await gateway.controls.pause(Pause.everything())
    wished = [Priority.LOW, Priority.NORMAL, Priority.HIGH] * 4
    jobs = [await gateway.submit("ape", f"m/{i % 2}", priority=p) for i, p in enumerate(wished)]
    await gateway.controls.resume(Pause.everything())
    assert await _served(gateway, jobs) == sorted(jobs, key=lambda job: job.priority)


async def test_turns_go_by_weight(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    jobs: list[Job] = []
    await gateway.controls.pause(Pause.everything())
    for name, weight in (("ape", 1), ("bee", 2), ("cow", 4)):
        await gateway.tenant(name, Limits(weight=weight))
        jobs += [await gateway.submit(name) for _ in range(14)]
    await gateway.controls.resume(Pause.everything())
    order = await _served(gateway, jobs)
    first = Counter(job.tenant for job in order[:21])
    assert first == {"ape": 3, "bee": 6, "cow": 12}


async def test_another_tenants_first_job_is_next(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    for name in ("ape", "bee"):
        await gateway.tenant(name)
    jobs = [await gateway.submit("ape") for _ in range(20)]
    for job in jobs[:3]:
        await gateway.succeed(job.id, 0)
    light = await gateway.submit("bee")
    await gateway.succeed(jobs[3].id, 0)
    assert await gateway.start(light.id) is Outcome.STORED


async def test_a_tenant_that_was_away_has_saved_nothing_up(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    for name in ("ape", "bee"):
        await gateway.tenant(name)
    for job in [await gateway.submit("ape") for _ in range(20)]:
        await gateway.succeed(job.id, 0)
    await gateway.controls.pause(Pause.everything())
    jobs = [await gateway.submit(name) for name in ("ape", "bee") for _ in range(5)]
    await gateway.controls.resume(Pause.everything())
    order = await _served(gateway, jobs)
    assert Counter(job.tenant for job in order[:6]) == {"ape": 3, "bee": 3}


async def test_a_full_model_holds_no_other_model_up(gateway: Gateway) -> None:
    await gateway.controls.set_limits(GlobalLimits(running=3, models=(("m/slow", 1),)))
    await gateway.tenant("ape")
    slow = [await gateway.submit("ape", "m/slow") for _ in range(5)]
    fast = [await gateway.submit("ape", "m/fast") for _ in range(5)]
    assert [await gateway.start(job.id) for job in slow[:2]] == [Outcome.STORED, Outcome.NO_SLOT]
    assert [await gateway.start(job.id) for job in fast[:3]] == [
        Outcome.STORED,
        Outcome.STORED,
        Outcome.NO_SLOT,
    ]


async def test_many_tenants_behind_a_full_model_hide_nobody(gateway: Gateway) -> None:
    """A bounded search through tenants that cannot run passed over one who could."""
    await gateway.controls.set_limits(GlobalLimits(running=2, models=(("m/slow", 1),)))
    await gateway.tenant("ape")
    first = [await gateway.submit("ape", "m/slow"), await gateway.submit("ape", "m/fast")]
    for number in range(40):
        await gateway.tenant(f"t{number}")
        await gateway.submit(f"t{number}", "m/slow")
    await gateway.tenant("zebra")
    last = await gateway.submit("zebra", "m/fast")
    await gateway.succeed(first[1].id, 0)
    assert await gateway.start(last.id) is Outcome.STORED


async def test_full_tenants_in_front_of_a_freed_model_hide_nobody(gateway: Gateway) -> None:
    """When the first few that waited for a model were full, the model stood idle for ever."""
    await gateway.controls.set_limits(GlobalLimits(models=(("m/slow", 1),)))
    await gateway.tenant("ape")
    holder = await gateway.submit("ape", "m/slow")
    for number in range(20):
        await gateway.tenant(f"t{number:02}", Limits(running=1))
        await gateway.submit(f"t{number:02}", "m/slow")
        await gateway.submit(f"t{number:02}", "m/fast")
    await gateway.tenant("zebra")
    last = await gateway.submit("zebra", "m/slow")
    await gateway.succeed(holder.id, 0)
    assert await gateway.start(last.id) is Outcome.STORED


async def test_a_raised_cap_lets_jobs_go_at_once(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(running=1))
    await gateway.controls.set_limits(GlobalLimits(running=1, models=(("m/a", 1),)))
    jobs = [await gateway.submit("ape", "m/a") for _ in range(5)]
    await gateway.limit("ape", Limits(running=4))
    assert (await gateway.use("ape")).running == 1
    await gateway.controls.set_limits(GlobalLimits(running=3, models=(("m/a", 1),)))
    assert (await gateway.use("ape")).running == 1
    await gateway.controls.set_limits(GlobalLimits(running=3, models=(("m/a", 2),)))
    assert (await gateway.use("ape")).running == 2
    await gateway.controls.set_limits(GlobalLimits(running=3))
    assert (await gateway.use("ape")).running == 3
    await gateway.controls.set_limits(GlobalLimits())
    assert (await gateway.use("ape")).running == 4
    await gateway.limit("ape", Limits())
    assert (await gateway.use("ape")).running == len(jobs)


@pytest.mark.parametrize("pause", [Pause.everything(), Pause.tenant("ape"), Pause.model("m/a")])
async def test_what_is_paused_waits_and_goes_on_when_resumed(
    gateway: Gateway, pause: Pause
) -> None:
    await gateway.tenant("ape")
    await gateway.tenant("bee")
    runs = await gateway.submit("ape", "m/a")
    await gateway.controls.pause(pause)
    assert await gateway.controls.pauses() == [pause]
    waits = [await gateway.submit("ape", "m/a") for _ in range(3)]
    other = await gateway.submit("bee", "m/b")
    assert await gateway.start(runs.id) is Outcome.STORED
    assert await gateway.start(waits[0].id) is Outcome.NO_SLOT
    free = pause != Pause.everything()
    assert await gateway.start(other.id) is (Outcome.STORED if free else Outcome.NO_SLOT)
    await gateway.controls.resume(pause)
    assert [await gateway.start(job.id) for job in waits] == [Outcome.STORED] * 3


async def test_a_cancelled_job_leaves_its_place(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    jobs = [await gateway.submit("ape") for _ in range(3)]
    await gateway.cancel(jobs[1].id)
    use = await gateway.use("ape")
    assert (use.running, use.waiting) == (1, 1)
    await gateway.succeed(jobs[0].id, 0)
    assert await gateway.start(jobs[2].id) is Outcome.STORED


async def test_a_slot_comes_back_once_however_often_the_end_is_told(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    jobs = [await gateway.submit("ape") for _ in range(2)]
    await gateway.succeed(jobs[0].id)
    await gateway.succeed(jobs[0].id, 7)
    assert (await gateway.use("ape")).running == 1
    assert await gateway.controls.dispatch() == 1


async def test_the_last_waiting_job_of_a_model_leaves_no_trace(gateway: Gateway) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    runs, waits = await gateway.submit("ape", "m/a"), await gateway.submit("ape", "m/b")
    await gateway.cancel(waits.id)
    assert await gateway.succeed(runs.id, 0) is Outcome.STORED
    assert (await gateway.use("ape")).running == 0


async def test_an_urgent_job_of_a_full_model_lets_others_by(gateway: Gateway) -> None:
    await gateway.controls.set_limits(GlobalLimits(running=2, models=(("m/slow", 1),)))
    await gateway.tenant("ape")
    _, ends = await gateway.submit("ape", "m/slow"), await gateway.submit("ape", "m/fast")
    urgent = await gateway.submit("ape", "m/slow", priority=Priority.HIGH)
    other = await gateway.submit("ape", "m/fast", priority=Priority.LOW)
    await gateway.succeed(ends.id, 0)
    assert await gateway.start(urgent.id) is Outcome.NO_SLOT
    assert await gateway.start(other.id) is Outcome.STORED


async def test_a_large_change_hands_out_a_hundred_and_nobody_overtakes_the_rest(
    gateway: Gateway,
) -> None:
    await gateway.controls.set_limits(ONE_SLOT)
    await gateway.tenant("ape")
    jobs = [await gateway.submit("ape") for _ in range(130)]
    await gateway.controls.set_limits(GlobalLimits())
    assert (await gateway.use("ape")).running == 101
    late = await gateway.submit("ape")
    assert await gateway.start(late.id) is Outcome.NO_SLOT
    assert await gateway.start(jobs[102].id) is Outcome.STORED
    assert await gateway.controls.dispatch() == 131
    assert await gateway.start(late.id) is Outcome.STORED
