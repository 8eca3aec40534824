"""A simulated RunComfy under the test's clock, and a client for its ASGI app."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count

import httpx
import pytest

from simulator.runcomfy.app import create_runcomfy_app
from simulator.runcomfy.catalogue import load_catalogue
from simulator.runcomfy.job import DurationRange, Pace
from simulator.runcomfy.state import RunComfyState, SimulatorConfig
from tests.support.clock import SelfAdvancingClock


@pytest.fixture
def clock() -> SelfAdvancingClock:
    return SelfAdvancingClock(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.fixture
def world() -> RunComfyState:
    """A state in which a request waits 10 s and runs 20 s."""
    wait, run = timedelta(seconds=10), timedelta(seconds=20)
    numbers = count(1)
    setup = SimulatorConfig(pace=Pace(queue=DurationRange(wait, wait), run=DurationRange(run, run)))
    return RunComfyState(setup, load_catalogue(), ids=lambda: f"req-{next(numbers)}")


@pytest.fixture
async def client(
    world: RunComfyState, clock: SelfAdvancingClock
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_runcomfy_app(world, clock))
    headers = {"Authorization": "Bearer any"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sim.test", headers=headers
    ) as client:
        yield client
