"""An overview in figures. Pure; knows no Prometheus and no Redis.

What is not known, or not limited, is left out: an absent series says so more honestly than a zero.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from core.circuit_breaker import BreakerReason, BreakerState
from core.jobs.job import JobState
from core.money import MicroUsd, to_usd
from core.observability.event_metrics import Sample
from core.observability.gateway_state import (
    Backlog,
    Overview,
    StoreHealth,
    Surroundings,
    TenantStanding,
)
from core.webhooks.endpoint import Disabled


def levels(overview: Overview) -> Iterator[Sample]:
    """Every figure of the overview."""
    yield Sample("gateway_state_read_duration_seconds", (), overview.took.total_seconds())
    yield from _jobs(overview)
    yield from _slots(overview)
    for tenant in overview.tenants:
        yield from _tenant(tenant)
    yield from _deliveries(overview.deliveries, overview.read_at)
    yield from _disabled(overview.tenants)
    yield from _surroundings(overview.surroundings)
    yield from _store(overview.store)


def _jobs(overview: Overview) -> Iterator[Sample]:
    jobs, now = overview.jobs, overview.read_at
    for state, count in jobs.by_state.items():
        yield Sample("gateway_jobs", (JobState(state),), count)
    yield Sample("gateway_oldest_unsubmitted_job_age_seconds", (), _age(jobs.oldest_unsent_at, now))
    yield Sample("gateway_oldest_in_doubt_job_age_seconds", (), _age(jobs.oldest_doubt_at, now))
    yield Sample("gateway_stuck_jobs", (), jobs.stuck)


def _slots(overview: Overview) -> Iterator[Sample]:
    slots = overview.slots
    yield Sample("gateway_slots_in_use", (), slots.running)
    yield from _known("gateway_slots_limit", slots.limits.running)
    yield Sample("gateway_pauses", (), slots.pauses)
    for model, count in slots.by_model.items():
        yield Sample("gateway_model_slots_in_use", (model,), count)
    for model, limit in slots.limits.models:
        yield Sample("gateway_model_slots_limit", (model,), limit)


def _tenant(tenant: TenantStanding) -> Iterator[Sample]:
    name = tenant.name
    yield Sample("gateway_waiting_jobs", (name,), tenant.waiting)
    yield Sample("gateway_tenant_slots_in_use", (name,), tenant.running)
    yield from _known("gateway_tenant_slots_limit", tenant.slots, name)
    for use in tenant.windows:
        labels = (name, use.window)
        yield Sample("gateway_tenant_jobs", labels, use.jobs)
        for booking in ("settled", "released", "held"):
            amount = to_usd(getattr(use.booking, booking))
            yield Sample("gateway_tenant_cost_usd", (*labels, booking), amount)
        yield Sample("gateway_tenant_cost_usd", (*labels, "saved"), to_usd(MicroUsd(use.saved)))
        if use.budget is not None:
            yield Sample("gateway_tenant_budget_usd", labels, to_usd(use.budget))
            left = MicroUsd(use.budget - use.booking.used)
            yield Sample("gateway_tenant_budget_remaining_usd", labels, to_usd(left))


def _deliveries(backlog: Backlog, now: datetime) -> Iterator[Sample]:
    yield Sample("gateway_deliveries_pending", (), backlog.pending)
    yield Sample("gateway_deliveries_in_progress", (), backlog.busy)
    yield Sample("gateway_deliveries_due", (), backlog.due)
    yield Sample("gateway_endpoints_pending", (), backlog.endpoints)
    yield Sample("gateway_endpoints_backing_off", (), backlog.held_back)
    age = _age(backlog.oldest_due_at, now)
    yield Sample("gateway_oldest_due_delivery_age_seconds", (), age)


def _disabled(tenants: Sequence[TenantStanding]) -> Iterator[Sample]:
    counts = Counter(reason for tenant in tenants for reason in tenant.disabled)
    for reason in Disabled:
        yield Sample("gateway_disabled_endpoints", (reason,), counts[reason])


def _surroundings(known: Surroundings) -> Iterator[Sample]:
    wallet, breaker = known.wallet, known.breaker
    yield from _known_usd("gateway_account_balance_usd", wallet.balance)
    yield from _known_usd("gateway_account_minimum_balance_usd", wallet.floor)
    yield from _known_usd("gateway_account_spend_usd_per_hour", wallet.burn_per_hour)
    yield from _instant("gateway_account_balance_read_timestamp_seconds", wallet.read_at)
    for state in BreakerState:
        yield Sample("gateway_circuit_breaker_state", (state,), breaker.state is state)
    stopped = breaker.state is not BreakerState.CLOSED
    for reason in BreakerReason:
        yield Sample(
            "gateway_circuit_breaker_open", (reason,), stopped and breaker.reason is reason
        )
    yield from _instant("gateway_catalogue_read_timestamp_seconds", known.catalogue_read_at)
    yield Sample("gateway_catalogue_models", (), known.catalogue_models)
    yield Sample("gateway_workers", (), known.workers)


def _store(health: StoreHealth) -> Iterator[Sample]:
    yield from _known("gateway_redis_memory_bytes", health.memory)
    yield from _known("gateway_redis_memory_limit_bytes", health.memory_limit)
    yield from _known("gateway_redis_clients", health.clients)
    yield from _known("gateway_redis_keys", health.keys)
    yield from _known("gateway_redis_commands_total", health.commands)
    yield from _known("gateway_redis_evicted_keys_total", health.evicted_keys)
    yield from _known("gateway_redis_aof_enabled", health.aof)
    yield from _known("gateway_redis_aof_last_write_ok", health.aof_write_ok)
    if health.uptime is not None:
        yield Sample("gateway_redis_uptime_seconds", (), health.uptime.total_seconds())


def _known(series: str, value: float | None, *labels: str) -> Iterator[Sample]:
    if value is not None:
        yield Sample(series, labels, value)


def _known_usd(series: str, value: MicroUsd | None) -> Iterator[Sample]:
    if value is not None:
        yield Sample(series, (), to_usd(value))


def _instant(series: str, at: datetime | None) -> Iterator[Sample]:
    if at is not None:
        yield Sample(series, (), at.timestamp())


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
