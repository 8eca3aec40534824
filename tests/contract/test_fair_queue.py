"""Which job gets the next slot, and that no slot is idle while a job may run."""

from collections import Counter

import pytest

from core.jobs.job import Job
from core.operators.pauses import Pause
from core.tenants.limits import GlobalLimits, Limits, Priority
from core.transactions.job_update import WriteResult
from tests.support.store_harness import StoreHarness

ONE_SLOT = GlobalLimits(running=1)


async def _run_until_empty(harness: StoreHarness, jobs: list[Job]) -> list[Job]:
    """With one slot, run and end jobs until none is left. Returns them in that order."""
    order: list[Job] = []
    left = {job.id: job for job in jobs}
    while left:
        able = [job for job in left.values() if await harness.start(job.id) is WriteResult.STORED]
        assert len(able) == 1
        await harness.succeed(able[0].id, 0)
        order.append(left.pop(able[0].id))
    return order


async def test_a_job_without_a_slot_cannot_be_claimed(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    first, second = [await harness.submit("ape") for _ in range(2)]
    assert await harness.start(second.id) is WriteResult.NO_SLOT
    assert await harness.start(first.id) is WriteResult.STORED
    await harness.succeed(first.id, 0)
    assert await harness.start(second.id) is WriteResult.STORED


async def test_an_end_without_a_ring_of_its_own_rings_for_the_next(harness: StoreHarness) -> None:
    """Regression: the next job's wake-up message got no TTL if the ended job had had no message."""
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    first, second = [await harness.submit("ape") for _ in range(2)]
    assert await harness.cancel(first.id) is WriteResult.STORED
    assert await harness.start(second.id) is WriteResult.STORED


async def test_within_a_tenant_priority_goes_first_then_age(harness: StoreHarness) -> None:
    """Arrivals are ordered, where ids of one millisecond are not."""
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    await harness.admin.pause(Pause.everything())
    wished = [Priority.LOW, Priority.NORMAL, Priority.HIGH] * 4
    jobs = [await harness.submit("ape", f"m/{i % 2}", priority=p) for i, p in enumerate(wished)]
    await harness.admin.resume(Pause.everything())
    assert await _run_until_empty(harness, jobs) == sorted(jobs, key=lambda job: job.priority)


async def test_turns_go_by_weight(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    jobs: list[Job] = []
    await harness.admin.pause(Pause.everything())
    for name, weight in (("ape", 1), ("bee", 2), ("cow", 4)):
        await harness.tenant(name, Limits(weight=weight))
        jobs += [await harness.submit(name) for _ in range(14)]
    await harness.admin.resume(Pause.everything())
    order = await _run_until_empty(harness, jobs)
    first = Counter(job.tenant for job in order[:21])
    assert first == {"ape": 3, "bee": 6, "cow": 12}


async def test_another_tenants_first_job_is_next(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    for name in ("ape", "bee"):
        await harness.tenant(name)
    jobs = [await harness.submit("ape") for _ in range(20)]
    for job in jobs[:3]:
        await harness.succeed(job.id, 0)
    light = await harness.submit("bee")
    await harness.succeed(jobs[3].id, 0)
    assert await harness.start(light.id) is WriteResult.STORED


async def test_a_tenant_that_was_away_has_saved_nothing_up(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    for name in ("ape", "bee"):
        await harness.tenant(name)
    for job in [await harness.submit("ape") for _ in range(20)]:
        await harness.succeed(job.id, 0)
    await harness.admin.pause(Pause.everything())
    jobs = [await harness.submit(name) for name in ("ape", "bee") for _ in range(5)]
    await harness.admin.resume(Pause.everything())
    order = await _run_until_empty(harness, jobs)
    assert Counter(job.tenant for job in order[:6]) == {"ape": 3, "bee": 3}


async def test_a_full_model_holds_no_other_model_up(harness: StoreHarness) -> None:
    await harness.admin.set_limits(GlobalLimits(running=3, models=(("m/slow", 1),)))
    await harness.tenant("ape")
    slow = [await harness.submit("ape", "m/slow") for _ in range(5)]
    fast = [await harness.submit("ape", "m/fast") for _ in range(5)]
    assert [await harness.start(job.id) for job in slow[:2]] == [
        WriteResult.STORED,
        WriteResult.NO_SLOT,
    ]
    assert [await harness.start(job.id) for job in fast[:3]] == [
        WriteResult.STORED,
        WriteResult.STORED,
        WriteResult.NO_SLOT,
    ]


async def test_many_tenants_behind_a_full_model_hide_nobody(harness: StoreHarness) -> None:
    """Regression: a bounded search through tenants that could not run missed one that could."""
    await harness.admin.set_limits(GlobalLimits(running=2, models=(("m/slow", 1),)))
    await harness.tenant("ape")
    first = [await harness.submit("ape", "m/slow"), await harness.submit("ape", "m/fast")]
    for number in range(40):
        await harness.tenant(f"t{number}")
        await harness.submit(f"t{number}", "m/slow")
    await harness.tenant("zebra")
    last = await harness.submit("zebra", "m/fast")
    await harness.succeed(first[1].id, 0)
    assert await harness.start(last.id) is WriteResult.STORED


async def test_full_tenants_in_front_of_a_freed_model_hide_nobody(harness: StoreHarness) -> None:
    """Regression: when the first tenants waiting for a model were full, the model stayed idle."""
    await harness.admin.set_limits(GlobalLimits(models=(("m/slow", 1),)))
    await harness.tenant("ape")
    holder = await harness.submit("ape", "m/slow")
    for number in range(20):
        await harness.tenant(f"t{number:02}", Limits(running=1))
        await harness.submit(f"t{number:02}", "m/slow")
        await harness.submit(f"t{number:02}", "m/fast")
    await harness.tenant("zebra")
    last = await harness.submit("zebra", "m/slow")
    await harness.succeed(holder.id, 0)
    assert await harness.start(last.id) is WriteResult.STORED


async def test_a_raised_cap_lets_jobs_go_at_once(harness: StoreHarness) -> None:
    await harness.tenant("ape", Limits(running=1))
    await harness.admin.set_limits(GlobalLimits(running=1, models=(("m/a", 1),)))
    jobs = [await harness.submit("ape", "m/a") for _ in range(5)]
    await harness.set_limits("ape", Limits(running=4))
    assert (await harness.usage_of("ape")).running == 1
    await harness.admin.set_limits(GlobalLimits(running=3, models=(("m/a", 1),)))
    assert (await harness.usage_of("ape")).running == 1
    await harness.admin.set_limits(GlobalLimits(running=3, models=(("m/a", 2),)))
    assert (await harness.usage_of("ape")).running == 2
    await harness.admin.set_limits(GlobalLimits(running=3))
    assert (await harness.usage_of("ape")).running == 3
    await harness.admin.set_limits(GlobalLimits())
    assert (await harness.usage_of("ape")).running == 4
    await harness.set_limits("ape", Limits())
    assert (await harness.usage_of("ape")).running == len(jobs)


@pytest.mark.parametrize("pause", [Pause.everything(), Pause.tenant("ape"), Pause.model("m/a")])
async def test_what_is_paused_waits_and_goes_on_when_resumed(
    harness: StoreHarness, pause: Pause
) -> None:
    await harness.tenant("ape")
    await harness.tenant("bee")
    runs = await harness.submit("ape", "m/a")
    assert await harness.admin.pause(pause)
    assert not await harness.admin.pause(pause)
    assert await harness.admin.list_pauses() == [pause]
    waits = [await harness.submit("ape", "m/a") for _ in range(3)]
    other = await harness.submit("bee", "m/b")
    assert await harness.start(runs.id) is WriteResult.STORED
    assert await harness.start(waits[0].id) is WriteResult.NO_SLOT
    free = pause != Pause.everything()
    assert await harness.start(other.id) is (WriteResult.STORED if free else WriteResult.NO_SLOT)
    assert await harness.admin.resume(pause)
    assert not await harness.admin.resume(pause)
    assert [await harness.start(job.id) for job in waits] == [WriteResult.STORED] * 3


async def test_a_cancelled_job_leaves_its_place(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    jobs = [await harness.submit("ape") for _ in range(3)]
    await harness.cancel(jobs[1].id)
    use = await harness.usage_of("ape")
    assert (use.running, use.waiting) == (1, 1)
    await harness.succeed(jobs[0].id, 0)
    assert await harness.start(jobs[2].id) is WriteResult.STORED


async def test_a_slot_comes_back_once_however_often_the_end_is_told(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    jobs = [await harness.submit("ape") for _ in range(2)]
    await harness.succeed(jobs[0].id)
    await harness.succeed(jobs[0].id, 7)
    assert (await harness.usage_of("ape")).running == 1
    assert await harness.admin.dispatch() == 1


async def test_the_last_waiting_job_of_a_model_leaves_no_trace(harness: StoreHarness) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    runs, waits = await harness.submit("ape", "m/a"), await harness.submit("ape", "m/b")
    await harness.cancel(waits.id)
    assert await harness.succeed(runs.id, 0) is WriteResult.STORED
    assert (await harness.usage_of("ape")).running == 0


async def test_an_urgent_job_of_a_full_model_lets_others_by(harness: StoreHarness) -> None:
    await harness.admin.set_limits(GlobalLimits(running=2, models=(("m/slow", 1),)))
    await harness.tenant("ape")
    _, ends = await harness.submit("ape", "m/slow"), await harness.submit("ape", "m/fast")
    urgent = await harness.submit("ape", "m/slow", priority=Priority.HIGH)
    other = await harness.submit("ape", "m/fast", priority=Priority.LOW)
    await harness.succeed(ends.id, 0)
    assert await harness.start(urgent.id) is WriteResult.NO_SLOT
    assert await harness.start(other.id) is WriteResult.STORED


async def test_a_large_change_gives_out_a_hundred_slots_and_no_job_overtakes_the_rest(
    harness: StoreHarness,
) -> None:
    await harness.admin.set_limits(ONE_SLOT)
    await harness.tenant("ape")
    jobs = [await harness.submit("ape") for _ in range(130)]
    await harness.admin.set_limits(GlobalLimits())
    assert (await harness.usage_of("ape")).running == 101
    late = await harness.submit("ape")
    assert await harness.start(late.id) is WriteResult.NO_SLOT
    assert await harness.start(jobs[102].id) is WriteResult.STORED
    assert await harness.admin.dispatch() == 131
    assert await harness.start(late.id) is WriteResult.STORED
