"""Each test of this folder runs twice: over the twins in memory, and over a real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from core.store.client import Wire, connection_source
from core.tenants.api_keys import KeyRecord
from core.tenants.tenant import Tenant
from tests.contract.gateway import SUBJECTS
from tests.contract.shared_flight import shared_flight
from tests.contract.subjects import memory_subject, redis_policy, redis_subject
from tests.fakes.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.contract.flight import Flight
    from tests.contract.subjects import Subject

TENANTS: Final = ("ada", "bob")


@pytest.fixture(params=["memory", "redis"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Empty stores, in which two tenants have a key each."""
    clock = FakeClock()
    if request.param == "memory":
        yield await _furnished(memory_subject(clock))
        return
    url: str = request.getfixturevalue("redis_flushed")
    async with Wire(connection_source(redis_policy(url), "contract")) as wire:
        yield await _furnished(redis_subject(clock, wire))


async def _furnished(subject: Subject) -> Subject:
    now = subject.clock.now()
    for name in TENANTS:
        assert await subject.tenants.create(
            Tenant(name, now), KeyRecord(f"digest-{name}", name, now)
        )
    return subject


@pytest.fixture(params=SUBJECTS)
async def flight(request: pytest.FixtureRequest) -> AsyncIterator[Flight]:
    """Identical requests of one tenant and of two that share; Redis' books are counted again."""
    async with shared_flight(request) as flight:
        yield flight
