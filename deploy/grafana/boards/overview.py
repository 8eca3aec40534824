"""Is it well? The golden signals and money on one page."""

from deploy.grafana.panel import (
    Board,
    Look,
    Panel,
    Query,
    Unit,
    level,
    number,
    quantile,
    quantiles,
    rate,
)

OVERVIEW = Board(
    "gateway-overview",
    "Gateway: overview",
    "Is it well? Traffic, errors, latency, saturation and money.",
    (
        number(
            "Submits answered well",
            "Share of submits in the last hour that met no fault of ours (5xx). Target: 99.9 %.",
            "1 - gateway:submission_failed:ratio_rate1h",
            Unit.RATIO,
        ).judged(0.999, 0.99, runbook="accept-failing", falling=True),
        number(
            "Callbacks in time",
            "Share of callbacks in the last hour that arrived within 30 s. Target: 99 %.",
            "1 - gateway:delivery_late:ratio_rate1h",
            Unit.RATIO,
        ).judged(0.99, 0.95, runbook="callbacks-late", falling=True),
        number(
            "Open jobs",
            "Jobs that have not ended.",
            "sum(max by (state) (gateway_jobs))",
        ),
        number(
            "In doubt",
            "Submits whose answer was lost: money may be gone, a person must look.",
            level('gateway_jobs{state="in_doubt"}'),
        ).judged(1, runbook="jobs-in-doubt"),
        number(
            "Oldest unsent job",
            "Age of the oldest job that RunComfy has not got.",
            level("gateway_oldest_unsubmitted_job_age_seconds"),
            Unit.SECONDS,
        ).judged(300, 900, runbook="oldest-job"),
        number(
            "Workers",
            "Workers seen within 30 s.",
            level("gateway_workers"),
        ).judged(2, 1, runbook="worker-gone", falling=True),
        number(
            "Spent today",
            "What today's jobs cost so far, over all tenants that are shown (UTC).",
            'sum(max by (tenant) (gateway_tenant_cost_usd{window="day", type="settled"}))',
            Unit.USD,
        ),
        number(
            "Wallet",
            "RunComfy's balance as last read.",
            level("gateway_account_balance_usd"),
            Unit.USD,
        ).judged(50, 10, runbook="wallet-low", falling=True),
        Panel(
            "Submits",
            "Submits per second by what they met: refused is the caller's to mend, failed is ours.",
            (Query(rate("gateway_submission_duration_seconds_count", "result"), "{{result}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Time to accept",
            "From the first byte of a submit to its answer.",
            quantiles("gateway_submission_duration_seconds", '{result="accepted"}'),
            Unit.SECONDS,
            levels=(0.25, 1),
            runbook="accept-failing",
        ),
        Panel(
            "Open jobs by state",
            "Where the open jobs stand.",
            (Query(level("gateway_jobs", "state"), "{{state}}"),),
            look=Look.STACK,
        ),
        Panel(
            "Ends per minute",
            "How jobs ended.",
            (Query(f"60 * {rate('gateway_jobs_ended_total', 'state')}", "{{state}}"),),
            look=Look.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "How late we are (95 %)",
            "From RunComfy's end to our record, and from our record to the receiver's 2xx.",
            (
                Query(quantiles("gateway_detection_lag_seconds")[1].expr, "detection"),
                Query(quantiles("gateway_delivery_lag_seconds")[1].expr, "callback"),
            ),
            Unit.SECONDS,
            levels=(10, 30),
            runbook="callbacks-late",
        ),
        Panel(
            "Money per hour",
            "Reserved at admission; settled when a job's cost is known; given back; saved.",
            (
                Query("3600 * sum(rate(gateway_cost_reserved_usd_total[15m]))", "reserved"),
                Query(
                    "3600 * sum by (settlement) (rate(gateway_cost_settled_usd_total[15m]))",
                    "{{settlement}}",
                ),
                Query(
                    "3600 * (sum(rate(gateway_cost_saved_usd_total[15m])) or vector(0))", "saved"
                ),
            ),
            Unit.USD,
        ),
        Panel(
            "Budget for faults: burn",
            "How many times faster than allowed the error budgets are used up (1 lasts 30 days).",
            (
                Query("gateway:submission_failed:ratio_rate5m / 0.001", "accept, 5 min"),
                Query("gateway:submission_failed:ratio_rate1h / 0.001", "accept, 1 h"),
                Query("gateway:delivery_late:ratio_rate5m / 0.01", "callback, 5 min"),
                Query("gateway:delivery_late:ratio_rate1h / 0.01", "callback, 1 h"),
            ),
            levels=(6, 14.4),
            runbook="accept-failing",
        ),
        Panel(
            "Breaker over submits",
            "1 while RunComfy gets no submits, by reason.",
            (Query(level("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            levels=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Callers that wait",
            "They hold a connection until their job ends: `Prefer: wait`, or its events.",
            (Query("sum by (instance) (gateway_job_subscriptions)", "{{instance}}"),),
            look=Look.STACK,
        ),
        Panel(
            "Saturation",
            "How full the workers' hands and the slots are.",
            (
                Query(
                    "sum by (loop) (gateway_worker_tasks_in_progress) / "
                    "sum by (loop) (gateway_worker_tasks_limit)",
                    "workers: {{loop}}",
                ),
                Query("max(gateway_slots_in_use) / max(gateway_slots_limit)", "slots"),
            ),
            Unit.RATIO,
            levels=(0.8, 0.95),
            runbook="oldest-job",
        ),
        Panel(
            "Round trips to Redis (99 %)",
            "By who asks. Everything waits for these.",
            (Query(quantile(0.99, "gateway_redis_round_trip_duration_seconds", "job"), "{{job}}"),),
            Unit.SECONDS,
            levels=(0.025, 0.1),
            runbook="redis-slow",
        ),
        Panel(
            "Endpoints that get nothing",
            "Held back: they failed, or asked for a pause. Disabled: until somebody enables them.",
            (
                Query(level("gateway_endpoints_backing_off"), "held back"),
                Query(
                    'sum(max by (reason) (gateway_disabled_endpoints{reason!="by_owner"}))',
                    "disabled",
                ),
            ),
            runbook="endpoint-disabled",
        ),
    ),
)
