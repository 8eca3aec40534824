"""Identical requests of tenants who share them, and what tests of those look at."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from core.tenants.cache_policy import ReusePolicy
from tests.contract.flight import SECOND, Flight
from tests.contract.gateway import gateway_of, in_redis, wire_to
from tests.integration.recount import breaches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from core.billing.settlement import Booking
    from core.jobs.job import Job

SHARED: Final = ReusePolicy(shared=True)


@asynccontextmanager
async def shared_flight(request: pytest.FixtureRequest) -> AsyncIterator[Flight]:
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


async def booking(flight: Flight, tenant: str = "ape") -> Booking:
    return (await flight.gateway.use(tenant)).windows[0].total.booking


async def due(flight: Flight) -> set[str]:
    """Who must be looked at now; looked at again a second later."""
    return {job.id for job in await flight.gateway.jobs.claim_due(SECOND, 100)}


async def crew_of(flight: Flight, size: int = 3) -> list[Job]:
    """A job and those that follow it; the last of them has the latest deadline."""
    now = flight.gateway.clock.now()
    return [
        await flight.join(finish_by=now + (number + 1) * timedelta(hours=1))
        for number in range(size)
    ]
