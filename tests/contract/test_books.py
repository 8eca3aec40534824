"""Money: reserved = settled + released + held, in the job's own windows, whenever it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from core.billing.settlement import Booking
from core.jobs.job import Billed, JobState
from tests.contract.gateway import MODEL, PRICE, SUBJECTS, gateway_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.gateway import Gateway


@pytest.fixture(params=SUBJECTS)
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    async with gateway_of(request.param, request) as gateway:
        yield gateway


async def _booking(gateway: Gateway) -> Booking:
    """The same in the day, in the month, and in both for the model."""
    windows = (await gateway.use("ape")).windows
    found = {window.total.booking for window in windows}
    found |= {window.models[MODEL].booking for window in windows}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("state", "changes", "booking"),
    [
        (JobState.SUBMITTING, {}, Booking(PRICE)),
        (JobState.IN_DOUBT, {"billed": Billed.UNKNOWN}, Booking(PRICE)),
        (JobState.CANCELLED, {"billed": Billed.NO}, Booking(PRICE, released=PRICE)),
        (JobState.EXPIRED, {"billed": Billed.NO}, Booking(PRICE, released=PRICE)),
        (JobState.FAILED, {"billed": Billed.UNKNOWN}, Booking(PRICE, settled=PRICE)),
        (JobState.SUCCEEDED, {"billed": Billed.YES}, Booking(PRICE, settled=PRICE)),
        (JobState.SUCCEEDED, {"cost": 1_000_000}, Booking(PRICE, 1_000_000, 260_000)),
        (JobState.FAILED, {"cost": 0}, Booking(PRICE, 0, PRICE)),
        (JobState.SUCCEEDED, {"cost": 2_000_000}, Booking(2_000_000, 2_000_000)),
    ],
)
async def test_what_a_job_comes_to(
    gateway: Gateway, state: JobState, changes: dict[str, Any], booking: Booking
) -> None:
    await gateway.tenant("ape")
    job = await gateway.submit("ape")
    await gateway.move(job.id, state, **changes)
    assert await _booking(gateway) == booking


async def test_a_cost_that_is_still_to_come_is_held_and_settled_late(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    job = await gateway.submit("ape")
    await gateway.succeed(job.id)
    assert (await _booking(gateway)).held == PRICE
    await gateway.succeed(job.id, 1_000_000)
    assert await _booking(gateway) == Booking(PRICE, 1_000_000, 260_000)
    await gateway.succeed(job.id, 1_000_000)
    assert await _booking(gateway) == Booking(PRICE, 1_000_000, 260_000)


async def test_a_late_result_takes_back_what_was_released(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    job = await gateway.submit("ape")
    await gateway.cancel(job.id)
    await gateway.succeed(job.id, 900_000)
    assert await _booking(gateway) == Booking(PRICE, 900_000, 360_000)


async def test_models_are_counted_apart(gateway: Gateway) -> None:
    await gateway.tenant("ape")
    await gateway.submit("ape", "a/b")
    await gateway.submit("ape", "c|d", estimate=None)
    day = (await gateway.use("ape")).windows[0]
    assert {name: use.jobs for name, use in day.models.items()} == {"a/b": 1, "c|d": 1}
    assert (day.total.jobs, day.total.booking.reserved) == (2, PRICE)
