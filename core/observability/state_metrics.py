"""The metrics that are read from Redis: name, labels, help, and the part of the state they show.

A value that is unknown, or a limit that is not set, is left out: a 0 would be wrong, and an absent
series makes the alert expressions that compare with it false.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from core.jobs.job import OPEN_STATES, WaitingFor
from core.money import MicroUsd, to_usd, usd_or_none
from core.observability.gateway_state import GatewayState, TenantState, WindowState
from core.observability.metric_types import (
    MODEL,
    TENANT,
    Label,
    MetricDefinition,
    MetricKind,
    MetricSource,
    Reading,
    StateReader,
    closed_label,
)
from core.tenants.windows import Window
from core.upstream.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from core.upstream.circuits import ACCOUNT, BALANCE, circuit_kind
from core.upstream.circuits import MODEL as MODEL_CIRCUIT
from core.webhooks.endpoint import DisabledReason

_WINDOW: Final = closed_label("window", *Window)


def _state(name: str, text: str, value: Callable[[GatewayState], float | None]) -> MetricDefinition:
    """Return a gauge without labels."""

    def read(state: GatewayState) -> Iterable[Reading]:
        number = value(state)
        return () if number is None else (((), number),)

    return _state_by(name, text, (), read)


def _state_by(
    name: str, text: str, labels: tuple[Label, ...], read: StateReader
) -> MetricDefinition:
    kind = MetricKind.COUNTER if name.endswith("_total") else MetricKind.GAUGE
    return MetricDefinition(name, kind, MetricSource.STATE, text, labels, read_state=read)


def _age(since: datetime | None, state: GatewayState) -> float:
    return 0.0 if since is None else max((state.read_at - since).total_seconds(), 0.0)


def _timestamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _per_tenant(
    name: str, text: str, value: Callable[[TenantState], float | None]
) -> MetricDefinition:
    """Return a gauge with one value per tenant."""

    def read(state: GatewayState) -> Iterator[Reading]:
        for tenant in state.tenants:
            number = value(tenant)
            if number is not None:
                yield (tenant.name,), number

    return _state_by(name, text, (TENANT,), read)


def _per_window(
    name: str, text: str, value: Callable[[WindowState], float | None]
) -> MetricDefinition:
    """Return a gauge with one value per tenant and usage window."""

    def read(state: GatewayState) -> Iterator[Reading]:
        for tenant in state.tenants:
            for window in tenant.windows:
                number = value(window)
                if number is not None:
                    yield (tenant.name, window.window), number

    return _state_by(name, text, (TENANT, _WINDOW), read)


_JOB_STATE: Final = (
    _state_by(
        "gateway_jobs",
        "Open jobs, by state.",
        (closed_label("state", *OPEN_STATES),),
        lambda state: (((one,), count) for one, count in state.jobs.by_state.items()),
    ),
    _state(
        "gateway_oldest_unsubmitted_job_age_seconds",
        "Age of the oldest job that RunComfy has not received yet; 0 without one.",
        lambda state: _age(state.jobs.oldest_unsubmitted_at, state),
    ),
    _state(
        "gateway_oldest_in_doubt_job_age_seconds",
        "How long the oldest in-doubt submit has waited for an operator; 0 without one.",
        lambda state: _age(state.jobs.oldest_in_doubt_at, state),
    ),
    _state(
        "gateway_stuck_jobs",
        "Jobs more than 60 s past their due time.",
        lambda state: state.jobs.stuck,
    ),
    _state(
        "gateway_unreadable_jobs",
        "Jobs whose record this release cannot read; no worker processes them.",
        lambda state: state.jobs.unreadable,
    ),
    _state(
        "gateway_unarchived_jobs",
        "Jobs whose outputs are still to be kept.",
        lambda state: state.jobs.unarchived,
    ),
    _state(
        "gateway_oldest_unarchived_job_age_seconds",
        "How long RunComfy has had the oldest output that is still to be kept; it deletes it after "
        "7 days. 0 without one.",
        lambda state: _age(state.jobs.oldest_unarchived_at, state),
    ),
    _state_by(
        "gateway_jobs_waiting_for",
        "Queued jobs that wait for something other than their turn, by what they wait for.",
        (closed_label("waiting_for", *WaitingFor),),
        lambda state: (((one,), state.jobs.waiting_for.get(one, 0)) for one in WaitingFor),
    ),
    _per_tenant(
        "gateway_waiting_jobs", "Jobs that wait for a slot.", lambda tenant: tenant.waiting
    ),
    _state(
        "gateway_slots_in_use", "Slots in use, in total.", lambda state: state.concurrency.running
    ),
    _state(
        "gateway_slots_limit",
        "Slots in total; absent without a limit.",
        lambda state: state.concurrency.limits.running,
    ),
    _state(
        "gateway_unlabelled_tenants",
        "Tenants beyond `GATEWAY_METRICS__MAX_TENANTS`, of which nothing is shown here.",
        lambda state: state.unlabelled_tenants,
    ),
    _per_tenant(
        "gateway_tenant_slots_in_use", "A tenant's slots in use.", lambda tenant: tenant.running
    ),
    _per_tenant(
        "gateway_tenant_slots_limit",
        "A tenant's slots; absent without a limit.",
        lambda tenant: tenant.slot_limit,
    ),
    _per_tenant(
        "gateway_tenant_stored_bytes",
        "What a tenant's files take of the storage: uploads, kept outputs, large inputs.",
        lambda tenant: tenant.stored_bytes,
    ),
    _per_tenant(
        "gateway_tenant_stored_bytes_limit",
        "What a tenant's files may take, its limit `storage_bytes`; absent without one.",
        lambda tenant: tenant.stored_bytes_limit,
    ),
    _state_by(
        "gateway_model_slots_in_use",
        "A model's slots in use.",
        (MODEL,),
        lambda state: (((one,), count) for one, count in state.concurrency.by_model.items()),
    ),
    _state_by(
        "gateway_model_slots_limit",
        "A model's slots; absent without a limit.",
        (MODEL,),
        lambda state: (((one,), limit) for one, limit in state.concurrency.limits.models),
    ),
    _state(
        "gateway_pauses", "Pauses that operators have set.", lambda state: state.concurrency.pauses
    ),
    _state(
        "gateway_oldest_pause_age_seconds",
        "How long the oldest pause has held; 0 without one.",
        lambda state: _age(state.concurrency.oldest_pause_at, state),
    ),
)


def _disabled_endpoints(state: GatewayState) -> Iterator[Reading]:
    for tenant in state.tenants:
        for reason, count in Counter(tenant.disabled_reasons).items():
            yield (tenant.name, reason), count


_WEBHOOK_STATE: Final = (
    _state(
        "gateway_deliveries_pending",
        "Deliveries with attempts to come, of the 500 endpoints that are due first.",
        lambda state: state.deliveries.pending,
    ),
    _state(
        "gateway_deliveries_in_progress",
        "Deliveries that a worker is sending.",
        lambda state: state.deliveries.in_flight,
    ),
    _state(
        "gateway_deliveries_due",
        "Due deliveries of endpoints that are not backing off.",
        lambda state: state.deliveries.due,
    ),
    _state(
        "gateway_endpoints_pending",
        "Endpoints with pending deliveries.",
        lambda state: state.deliveries.endpoints,
    ),
    _state(
        "gateway_endpoints_backing_off",
        "Of these, endpoints that get no attempt now: they failed, or sent `Retry-After`.",
        lambda state: state.deliveries.paused,
    ),
    _state_by(
        "gateway_disabled_endpoints",
        "A tenant's disabled endpoints, by reason; absent without any.",
        (TENANT, closed_label("reason", *DisabledReason)),
        _disabled_endpoints,
    ),
    _state(
        "gateway_oldest_due_delivery_age_seconds",
        "How long the oldest due delivery has been due; 0 without one.",
        lambda state: _age(state.deliveries.oldest_due_at, state),
    ),
    _state(
        "gateway_unreadable_deliveries",
        "Deliveries whose record this release cannot read; no worker sends them.",
        lambda state: state.deliveries.unreadable,
    ),
)


def _tenant_cost(state: GatewayState) -> Iterator[Reading]:
    for tenant in state.tenants:
        for one in tenant.windows:
            amounts = {
                "settled": one.reservations.settled,
                "released": one.reservations.released,
                "held": one.reservations.held,
                "saved": one.cost_saved,
            }
            for part, amount in amounts.items():
                yield (tenant.name, one.window, part), to_usd(MicroUsd(amount))


def _budget_remaining(window: WindowState) -> float | None:
    if window.budget is None:
        return None
    return to_usd(MicroUsd(window.budget - window.reservations.used))


def _breaker_state(state: GatewayState) -> Iterator[Reading]:
    breaker = state.dependencies.circuit_breakers.get(ACCOUNT, CircuitBreaker())
    for one in BreakerState:
        yield (one,), breaker.state is one


def _breaker_open(state: GatewayState) -> Iterator[Reading]:
    breakers = state.dependencies.circuit_breakers
    shared = [breakers.get(name, CircuitBreaker()) for name in (ACCOUNT, BALANCE)]
    stopped = {one.reason for one in shared if one.state is not BreakerState.CLOSED}
    for reason in BreakerReason:
        yield (reason,), reason in stopped


def _model_breaker_open(state: GatewayState) -> Iterator[Reading]:
    for name, breaker in state.dependencies.circuit_breakers.items():
        if circuit_kind(name) == MODEL_CIRCUIT and breaker.state is not BreakerState.CLOSED:
            yield (name.partition(":")[2],), True


def _missing_balance(state: GatewayState) -> float:
    """Return the price of the jobs that wait for the balance, less the balance."""
    available = max(state.dependencies.account_balance.balance or 0, 0)
    return to_usd(MicroUsd(max(state.jobs.waiting_price - available, 0)))


_COST_AND_UPSTREAM_STATE: Final = (
    _state_by(
        "gateway_tenant_cost_usd",
        "A tenant's cost in its current day, month and other budgeted windows, in USD.",
        (TENANT, _WINDOW, closed_label("type", "settled", "released", "held", "saved")),
        _tenant_cost,
    ),
    _per_window(
        "gateway_tenant_jobs",
        "A tenant's jobs in its current day, month and other budgeted windows.",
        lambda window: window.jobs,
    ),
    _per_window(
        "gateway_tenant_budget_usd",
        "A tenant's budget in USD; absent without one.",
        lambda window: usd_or_none(window.budget),
    ),
    _per_window(
        "gateway_tenant_budget_remaining_usd",
        "The unused part of a tenant's budget in USD; absent without one.",
        _budget_remaining,
    ),
    _state(
        "gateway_account_balance_usd",
        "RunComfy's account balance in USD, as last read.",
        lambda state: usd_or_none(state.dependencies.account_balance.balance),
    ),
    _state(
        "gateway_account_minimum_balance_usd",
        "The account balance in USD below which no submit is admitted.",
        lambda state: usd_or_none(state.dependencies.account_balance.minimum),
    ),
    _state(
        "gateway_account_spend_usd_per_hour",
        "How fast the account balance falls; absent until two reads were made.",
        lambda state: usd_or_none(state.dependencies.account_balance.burn_per_hour),
    ),
    _state(
        "gateway_account_balance_read_timestamp_seconds",
        "When the account balance was last read.",
        lambda state: _timestamp(state.dependencies.account_balance.read_at),
    ),
    _state_by(
        "gateway_circuit_breaker_state",
        "1 for the present state of the account's circuit breaker for submits, 0 for the others.",
        (closed_label("state", *BreakerState),),
        _breaker_state,
    ),
    _state_by(
        "gateway_circuit_breaker_open",
        "1 for the reason while the account's or the balance's circuit breaker stops submits, "
        "else 0.",
        (closed_label("reason", *BreakerReason),),
        _breaker_open,
    ),
    _state_by(
        "gateway_model_circuit_breaker_open",
        "1 while the circuit breaker of a model stops its submits; absent otherwise.",
        (MODEL,),
        _model_breaker_open,
    ),
    _state(
        "gateway_account_balance_missing_usd",
        "Price of the jobs that wait for RunComfy's balance, less that balance, in USD.",
        _missing_balance,
    ),
    _state(
        "gateway_catalogue_read_timestamp_seconds",
        "When the model catalogue was last read.",
        lambda state: _timestamp(state.dependencies.catalogue_read_at),
    ),
    _state(
        "gateway_catalogue_models",
        "Models in the catalogue.",
        lambda state: state.dependencies.catalogue_models,
    ),
    _state(
        "gateway_workers",
        "Workers with a heartbeat in the last 30 s.",
        lambda state: state.dependencies.workers,
    ),
)


def _uptime(state: GatewayState) -> float | None:
    return None if state.redis.uptime is None else state.redis.uptime.total_seconds()


_REDIS_STATE: Final = (
    _state(
        "gateway_redis_memory_bytes", "Memory that Redis uses.", lambda state: state.redis.memory
    ),
    _state(
        "gateway_redis_memory_limit_bytes",
        "Redis's `maxmemory`; 0 without one.",
        lambda state: state.redis.memory_limit,
    ),
    _state("gateway_redis_clients", "Connections to Redis.", lambda state: state.redis.clients),
    _state("gateway_redis_keys", "Keys in Redis.", lambda state: state.redis.keys),
    _state(
        "gateway_redis_commands_total",
        "Commands that Redis processed.",
        lambda state: state.redis.commands,
    ),
    _state(
        "gateway_redis_evicted_keys_total",
        "Keys that Redis evicted because of `maxmemory`.",
        lambda state: state.redis.evicted_keys,
    ),
    _state(
        "gateway_redis_aof_enabled",
        "1 if Redis keeps an append-only file, else 0.",
        lambda state: state.redis.aof,
    ),
    _state(
        "gateway_redis_aof_last_write_ok",
        "1 if the last write to the append-only file succeeded, else 0.",
        lambda state: state.redis.aof_write_ok,
    ),
    _state("gateway_redis_uptime_seconds", "Time since Redis started.", _uptime),
    _state(
        "gateway_state_read_duration_seconds",
        "Time that the read of these metrics took.",
        lambda state: state.read_duration.total_seconds(),
    ),
)

STATE_METRICS: Final = (
    *_JOB_STATE,
    *_WEBHOOK_STATE,
    *_COST_AND_UPSTREAM_STATE,
    *_REDIS_STATE,
)
