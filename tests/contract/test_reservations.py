"""Money: reserved = settled + released + held, in the windows of the job's admission."""

from typing import Any

import pytest

from core.billing.settlement import ReservationTotals
from core.jobs.job import BillingStatus, JobState
from tests.support.store_harness import MODEL, PRICE, StoreHarness


async def _totals(harness: StoreHarness) -> ReservationTotals:
    """The amounts, equal in each window, for the tenant and for the model."""
    windows = (await harness.usage_of("ape")).windows
    found = {window.total.reservations for window in windows}
    found |= {window.models[MODEL].reservations for window in windows if window.window.first_day}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("state", "changes", "booking"),
    [
        (JobState.SUBMITTING, {}, ReservationTotals(PRICE)),
        (JobState.IN_DOUBT, {"billed": BillingStatus.UNKNOWN}, ReservationTotals(PRICE)),
        (
            JobState.CANCELLED,
            {"billed": BillingStatus.NO},
            ReservationTotals(PRICE, released=PRICE),
        ),
        (JobState.EXPIRED, {"billed": BillingStatus.NO}, ReservationTotals(PRICE, released=PRICE)),
        (
            JobState.FAILED,
            {"billed": BillingStatus.UNKNOWN},
            ReservationTotals(PRICE, settled=PRICE),
        ),
        (
            JobState.SUCCEEDED,
            {"billed": BillingStatus.YES},
            ReservationTotals(PRICE, settled=PRICE),
        ),
        (JobState.SUCCEEDED, {"cost": 1_000_000}, ReservationTotals(PRICE, 1_000_000, 260_000)),
        (JobState.FAILED, {"cost": 0}, ReservationTotals(PRICE, 0, PRICE)),
        (JobState.SUCCEEDED, {"cost": 2_000_000}, ReservationTotals(2_000_000, 2_000_000)),
    ],
)
async def test_the_amounts_of_each_end(
    harness: StoreHarness, state: JobState, changes: dict[str, Any], booking: ReservationTotals
) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await harness.update(job.id, state, **changes)
    assert await _totals(harness) == booking


async def test_a_cost_that_is_still_to_come_is_held_and_settled_late(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await harness.succeed(job.id)
    assert (await _totals(harness)).held == PRICE
    await harness.succeed(job.id, 1_000_000)
    assert await _totals(harness) == ReservationTotals(PRICE, 1_000_000, 260_000)
    await harness.succeed(job.id, 1_000_000)
    assert await _totals(harness) == ReservationTotals(PRICE, 1_000_000, 260_000)


async def test_a_late_result_takes_back_what_was_released(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    job = await harness.submit("ape")
    await harness.cancel(job.id)
    await harness.succeed(job.id, 900_000)
    assert await _totals(harness) == ReservationTotals(PRICE, 900_000, 360_000)


async def test_models_are_counted_apart(harness: StoreHarness) -> None:
    await harness.tenant("ape")
    await harness.submit("ape", "a/b")
    await harness.submit("ape", "c|d", estimate=None)
    day = (await harness.usage_of("ape")).windows[0]
    assert {name: use.jobs for name, use in day.models.items()} == {"a/b": 1, "c|d": 1}
    assert (day.total.jobs, day.total.reservations.reserved) == (2, PRICE)
