"""An overview in figures. Pure; knows no Prometheus and no Redis.

What is not known, or not limited, is left out: an absent series says so more honestly than a zero.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from core.circuit_breaker import BreakerReason, BreakerState
from core.jobs.job import JobState
from core.money import MicroUsd, to_usd
from core.observability.event_metrics import MetricSample
from core.observability.gateway_state import (
    DeliveryBacklog,
    Dependencies,
    GatewayState,
    RedisHealth,
    TenantState,
)
from core.webhooks.endpoint import DisabledReason


def gauges(gateway_state: GatewayState) -> Iterator[MetricSample]:
    """Every figure of the overview."""
    yield MetricSample(
        "gateway_state_read_duration_seconds", (), gateway_state.read_duration.total_seconds()
    )
    yield from _jobs(gateway_state)
    yield from _concurrency(gateway_state)
    for tenant in gateway_state.tenants:
        yield from _tenant(tenant)
    yield from _deliveries(gateway_state.deliveries, gateway_state.read_at)
    yield from _disabled(gateway_state.tenants)
    yield from _dependencies(gateway_state.dependencies)
    yield from _store(gateway_state.redis)


def _jobs(gateway_state: GatewayState) -> Iterator[MetricSample]:
    jobs, now = gateway_state.jobs, gateway_state.read_at
    for state, count in jobs.by_state.items():
        yield MetricSample("gateway_jobs", (JobState(state),), count)
    yield MetricSample(
        "gateway_oldest_unsubmitted_job_age_seconds", (), _age(jobs.oldest_unsubmitted_at, now)
    )
    yield MetricSample(
        "gateway_oldest_in_doubt_job_age_seconds", (), _age(jobs.oldest_in_doubt_at, now)
    )
    yield MetricSample("gateway_stuck_jobs", (), jobs.stuck)


def _concurrency(gateway_state: GatewayState) -> Iterator[MetricSample]:
    slots = gateway_state.concurrency
    yield MetricSample("gateway_slots_in_use", (), slots.running)
    yield from _optional("gateway_slots_limit", slots.limits.running)
    yield MetricSample("gateway_pauses", (), slots.pauses)
    for model, count in slots.by_model.items():
        yield MetricSample("gateway_model_slots_in_use", (model,), count)
    for model, limit in slots.limits.models:
        yield MetricSample("gateway_model_slots_limit", (model,), limit)


def _tenant(tenant: TenantState) -> Iterator[MetricSample]:
    name = tenant.name
    yield MetricSample("gateway_waiting_jobs", (name,), tenant.waiting)
    yield MetricSample("gateway_tenant_slots_in_use", (name,), tenant.running)
    yield from _optional("gateway_tenant_slots_limit", tenant.slot_limit, name)
    for use in tenant.windows:
        labels = (name, use.window)
        yield MetricSample("gateway_tenant_jobs", labels, use.jobs)
        for booking in ("settled", "released", "held"):
            amount = to_usd(getattr(use.reservations, booking))
            yield MetricSample("gateway_tenant_cost_usd", (*labels, booking), amount)
        yield MetricSample(
            "gateway_tenant_cost_usd", (*labels, "saved"), to_usd(MicroUsd(use.cost_saved))
        )
        if use.budget is not None:
            yield MetricSample("gateway_tenant_budget_usd", labels, to_usd(use.budget))
            left = MicroUsd(use.budget - use.reservations.used)
            yield MetricSample("gateway_tenant_budget_remaining_usd", labels, to_usd(left))


def _deliveries(backlog: DeliveryBacklog, now: datetime) -> Iterator[MetricSample]:
    yield MetricSample("gateway_deliveries_pending", (), backlog.pending)
    yield MetricSample("gateway_deliveries_in_progress", (), backlog.in_flight)
    yield MetricSample("gateway_deliveries_due", (), backlog.due)
    yield MetricSample("gateway_endpoints_pending", (), backlog.endpoints)
    yield MetricSample("gateway_endpoints_backing_off", (), backlog.paused)
    age = _age(backlog.oldest_due_at, now)
    yield MetricSample("gateway_oldest_due_delivery_age_seconds", (), age)


def _disabled(tenants: Sequence[TenantState]) -> Iterator[MetricSample]:
    counts = Counter(reason for tenant in tenants for reason in tenant.disabled_reasons)
    for reason in DisabledReason:
        yield MetricSample("gateway_disabled_endpoints", (reason,), counts[reason])


def _dependencies(dependencies: Dependencies) -> Iterator[MetricSample]:
    wallet, breaker = dependencies.account_balance, dependencies.circuit_breaker
    yield from _optional_usd("gateway_account_balance_usd", wallet.balance)
    yield from _optional_usd("gateway_account_minimum_balance_usd", wallet.minimum)
    yield from _optional_usd("gateway_account_spend_usd_per_hour", wallet.burn_per_hour)
    yield from _optional_timestamp("gateway_account_balance_read_timestamp_seconds", wallet.read_at)
    for state in BreakerState:
        yield MetricSample("gateway_circuit_breaker_state", (state,), breaker.state is state)
    stopped = breaker.state is not BreakerState.CLOSED
    for reason in BreakerReason:
        yield MetricSample(
            "gateway_circuit_breaker_open", (reason,), stopped and breaker.reason is reason
        )
    yield from _optional_timestamp(
        "gateway_catalogue_read_timestamp_seconds", dependencies.catalogue_read_at
    )
    yield MetricSample("gateway_catalogue_models", (), dependencies.catalogue_models)
    yield MetricSample("gateway_workers", (), dependencies.workers)


def _store(health: RedisHealth) -> Iterator[MetricSample]:
    yield from _optional("gateway_redis_memory_bytes", health.memory)
    yield from _optional("gateway_redis_memory_limit_bytes", health.memory_limit)
    yield from _optional("gateway_redis_clients", health.clients)
    yield from _optional("gateway_redis_keys", health.keys)
    yield from _optional("gateway_redis_commands_total", health.commands)
    yield from _optional("gateway_redis_evicted_keys_total", health.evicted_keys)
    yield from _optional("gateway_redis_aof_enabled", health.aof)
    yield from _optional("gateway_redis_aof_last_write_ok", health.aof_write_ok)
    if health.uptime is not None:
        yield MetricSample("gateway_redis_uptime_seconds", (), health.uptime.total_seconds())


def _optional(metric: str, value: float | None, *labels: str) -> Iterator[MetricSample]:
    if value is not None:
        yield MetricSample(metric, labels, value)


def _optional_usd(metric: str, value: MicroUsd | None) -> Iterator[MetricSample]:
    if value is not None:
        yield MetricSample(metric, (), to_usd(value))


def _optional_timestamp(metric: str, at: datetime | None) -> Iterator[MetricSample]:
    if at is not None:
        yield MetricSample(metric, (), at.timestamp())


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)
