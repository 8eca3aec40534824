"""Tenants that share identical requests, and reads that their tests need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import pytest

from core.billing.settlement import ReservationTotals
from core.jobs.job import Job
from core.tenants.cache_policy import TenantCachePolicy
from tests.support.coalescing import SECOND, CoalescingHarness
from tests.support.consistency import find_inconsistencies
from tests.support.redis import redis_client
from tests.support.store_harness import open_harness, redis_harness

SHARED: Final = TenantCachePolicy(shared=True)


@asynccontextmanager
async def open_coalescing(request: pytest.FixtureRequest) -> AsyncIterator[CoalescingHarness]:
    """A harness with one tenant alone and two that share. Checks Redis's counters at the end."""
    if request.param == "memory":
        async with open_harness("memory", request) as gateway:
            yield await _create_tenants(CoalescingHarness(gateway))
        return
    login, admin = map(request.getfixturevalue, ("gateway_url", "redis_url"))
    async with redis_client(login) as wire, redis_client(admin) as auditing:
        flight = await _create_tenants(CoalescingHarness(redis_harness(wire)))
        yield flight
        assert flight.deleted or await find_inconsistencies(auditing) == []


async def _create_tenants(coalescing: CoalescingHarness) -> CoalescingHarness:
    await coalescing.stores.tenant("ape")
    for name in ("bee", "cow"):
        await coalescing.stores.tenant(name, cache_policy=SHARED)
    return coalescing


async def totals_for(coalescing: CoalescingHarness, tenant: str = "ape") -> ReservationTotals:
    return (await coalescing.stores.usage_of(tenant)).windows[0].total.reservations


async def due_jobs(coalescing: CoalescingHarness) -> set[str]:
    """Claim the ids of the due jobs, with a lease of one second."""
    return {job.id for job in await coalescing.stores.jobs.claim_due(SECOND, 100)}


async def leader_with_followers(coalescing: CoalescingHarness, size: int = 3) -> list[Job]:
    """A leader and its followers, the last of which has the latest deadline."""
    now = coalescing.stores.clock.now()
    return [
        await coalescing.submit_job(deadline=now + (number + 1) * timedelta(hours=1))
        for number in range(size)
    ]
