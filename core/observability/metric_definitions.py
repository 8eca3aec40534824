"""Every figure that the gateway shows, once: names, kinds, labels, help. Plain data.

Knows no Prometheus and no event; `core.observability.event_metrics` fills it, `docs/metrics.md` is
generated from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.circuit_breaker import BreakerReason, BreakerState
from core.jobs.job import OPEN_STATES, Trigger
from core.observability.metric_labels import (
    DELIVERY_OUTCOMES,
    ENDED_DELIVERY_STATES,
    FINAL_STATE,
    LOOP,
    MODEL,
    POLL_OUTCOMES,
    PROCESS,
    RESERVATION_PARTS,
    ROUTE,
    SETTLED_STATUSES,
    SUBMISSION_RESULTS,
    SUBMIT_OUTCOMES,
    TENANT,
    UPSTREAM_CALLS,
    UPSTREAM_FAULTS,
    WARNING_CODE,
    WINDOW,
    Label,
    closed_label,
)
from core.tenants.cache_policy import CacheStatus
from core.webhooks.endpoint import DisabledReason


class MetricKind(StrEnum):
    """Prometheus's own kinds."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSource(StrEnum):
    """Who shows a series."""

    SERVICE = "service"
    WORKER = "worker"
    BOTH = "both"
    """Each process shows what it did itself."""
    REDIS = "state"
    """Every service shows the same, read from Redis: take the `max`, never the `sum`."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One figure. `buckets` are a histogram's upper bounds, in the unit that the name ends with."""

    name: str
    kind: MetricKind
    source: MetricSource
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus_names(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        if self.kind is not MetricKind.HISTOGRAM:
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


_HTTP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_CALL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_JOB_BUCKETS: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0)
_LAG_BUCKETS: Final = (
    0.25,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    900.0,
    3600.0,
)
_REDIS_BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 3.0)
_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM
_SVC, _WRK, _BOTH, _REDIS = (
    MetricSource.SERVICE,
    MetricSource.WORKER,
    MetricSource.BOTH,
    MetricSource.REDIS,
)

METRIC_DEFINITIONS: Final[Sequence[MetricDefinition]] = (
    # The process
    MetricDefinition(
        "gateway_build_info",
        _G,
        _BOTH,
        "Which version runs; always 1.",
        (PROCESS, Label("version", max_values=5)),
    ),
    MetricDefinition("gateway_redis_up", _G, _BOTH, "Whether Redis answers this process."),
    MetricDefinition(
        "gateway_redis_disconnects_total", _C, _BOTH, "Times that Redis stopped answering."
    ),
    MetricDefinition(
        "gateway_redis_round_trip_duration_seconds",
        _H,
        _BOTH,
        "Round trips to Redis.",
        buckets=_REDIS_BUCKETS,
    ),
    MetricDefinition(
        "gateway_warnings_total", _C, _BOTH, "What an operator should read of.", (WARNING_CODE,)
    ),
    # The face
    MetricDefinition(
        "gateway_http_requests_total",
        _C,
        _SVC,
        "HTTP calls answered, by route template.",
        (ROUTE, Label("method", max_values=10), Label("status", max_values=60)),
    ),
    MetricDefinition(
        "gateway_http_request_duration_seconds",
        _H,
        _SVC,
        "Time to the end of an answer, without what the caller asked to wait for a job.",
        (ROUTE,),
        _HTTP_BUCKETS,
    ),
    MetricDefinition(
        "gateway_submissions_total",
        _C,
        _SVC,
        "Submits by what became of them: `accepted`, or the problem's code.",
        (Label("outcome", max_values=60),),
    ),
    MetricDefinition(
        "gateway_submission_duration_seconds",
        _H,
        _SVC,
        "Time to answer a submit.",
        (closed_label("result", *SUBMISSION_RESULTS),),
        _HTTP_BUCKETS,
    ),
    MetricDefinition(
        "gateway_job_subscriptions", _G, _SVC, "Callers that wait for a job or follow its events."
    ),
    MetricDefinition("gateway_jobs_admitted_total", _C, _SVC, "Jobs taken in.", (TENANT, MODEL)),
    MetricDefinition(
        "gateway_cost_reserved_usd_total",
        _C,
        _SVC,
        "Estimated cost of the jobs taken in, in USD.",
        (TENANT, MODEL),
    ),
    MetricDefinition(
        "gateway_cache_requests_total",
        _C,
        _SVC,
        "Accepted submits by what they found of their like: a result, a job under way to join, "
        "nothing; it was off; or the key of a submit before.",
        (closed_label("result", *CacheStatus),),
    ),
    MetricDefinition(
        "gateway_cost_saved_usd_total",
        _C,
        _BOTH,
        "What jobs did not cost since another had paid, in USD.",
        (TENANT, MODEL),
    ),
    MetricDefinition(
        "gateway_batches_total",
        _C,
        _BOTH,
        "Batches by how far they came: taken in, or ended and told of.",
        (closed_label("phase", "admitted", "ended"),),
    ),
    # A job's life
    MetricDefinition(
        "gateway_job_transitions_total",
        _C,
        _BOTH,
        "Facts that moved jobs.",
        (closed_label("trigger", *Trigger),),
    ),
    MetricDefinition(
        "gateway_jobs_ended_total", _C, _BOTH, "Jobs that ended.", (TENANT, MODEL, FINAL_STATE)
    ),
    MetricDefinition(
        "gateway_job_duration_seconds",
        _H,
        _BOTH,
        "From admission to a job's end.",
        (FINAL_STATE,),
        _JOB_BUCKETS,
    ),
    MetricDefinition(
        "gateway_job_start_delay_seconds",
        _H,
        _WRK,
        "From admission to RunComfy's acceptance, waiting for a slot included.",
        buckets=_LAG_BUCKETS,
    ),
    MetricDefinition(
        "gateway_job_run_duration_seconds",
        _H,
        _WRK,
        "From RunComfy's acceptance to a success.",
        (MODEL,),
        _JOB_BUCKETS,
    ),
    MetricDefinition(
        "gateway_detection_lag_seconds",
        _H,
        _WRK,
        "From RunComfy's `finished_at` to our record of the end.",
        (MODEL,),
        _LAG_BUCKETS,
    ),
    MetricDefinition(
        "gateway_job_overhead_seconds",
        _H,
        _WRK,
        "A finished job without RunComfy: before its acceptance and after its end.",
        buckets=_LAG_BUCKETS,
    ),
    MetricDefinition(
        "gateway_cost_settled_usd_total",
        _C,
        _BOTH,
        "What ended jobs came to in USD: told by RunComfy, counted by estimate, or given back.",
        (TENANT, MODEL, closed_label("settlement", *SETTLED_STATUSES)),
    ),
    # RunComfy
    MetricDefinition(
        "gateway_upstream_submits_total",
        _C,
        _WRK,
        "Paid submits by what they met.",
        (closed_label("outcome", *SUBMIT_OUTCOMES),),
    ),
    MetricDefinition(
        "gateway_upstream_call_duration_seconds",
        _H,
        _WRK,
        "Calls to RunComfy.",
        (closed_label("call", *UPSTREAM_CALLS), closed_label("outcome", "ok", *UPSTREAM_FAULTS)),
        _CALL_BUCKETS,
    ),
    MetricDefinition(
        "gateway_polls_total",
        _C,
        _WRK,
        "Polls of running jobs.",
        (MODEL, closed_label("outcome", *POLL_OUTCOMES)),
    ),
    MetricDefinition(
        "gateway_circuit_breaker_transitions_total",
        _C,
        _WRK,
        "Changes of the breaker over submits.",
        (closed_label("state", *BreakerState),),
    ),
    # Callbacks
    MetricDefinition(
        "gateway_delivery_attempt_duration_seconds",
        _H,
        _WRK,
        "Attempts at callbacks.",
        (closed_label("outcome", *DELIVERY_OUTCOMES),),
        _CALL_BUCKETS,
    ),
    MetricDefinition(
        "gateway_deliveries_ended_total",
        _C,
        _WRK,
        "Callbacks that need no further attempt.",
        (TENANT, closed_label("state", *ENDED_DELIVERY_STATES)),
    ),
    MetricDefinition(
        "gateway_delivery_lag_seconds",
        _H,
        _WRK,
        "From the event to the receiver's 2xx.",
        buckets=_LAG_BUCKETS,
    ),
    MetricDefinition(
        "gateway_endpoints_disabled_total",
        _C,
        _WRK,
        "Endpoints that get nothing any more, by why.",
        (closed_label("reason", *DisabledReason),),
    ),
    MetricDefinition(
        "gateway_worker_tasks_in_progress", _G, _WRK, "Items that this worker has in hand.", (LOOP,)
    ),
    MetricDefinition(
        "gateway_worker_tasks_limit", _G, _WRK, "Items that it may have in hand.", (LOOP,)
    ),
    # What Redis holds
    MetricDefinition(
        "gateway_jobs", _G, _REDIS, "Open jobs.", (closed_label("state", *OPEN_STATES),)
    ),
    MetricDefinition(
        "gateway_oldest_unsubmitted_job_age_seconds",
        _G,
        _REDIS,
        "Age of the oldest job that RunComfy has not got yet; 0 without one.",
    ),
    MetricDefinition(
        "gateway_oldest_in_doubt_job_age_seconds",
        _G,
        _REDIS,
        "How long the oldest submit in doubt waits for a person; 0 without one.",
    ),
    MetricDefinition(
        "gateway_stuck_jobs", _G, _REDIS, "Jobs that nobody looked at for 60 s after it was time."
    ),
    MetricDefinition("gateway_waiting_jobs", _G, _REDIS, "Jobs that wait for a slot.", (TENANT,)),
    MetricDefinition("gateway_slots_in_use", _G, _REDIS, "Slots in use, in all."),
    MetricDefinition("gateway_slots_limit", _G, _REDIS, "Slots in all; absent without a limit."),
    MetricDefinition("gateway_tenant_slots_in_use", _G, _REDIS, "Slots in use.", (TENANT,)),
    MetricDefinition(
        "gateway_tenant_slots_limit", _G, _REDIS, "A tenant's slots, if limited.", (TENANT,)
    ),
    MetricDefinition("gateway_model_slots_in_use", _G, _REDIS, "Slots in use.", (MODEL,)),
    MetricDefinition(
        "gateway_model_slots_limit", _G, _REDIS, "A model's slots, if limited.", (MODEL,)
    ),
    MetricDefinition("gateway_pauses", _G, _REDIS, "Pauses that operators set."),
    MetricDefinition(
        "gateway_deliveries_pending",
        _G,
        _REDIS,
        "Callbacks that will be tried (again), of the 500 endpoints that are looked at next.",
    ),
    MetricDefinition("gateway_deliveries_in_progress", _G, _REDIS, "Callbacks in couriers' hands."),
    MetricDefinition(
        "gateway_deliveries_due",
        _G,
        _REDIS,
        "Callbacks whose time has come, and whose endpoint is not held back.",
    ),
    MetricDefinition("gateway_endpoints_pending", _G, _REDIS, "Endpoints with callbacks to come."),
    MetricDefinition(
        "gateway_endpoints_backing_off",
        _G,
        _REDIS,
        "Of these, endpoints that get nothing for now: they failed, or asked for a pause.",
    ),
    MetricDefinition(
        "gateway_disabled_endpoints",
        _G,
        _REDIS,
        "Endpoints of the tenants that are named that get nothing any more, by why.",
        (closed_label("reason", *DisabledReason),),
    ),
    MetricDefinition(
        "gateway_oldest_due_delivery_age_seconds",
        _G,
        _REDIS,
        "How long the callback that is due longest has been due; 0 without one.",
    ),
    MetricDefinition(
        "gateway_tenant_cost_usd",
        _G,
        _REDIS,
        "A tenant's money in the present day or month (UTC), in USD.",
        (TENANT, WINDOW, closed_label("type", *RESERVATION_PARTS)),
    ),
    MetricDefinition(
        "gateway_tenant_jobs",
        _G,
        _REDIS,
        "A tenant's jobs in the present day or month (UTC).",
        (TENANT, WINDOW),
    ),
    MetricDefinition(
        "gateway_tenant_budget_usd",
        _G,
        _REDIS,
        "A tenant's budget in USD, if any.",
        (TENANT, WINDOW),
    ),
    MetricDefinition(
        "gateway_tenant_budget_remaining_usd",
        _G,
        _REDIS,
        "What is left of a tenant's budget in USD.",
        (TENANT, WINDOW),
    ),
    MetricDefinition(
        "gateway_account_balance_usd", _G, _REDIS, "RunComfy's balance in USD, as last read."
    ),
    MetricDefinition(
        "gateway_account_minimum_balance_usd", _G, _REDIS, "Below it no submit is admitted, in USD."
    ),
    MetricDefinition(
        "gateway_account_spend_usd_per_hour",
        _G,
        _REDIS,
        "How fast the balance falls; absent before it is known.",
    ),
    MetricDefinition(
        "gateway_account_balance_read_timestamp_seconds",
        _G,
        _REDIS,
        "When the balance was last read.",
    ),
    MetricDefinition(
        "gateway_circuit_breaker_state",
        _G,
        _REDIS,
        "1 for the state of the breaker over submits.",
        (closed_label("state", *BreakerState),),
    ),
    MetricDefinition(
        "gateway_circuit_breaker_open",
        _G,
        _REDIS,
        "1 for the reason while submits are stopped.",
        (closed_label("reason", *BreakerReason),),
    ),
    MetricDefinition(
        "gateway_catalogue_read_timestamp_seconds", _G, _REDIS, "When the catalogue was last read."
    ),
    MetricDefinition("gateway_catalogue_models", _G, _REDIS, "Models in the catalogue."),
    MetricDefinition("gateway_workers", _G, _REDIS, "Workers seen within 30 s."),
    # Redis itself
    MetricDefinition("gateway_redis_memory_bytes", _G, _REDIS, "Memory that Redis uses."),
    MetricDefinition(
        "gateway_redis_memory_limit_bytes", _G, _REDIS, "Its `maxmemory`; 0 without one."
    ),
    MetricDefinition("gateway_redis_clients", _G, _REDIS, "Connections to Redis."),
    MetricDefinition("gateway_redis_keys", _G, _REDIS, "Keys in Redis."),
    MetricDefinition(
        "gateway_redis_commands_total", _C, _REDIS, "Commands that Redis carried out."
    ),
    MetricDefinition(
        "gateway_redis_evicted_keys_total", _C, _REDIS, "Keys thrown away for want of memory."
    ),
    MetricDefinition(
        "gateway_redis_aof_enabled", _G, _REDIS, "Whether Redis keeps an append-only file."
    ),
    MetricDefinition(
        "gateway_redis_aof_last_write_ok", _G, _REDIS, "Whether its last write to it went well."
    ),
    MetricDefinition("gateway_redis_uptime_seconds", _G, _REDIS, "Since Redis started."),
    MetricDefinition(
        "gateway_state_read_duration_seconds",
        _G,
        _REDIS,
        "How long the reading of these figures took.",
    ),
)
"""Every series. A label without closed values takes the first so many that are met."""

DEFINITIONS_BY_NAME: Final[Mapping[str, MetricDefinition]] = {
    series.name: series for series in METRIC_DEFINITIONS
}
