"""Each limit says no at its edge, says why and until when, and takes nothing when it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from core.billing.balance import Wallet
from core.errors import (
    BudgetReached,
    CallerError,
    LimitReached,
    ModelNotAllowed,
    NotPermitted,
    Unauthenticated,
)
from core.jobs.job import JobState
from core.money import MicroUsd
from core.operations import Pause
from core.quotas import Policy
from core.store.tenants import KEYS_AT_MOST
from core.tenants.api_keys import KeyRecord, digest_of
from core.tenants.limits import GlobalLimits, Limits, Priority, UnknownPrice
from core.transactions.job_update import Outcome
from tests.contract.gateway import SUBJECTS, gateway_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.billing.settlement import Booking
    from tests.contract.gateway import Gateway

SECOND = timedelta(seconds=1)
LAST_MOMENT = datetime(2026, 3, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@pytest.fixture(params=SUBJECTS)
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with gateway_of(request.param, request) as gateway:
        yield gateway


async def _booked(gateway: Gateway, window: int = 0) -> tuple[int, Booking]:
    use = (await gateway.use("ape")).windows[window].total
    return use.jobs, use.booking


@pytest.mark.parametrize(
    ("limits", "policy"),
    [
        (Limits(requests_per_minute=2), Policy.REQUESTS),
        (Limits(requests_per_minute=60, burst=2), Policy.REQUESTS),
        (Limits(running=1, waiting=1), Policy.WAITING),
        (Limits(jobs_per_day=2), Policy.JOBS_DAY),
        (Limits(jobs_per_month=2), Policy.JOBS_MONTH),
        (Limits(usd_per_day=MicroUsd(2_520_000)), Policy.USD_DAY),
        (Limits(usd_per_month=MicroUsd(2_520_000)), Policy.USD_MONTH),
    ],
)
async def test_the_third_of_two_is_refused_and_leaves_nothing(
    gateway: Gateway, limits: Limits, policy: Policy
) -> None:
    await gateway.tenant("ape", limits)
    for _ in range(2):
        await gateway.submit("ape")
    before = await gateway.use("ape")
    third = gateway.job("ape")
    with pytest.raises(LimitReached) as refused:
        await gateway.admit(third)
    assert refused.value.policy == policy
    assert refused.value.retry_after is not None
    assert refused.value.retry_after > timedelta()
    assert {q.policy: q.remaining for q in refused.value.quotas}[policy] == 0
    assert await gateway.use("ape") == before
    assert await gateway.jobs.load(third.id) is None


@pytest.mark.parametrize(
    ("limits", "changes", "kind"),
    [
        (Limits(usd_per_request=MicroUsd(1_259_999)), {}, BudgetReached),
        (Limits(models=("flux/*", "kling/text")), {}, ModelNotAllowed),
        (Limits(models=("kling",)), {}, ModelNotAllowed),
        (Limits(models=("kling.image*",)), {}, ModelNotAllowed),
        (Limits(priority=Priority.NORMAL), {"priority": Priority.HIGH}, NotPermitted),
        (Limits(unknown_price=UnknownPrice.REFUSE), {"estimate": None}, BudgetReached),
        (Limits(requests_per_minute=0), {}, LimitReached),
        (Limits(jobs_per_day=0), {}, LimitReached),
        (Limits(running=0, waiting=0), {}, LimitReached),
    ],
)
async def test_what_is_never_allowed_is_refused_at_once(
    gateway: Gateway, limits: Limits, changes: dict[str, Any], kind: type[CallerError]
) -> None:
    await gateway.tenant("ape", limits)
    with pytest.raises(kind) as refused:
        await gateway.submit("ape", **changes)
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    ("limits", "changes"),
    [
        (Limits(usd_per_request=MicroUsd(1_260_000)), {}),
        (Limits(models=("flux/dev", "kling/*")), {}),
        (Limits(models=("*/image-to-video",)), {}),
        (Limits(models=("kling/image-to-video",)), {}),
        (Limits(priority=Priority.NORMAL), {"priority": Priority.NORMAL}),
        (Limits(unknown_price=UnknownPrice.REFUSE), {}),
        (Limits(running=1, waiting=0), {}),
    ],
)
async def test_what_is_just_allowed_is_admitted(
    gateway: Gateway, limits: Limits, changes: dict[str, Any]
) -> None:
    await gateway.tenant("ape", limits)
    await gateway.submit("ape", **changes)
    assert (await _booked(gateway))[0] == 1


async def test_what_was_released_can_be_spent_again(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(usd_per_day=MicroUsd(1_260_000)))
    first = await gateway.submit("ape")
    with pytest.raises(BudgetReached):
        await gateway.submit("ape")
    await gateway.succeed(first.id, 260_000)
    await gateway.submit("ape", estimate=MicroUsd(1_000_000))
    with pytest.raises(BudgetReached):
        await gateway.submit("ape", estimate=MicroUsd(1))


async def test_a_job_that_runs_at_once_needs_no_place_to_wait(gateway: Gateway) -> None:
    await gateway.controls.set_limits(GlobalLimits(models=(("m/slow", 1),)))
    await gateway.tenant("ape")
    for _ in range(3):
        await gateway.submit("ape", "m/slow")
    await gateway.limit("ape", Limits(waiting=1))
    admitted = await gateway.admit(gateway.job("ape", "m/fast"))
    assert admitted.running
    assert admitted.quotas[0].remaining == 0
    with pytest.raises(LimitReached):
        await gateway.submit("ape", "m/slow")


async def test_an_unknown_price_counts_at_the_configured_figure(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(unknown_price_counts=MicroUsd(700)))
    job = gateway.job("ape", estimate=None)
    assert (await gateway.admit(job)).reserved == 700
    assert (await _booked(gateway))[1].reserved == 700


async def test_large_figures_stay_exact(gateway: Gateway) -> None:
    """Lua writes 10^14 as 1e+14, which no reader of integers takes."""
    most = MicroUsd(10**15)
    await gateway.tenant("ape", Limits(usd_per_day=most))
    admitted = await gateway.admit(gateway.job("ape", estimate=MicroUsd(10**14)))
    assert admitted.reserved == 10**14
    assert admitted.quotas[0].remaining == 9 * 10**14
    exact = MicroUsd(123_456_789_012_347)
    admitted = await gateway.admit(gateway.job("ape", estimate=exact))
    assert admitted.quotas[0].remaining == 9 * 10**14 - exact


async def test_the_rate_refills_one_by_one(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(requests_per_minute=6))
    for _ in range(6):
        await gateway.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await gateway.submit("ape")
    assert refused.value.retry_after == 10 * SECOND
    gateway.clock.jump(10 * SECOND)
    await gateway.submit("ape")
    with pytest.raises(LimitReached):
        await gateway.submit("ape")


async def test_a_clock_put_back_locks_nobody_out(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(requests_per_minute=2))
    for _ in range(2):
        await gateway.submit("ape")
    gateway.clock.jump(timedelta(hours=-1))
    for _ in range(2):
        await gateway.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await gateway.submit("ape")
    assert refused.value.retry_after == 30 * SECOND


async def test_clocks_that_differ_a_little_forget_no_submit(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(requests_per_minute=2))
    for _ in range(2):
        await gateway.submit("ape")
    for seconds in (-1, 1, -5, 5):
        gateway.clock.jump(seconds * SECOND)
        with pytest.raises(LimitReached):
            await gateway.submit("ape")


async def test_a_clock_put_forward_gives_one_full_burst(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(requests_per_minute=2))
    gateway.clock.jump(timedelta(days=3))
    for _ in range(2):
        await gateway.submit("ape")
    with pytest.raises(LimitReached):
        await gateway.submit("ape")


async def test_the_submits_of_all_have_their_own_rate(gateway: Gateway) -> None:
    assert await gateway.breakers.take_submit() is None
    await gateway.controls.set_limits(GlobalLimits(submits_per_second=0.1))
    assert await gateway.breakers.take_submit() is None
    again = await gateway.breakers.take_submit()
    assert again == gateway.clock.now() + 10 * SECOND
    gateway.clock.jump(timedelta(hours=-1))
    assert await gateway.breakers.take_submit() is None


async def test_reads_of_all_share_one_rate(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    await gateway.controls.set_limits(GlobalLimits(polls_per_second=2))
    for _ in range(5):
        await gateway.submit("ape")
    gateway.clock.jump(timedelta(minutes=1))
    first = await gateway.jobs.claim_due(timedelta(minutes=5), 10)
    assert len(first) == 2
    assert len(await gateway.jobs.claim_due(timedelta(minutes=5), 10)) == 0
    gateway.clock.jump(SECOND)
    assert len(await gateway.jobs.claim_due(timedelta(minutes=5), 10)) == 2


async def test_days_and_months_change_at_midnight_utc(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(jobs_per_day=1, jobs_per_month=2))
    gateway.clock.put(LAST_MOMENT)
    await gateway.submit("ape")
    with pytest.raises(LimitReached) as refused:
        await gateway.submit("ape")
    assert refused.value.policy == Policy.JOBS_DAY
    assert refused.value.retry_after == timedelta(milliseconds=1)
    gateway.clock.jump(timedelta(milliseconds=1))
    await gateway.submit("ape")
    assert await _booked(gateway, 0) == await _booked(gateway, 1)


async def test_a_job_settles_in_the_day_in_which_it_was_admitted(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    gateway.clock.put(LAST_MOMENT)
    job = await gateway.submit("ape")
    gateway.clock.jump(SECOND)
    await gateway.succeed(job.id, 1_000_000)
    assert (await _booked(gateway))[0] == 0
    gateway.clock.put(LAST_MOMENT)
    for window in (0, 1):
        jobs, booking = await _booked(gateway, window)
        assert (jobs, booking.settled, booking.released) == (1, 1_000_000, 260_000)


async def test_a_job_made_before_midnight_and_admitted_after_it_counts_for_its_own_day(
    gateway: Gateway,
) -> None:
    await gateway.tenant("ape", Limits(jobs_per_day=1))
    gateway.clock.put(LAST_MOMENT)
    jobs = [gateway.job("ape") for _ in range(2)]
    gateway.clock.jump(timedelta(milliseconds=2))
    await gateway.admit(jobs[0])
    with pytest.raises(LimitReached) as refused:
        await gateway.admit(jobs[1])
    assert refused.value.retry_after == timedelta()
    await gateway.submit("ape")


async def test_below_the_wallets_floor_nothing_is_admitted(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    await gateway.controls.set_wallet(Wallet(MicroUsd(5)))
    await gateway.submit("ape")
    await gateway.controls.set_floor(MicroUsd(5))
    await gateway.submit("ape")
    await gateway.controls.set_floor(MicroUsd(6))
    with pytest.raises(BudgetReached) as refused:
        await gateway.submit("ape")
    assert refused.value.policy == Policy.WALLET
    await gateway.controls.set_wallet(Wallet(None))
    await gateway.submit("ape")


async def test_limits_lowered_under_what_runs_stop_nothing_that_was_admitted(
    gateway: Gateway,
) -> None:
    await gateway.tenant("ape", Limits(running=2))
    jobs = [await gateway.submit("ape") for _ in range(4)]
    lowered = Limits(running=1, waiting=1, jobs_per_day=1, usd_per_day=MicroUsd(1))
    assert await gateway.limit("ape", lowered)
    with pytest.raises(LimitReached):
        await gateway.submit("ape")
    use = await gateway.use("ape")
    assert (use.running, use.waiting) == (2, 2)
    await gateway.succeed(jobs[0].id, 1)
    use = await gateway.use("ape")
    assert (use.running, use.waiting) == (1, 2)
    for job in jobs[1:]:
        await gateway.succeed(job.id, 1)
    use = await gateway.use("ape")
    assert (use.running, use.waiting, use.windows[0].total.booking.settled) == (0, 0, 4)


async def test_the_jobs_of_a_deleted_tenant_run_to_their_end(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(running=1))
    running, waiting = [await gateway.submit("ape") for _ in range(2)]
    assert await gateway.delete("ape")
    with pytest.raises(CallerError):
        await gateway.submit("ape")
    await gateway.start(running.id)
    await gateway.succeed(running.id, 40)
    assert await gateway.start(waiting.id) is Outcome.STORED
    await gateway.cancel(waiting.id)
    record = await gateway.jobs.load(waiting.id)
    assert record is not None
    assert record.job.state is JobState.CANCELLED
    use = await gateway.use("ape")
    assert (use.running, use.waiting, use.windows[0].total.booking.used) == (0, 0, 40)


async def test_a_deleted_tenant_cannot_be_changed_or_given_a_key(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    await gateway.delete("ape")
    assert not await gateway.limit("ape", Limits())
    key = KeyRecord(digest_of("new"), "ape", gateway.clock.now())
    assert not await gateway.tenants.add_key(key)
    assert "ape" not in await gateway.tenants.names()


async def test_nobody_revokes_anothers_key(gateway: Gateway) -> None:
    for name in ("ape", "bee"):
        await gateway.tenant(name)
    assert not await gateway.tenants.revoke_key("ape", digest_of("bee"))
    await gateway.submit("bee")
    assert await gateway.tenants.revoke_key("bee", digest_of("bee"))
    with pytest.raises(Unauthenticated):
        await gateway.submit("bee")


async def test_a_new_tenant_is_not_paused_by_what_one_of_its_name_left(gateway: Gateway) -> None:
    await gateway.controls.pause(Pause.tenant("ape"))
    await gateway.tenant("ape")
    assert (await gateway.admit(gateway.job("ape"))).running
    assert await gateway.controls.pauses() == []


async def test_operators_who_change_other_limits_at_once_undo_nothing(gateway: Gateway) -> None:
    controls = gateway.controls
    await controls.set_limits(GlobalLimits(running=9, models=(("m/a", 1), ("m/b", 2))))
    read = await controls.limits()
    one = replace(read, running=5, models=(("m/a", 1), ("m/b", 2), ("m/c", 3)))
    other = replace(read, polls_per_second=0.5, models=(("m/a", 7),))
    await controls.set_limits(one, read)
    await controls.set_limits(other, read)
    assert await controls.limits() == GlobalLimits(
        running=5, polls_per_second=0.5, models=(("m/a", 7), ("m/c", 3))
    )
    await controls.set_limits(GlobalLimits())
    assert await controls.limits() == GlobalLimits()


async def test_a_day_that_a_clock_ahead_began_keeps_what_it_took(gateway: Gateway) -> None:
    await gateway.tenant("ape", Limits(jobs_per_day=1))
    gateway.clock.put(LAST_MOMENT)
    gateway.clock.jump(SECOND)  # ahead of the others
    await gateway.submit("ape")
    gateway.clock.jump(-SECOND)
    assert (await _booked(gateway))[0] == 0
    await gateway.submit("ape")
    gateway.clock.jump(SECOND)
    with pytest.raises(LimitReached):
        await gateway.submit("ape")


async def test_keys_that_ran_out_make_room_for_new_ones(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    now = gateway.clock.now()
    for number in range(1, KEYS_AT_MOST):
        ends = now + SECOND if number % 2 else None
        assert await gateway.tenants.add_key(_key(f"key {number}", now, ends))
    assert not await gateway.tenants.add_key(_key("too many", now))
    gateway.clock.jump(SECOND)
    assert len(await gateway.tenants.keys_of("ape")) == KEYS_AT_MOST
    assert await gateway.tenants.add_key(_key("new", gateway.clock.now()))
    left = {use.key.digest for use in await gateway.tenants.keys_of("ape")}
    even = {digest_of(f"key {number}") for number in range(2, KEYS_AT_MOST, 2)}
    assert left == {digest_of("ape"), digest_of("new")} | even
    await gateway.submit("ape")


def _key(text: str, created_at: datetime, expires_at: datetime | None = None) -> KeyRecord:
    return KeyRecord(digest_of(text), "ape", created_at, expires_at=expires_at)
