"""Every figure that the gateway shows, once: names, kinds, labels, help. Plain data.

Knows no Prometheus and no event; `core.observability.event_metrics` fills it, `docs/metrics.md` is
generated from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.circuit_breaker import BreakerReason, BreakerState
from core.jobs.job import OPEN_STATES, Fact
from core.observability.metric_labels import (
    ACCEPT_RESULTS,
    BOOKINGS,
    CODE,
    DELIVERY_ENDS,
    DELIVERY_OUTCOMES,
    FINAL,
    LOOP,
    MODEL,
    POLL_OUTCOMES,
    PROCESS,
    ROUTE,
    SETTLED,
    SUBMIT_FACTS,
    TENANT,
    UPSTREAM_CALLS,
    UPSTREAM_FAULTS,
    WINDOW,
    Label,
    closed,
)
from core.tenants.cache_policy import Reuse
from core.webhooks.endpoint import Disabled


class Kind(StrEnum):
    """Prometheus's own kinds."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Who shows a series."""

    SERVICE = "service"
    WORKER = "worker"
    BOTH = "both"
    """Each process shows what it did itself."""
    STATE = "state"
    """Every service shows the same, read from Redis: take the `max`, never the `sum`."""


@dataclass(frozen=True, slots=True)
class Series:
    """One figure. `buckets` are a histogram's upper bounds, in the unit that the name ends with."""

    name: str
    kind: Kind
    source: Source
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def shown_names(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


_FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_CALLS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SPANS: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 7200.0)
_LAGS: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
_STORE: Final = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 3.0)
_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_SVC, _WRK, _BOTH, _ALL = Source.SERVICE, Source.WORKER, Source.BOTH, Source.STATE

CATALOGUE: Final[Sequence[Series]] = (
    # The process
    Series(
        "gateway_build_info",
        _G,
        _BOTH,
        "Which version runs; always 1.",
        (PROCESS, Label("version", most=5)),
    ),
    Series("gateway_redis_up", _G, _BOTH, "Whether Redis answers this process."),
    Series("gateway_redis_disconnects_total", _C, _BOTH, "Times that Redis stopped answering."),
    Series(
        "gateway_redis_round_trip_duration_seconds",
        _H,
        _BOTH,
        "Round trips to Redis.",
        buckets=_STORE,
    ),
    Series("gateway_warnings_total", _C, _BOTH, "What an operator should read of.", (CODE,)),
    # The face
    Series(
        "gateway_http_requests_total",
        _C,
        _SVC,
        "HTTP calls answered, by route template.",
        (ROUTE, Label("method", most=10), Label("status", most=60)),
    ),
    Series(
        "gateway_http_request_duration_seconds",
        _H,
        _SVC,
        "Time to the end of an answer, without what the caller asked to wait for a job.",
        (ROUTE,),
        _FAST,
    ),
    Series(
        "gateway_submissions_total",
        _C,
        _SVC,
        "Submits by what became of them: `accepted`, or the problem's code.",
        (Label("outcome", most=60),),
    ),
    Series(
        "gateway_submission_duration_seconds",
        _H,
        _SVC,
        "Time to answer a submit.",
        (closed("result", *ACCEPT_RESULTS),),
        _FAST,
    ),
    Series(
        "gateway_job_subscriptions", _G, _SVC, "Callers that wait for a job or follow its events."
    ),
    Series("gateway_jobs_admitted_total", _C, _SVC, "Jobs taken in.", (TENANT, MODEL)),
    Series(
        "gateway_cost_reserved_usd_total",
        _C,
        _SVC,
        "Estimated cost of the jobs taken in, in USD.",
        (TENANT, MODEL),
    ),
    Series(
        "gateway_cache_requests_total",
        _C,
        _SVC,
        "Accepted submits by what they found of their like: a result, a job under way to join, "
        "nothing; it was off; or the key of a submit before.",
        (closed("result", *Reuse),),
    ),
    Series(
        "gateway_cost_saved_usd_total",
        _C,
        _BOTH,
        "What jobs did not cost since another had paid, in USD.",
        (TENANT, MODEL),
    ),
    Series(
        "gateway_batches_total",
        _C,
        _BOTH,
        "Batches by how far they came: taken in, or ended and told of.",
        (closed("phase", "admitted", "ended"),),
    ),
    # A job's life
    Series(
        "gateway_job_transitions_total",
        _C,
        _BOTH,
        "Facts that moved jobs.",
        (closed("trigger", *Fact),),
    ),
    Series("gateway_jobs_ended_total", _C, _BOTH, "Jobs that ended.", (TENANT, MODEL, FINAL)),
    Series(
        "gateway_job_duration_seconds",
        _H,
        _BOTH,
        "From admission to a job's end.",
        (FINAL,),
        _SPANS,
    ),
    Series(
        "gateway_job_start_delay_seconds",
        _H,
        _WRK,
        "From admission to RunComfy's acceptance, waiting for a slot included.",
        buckets=_LAGS,
    ),
    Series(
        "gateway_job_run_duration_seconds",
        _H,
        _WRK,
        "From RunComfy's acceptance to a success.",
        (MODEL,),
        _SPANS,
    ),
    Series(
        "gateway_detection_lag_seconds",
        _H,
        _WRK,
        "From RunComfy's `finished_at` to our record of the end.",
        (MODEL,),
        _LAGS,
    ),
    Series(
        "gateway_job_overhead_seconds",
        _H,
        _WRK,
        "A finished job without RunComfy: before its acceptance and after its end.",
        buckets=_LAGS,
    ),
    Series(
        "gateway_cost_settled_usd_total",
        _C,
        _BOTH,
        "What ended jobs came to in USD: told by RunComfy, counted by estimate, or given back.",
        (TENANT, MODEL, closed("settlement", *SETTLED)),
    ),
    # RunComfy
    Series(
        "gateway_upstream_submits_total",
        _C,
        _WRK,
        "Paid submits by what they met.",
        (closed("outcome", *SUBMIT_FACTS),),
    ),
    Series(
        "gateway_upstream_call_duration_seconds",
        _H,
        _WRK,
        "Calls to RunComfy.",
        (closed("call", *UPSTREAM_CALLS), closed("outcome", "ok", *UPSTREAM_FAULTS)),
        _CALLS,
    ),
    Series(
        "gateway_polls_total",
        _C,
        _WRK,
        "Polls of running jobs.",
        (MODEL, closed("outcome", *POLL_OUTCOMES)),
    ),
    Series(
        "gateway_circuit_breaker_transitions_total",
        _C,
        _WRK,
        "Changes of the breaker over submits.",
        (closed("state", *BreakerState),),
    ),
    # Callbacks
    Series(
        "gateway_delivery_attempt_duration_seconds",
        _H,
        _WRK,
        "Attempts at callbacks.",
        (closed("outcome", *DELIVERY_OUTCOMES),),
        _CALLS,
    ),
    Series(
        "gateway_deliveries_ended_total",
        _C,
        _WRK,
        "Callbacks that need no further attempt.",
        (TENANT, closed("state", *DELIVERY_ENDS)),
    ),
    Series(
        "gateway_delivery_lag_seconds",
        _H,
        _WRK,
        "From the event to the receiver's 2xx.",
        buckets=_LAGS,
    ),
    Series(
        "gateway_endpoints_disabled_total",
        _C,
        _WRK,
        "Endpoints that get nothing any more, by why.",
        (closed("reason", *Disabled),),
    ),
    Series(
        "gateway_worker_tasks_in_progress", _G, _WRK, "Items that this worker has in hand.", (LOOP,)
    ),
    Series("gateway_worker_tasks_limit", _G, _WRK, "Items that it may have in hand.", (LOOP,)),
    # What Redis holds
    Series("gateway_jobs", _G, _ALL, "Open jobs.", (closed("state", *OPEN_STATES),)),
    Series(
        "gateway_oldest_unsubmitted_job_age_seconds",
        _G,
        _ALL,
        "Age of the oldest job that RunComfy has not got yet; 0 without one.",
    ),
    Series(
        "gateway_oldest_in_doubt_job_age_seconds",
        _G,
        _ALL,
        "How long the oldest submit in doubt waits for a person; 0 without one.",
    ),
    Series(
        "gateway_stuck_jobs", _G, _ALL, "Jobs that nobody looked at for 60 s after it was time."
    ),
    Series("gateway_waiting_jobs", _G, _ALL, "Jobs that wait for a slot.", (TENANT,)),
    Series("gateway_slots_in_use", _G, _ALL, "Slots in use, in all."),
    Series("gateway_slots_limit", _G, _ALL, "Slots in all; absent without a limit."),
    Series("gateway_tenant_slots_in_use", _G, _ALL, "Slots in use.", (TENANT,)),
    Series("gateway_tenant_slots_limit", _G, _ALL, "A tenant's slots, if limited.", (TENANT,)),
    Series("gateway_model_slots_in_use", _G, _ALL, "Slots in use.", (MODEL,)),
    Series("gateway_model_slots_limit", _G, _ALL, "A model's slots, if limited.", (MODEL,)),
    Series("gateway_pauses", _G, _ALL, "Pauses that operators set."),
    Series(
        "gateway_deliveries_pending",
        _G,
        _ALL,
        "Callbacks that will be tried (again), of the 500 endpoints that are looked at next.",
    ),
    Series("gateway_deliveries_in_progress", _G, _ALL, "Callbacks in couriers' hands."),
    Series(
        "gateway_deliveries_due",
        _G,
        _ALL,
        "Callbacks whose time has come, and whose endpoint is not held back.",
    ),
    Series("gateway_endpoints_pending", _G, _ALL, "Endpoints with callbacks to come."),
    Series(
        "gateway_endpoints_backing_off",
        _G,
        _ALL,
        "Of these, endpoints that get nothing for now: they failed, or asked for a pause.",
    ),
    Series(
        "gateway_disabled_endpoints",
        _G,
        _ALL,
        "Endpoints of the tenants that are named that get nothing any more, by why.",
        (closed("reason", *Disabled),),
    ),
    Series(
        "gateway_oldest_due_delivery_age_seconds",
        _G,
        _ALL,
        "How long the callback that is due longest has been due; 0 without one.",
    ),
    Series(
        "gateway_tenant_cost_usd",
        _G,
        _ALL,
        "A tenant's money in the present day or month (UTC), in USD.",
        (TENANT, WINDOW, closed("type", *BOOKINGS)),
    ),
    Series(
        "gateway_tenant_jobs",
        _G,
        _ALL,
        "A tenant's jobs in the present day or month (UTC).",
        (TENANT, WINDOW),
    ),
    Series(
        "gateway_tenant_budget_usd", _G, _ALL, "A tenant's budget in USD, if any.", (TENANT, WINDOW)
    ),
    Series(
        "gateway_tenant_budget_remaining_usd",
        _G,
        _ALL,
        "What is left of a tenant's budget in USD.",
        (TENANT, WINDOW),
    ),
    Series("gateway_account_balance_usd", _G, _ALL, "RunComfy's balance in USD, as last read."),
    Series(
        "gateway_account_minimum_balance_usd", _G, _ALL, "Below it no submit is admitted, in USD."
    ),
    Series(
        "gateway_account_spend_usd_per_hour",
        _G,
        _ALL,
        "How fast the balance falls; absent before it is known.",
    ),
    Series(
        "gateway_account_balance_read_timestamp_seconds",
        _G,
        _ALL,
        "When the balance was last read.",
    ),
    Series(
        "gateway_circuit_breaker_state",
        _G,
        _ALL,
        "1 for the state of the breaker over submits.",
        (closed("state", *BreakerState),),
    ),
    Series(
        "gateway_circuit_breaker_open",
        _G,
        _ALL,
        "1 for the reason while submits are stopped.",
        (closed("reason", *BreakerReason),),
    ),
    Series(
        "gateway_catalogue_read_timestamp_seconds", _G, _ALL, "When the catalogue was last read."
    ),
    Series("gateway_catalogue_models", _G, _ALL, "Models in the catalogue."),
    Series("gateway_workers", _G, _ALL, "Workers seen within 30 s."),
    # Redis itself
    Series("gateway_redis_memory_bytes", _G, _ALL, "Memory that Redis uses."),
    Series("gateway_redis_memory_limit_bytes", _G, _ALL, "Its `maxmemory`; 0 without one."),
    Series("gateway_redis_clients", _G, _ALL, "Connections to Redis."),
    Series("gateway_redis_keys", _G, _ALL, "Keys in Redis."),
    Series("gateway_redis_commands_total", _C, _ALL, "Commands that Redis carried out."),
    Series("gateway_redis_evicted_keys_total", _C, _ALL, "Keys thrown away for want of memory."),
    Series("gateway_redis_aof_enabled", _G, _ALL, "Whether Redis keeps an append-only file."),
    Series("gateway_redis_aof_last_write_ok", _G, _ALL, "Whether its last write to it went well."),
    Series("gateway_redis_uptime_seconds", _G, _ALL, "Since Redis started."),
    Series(
        "gateway_state_read_duration_seconds",
        _G,
        _ALL,
        "How long the reading of these figures took.",
    ),
)
"""Every series. A label without closed values takes the first so many that are met."""

BY_NAME: Final[Mapping[str, Series]] = {series.name: series for series in CATALOGUE}
