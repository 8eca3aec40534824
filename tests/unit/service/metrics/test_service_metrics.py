"""`/metrics`: counters since the start, and gauges from the store while it answers."""

from datetime import timedelta

import pytest

from core.errors import StoreUnavailable
from core.jobs.job import JobState
from core.observability.gateway_state import GatewayState, OpenJobsState, TenantState
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from service.metrics.service_metrics import STATE_MAX_AGE, ServiceMetrics
from tests.support.clock import FakeClock
from tests.support.records import NOW


class StubStateReader:
    """A store that can become unavailable."""

    def __init__(self) -> None:
        self.made = 0
        self.unavailable = False

    async def read(self) -> GatewayState:
        """Return the current state."""
        self.made += 1
        if self.unavailable:
            raise StoreUnavailable
        tenants = tuple(TenantState(name, waiting=2) for name in ("a", "b", "c"))
        return GatewayState(NOW, jobs=OpenJobsState({JobState.QUEUED: self.made}), tenants=tenants)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that does not move."""
    return FakeClock()


def open_metrics(clock: FakeClock, most: int = 9) -> tuple[ServiceMetrics, StubStateReader]:
    """The service's metrics over such a store."""
    readings = StubStateReader()
    figures = MetricsRegistry(MetricSource.SERVICE, "1.2", {"tenant": most})
    return ServiceMetrics(figures, readings.read, clock), readings


async def test_a_reading_serves_for_a_while(clock: FakeClock) -> None:
    metrics, readings = open_metrics(clock)
    first, again = await metrics.render(), await metrics.render()
    assert readings.made == 1
    assert b'gateway_jobs{state="queued"} 1.0' in first
    assert b'gateway_jobs{state="queued"} 1.0' in again
    await clock.advance(STATE_MAX_AGE + timedelta(seconds=1))
    assert b'gateway_jobs{state="queued"} 2.0' in await metrics.render()


async def test_a_store_that_is_away_shows_no_old_levels(clock: FakeClock) -> None:
    metrics, readings = open_metrics(clock)
    await metrics.render()
    await clock.advance(STATE_MAX_AGE + timedelta(seconds=1))
    readings.unavailable = True
    text = await metrics.render()
    assert b"gateway_jobs{" not in text
    assert b'gateway_build_info{process="service",version="1.2"} 1.0' in text


async def test_tenants_beyond_the_bound_are_added_up(clock: FakeClock) -> None:
    metrics, _ = open_metrics(clock, most=1)
    text = await metrics.render()
    assert b'gateway_waiting_jobs{tenant="a"} 2.0' in text
    assert b'gateway_waiting_jobs{tenant="other"} 4.0' in text


async def test_closed_counters_begin_at_zero(clock: FakeClock) -> None:
    metrics, _ = open_metrics(clock)
    text = await metrics.render()
    assert b'gateway_job_transitions_total{trigger="collected"} 0.0' in text
    assert b"_created" not in text
