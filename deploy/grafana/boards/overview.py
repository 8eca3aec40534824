"""Is it well? The golden signals and money on one page."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    max_gauge,
    number_panel,
    quantile,
    quantiles,
    rate,
)

OVERVIEW = Dashboard(
    "gateway-overview",
    "Gateway: overview",
    "Is it well? Traffic, errors, latency, saturation and money.",
    (
        number_panel(
            "Submits answered well",
            "Share of submits in the last hour that met no fault of ours (5xx). Target: 99.9 %.",
            "1 - gateway:submission_failed:ratio_rate1h",
            PanelUnit.RATIO,
        ).with_thresholds(0.999, 0.99, runbook="accept-failing", lower_is_worse=True),
        number_panel(
            "Callbacks in time",
            "Share of callbacks in the last hour that arrived within 30 s. Target: 99 %.",
            "1 - gateway:delivery_late:ratio_rate1h",
            PanelUnit.RATIO,
        ).with_thresholds(0.99, 0.95, runbook="callbacks-late", lower_is_worse=True),
        number_panel(
            "Open jobs",
            "Jobs that have not ended.",
            "sum(max by (state) (gateway_jobs))",
        ),
        number_panel(
            "In doubt",
            "Submits whose answer was lost: money may be gone, a person must look.",
            max_gauge('gateway_jobs{state="in_doubt"}'),
        ).with_thresholds(1, runbook="jobs-in-doubt"),
        number_panel(
            "Oldest unsent job",
            "Age of the oldest job that RunComfy has not got.",
            max_gauge("gateway_oldest_unsubmitted_job_age_seconds"),
            PanelUnit.SECONDS,
        ).with_thresholds(300, 900, runbook="oldest-job"),
        number_panel(
            "Workers",
            "Workers seen within 30 s.",
            max_gauge("gateway_workers"),
        ).with_thresholds(2, 1, runbook="worker-gone", lower_is_worse=True),
        number_panel(
            "Spent today",
            "What today's jobs cost so far, over all tenants that are shown (UTC).",
            'sum(max by (tenant) (gateway_tenant_cost_usd{window="day", type="settled"}))',
            PanelUnit.USD,
        ),
        number_panel(
            "Wallet",
            "RunComfy's balance as last read.",
            max_gauge("gateway_account_balance_usd"),
            PanelUnit.USD,
        ).with_thresholds(50, 10, runbook="wallet-low", lower_is_worse=True),
        Panel(
            "Submits",
            "Submits per second by what they met: refused is the caller's to mend, failed is ours.",
            (PromQuery(rate("gateway_submission_duration_seconds_count", "result"), "{{result}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Time to accept",
            "From the first byte of a submit to its answer.",
            quantiles("gateway_submission_duration_seconds", '{result="accepted"}'),
            PanelUnit.SECONDS,
            thresholds=(0.25, 1),
            runbook="accept-failing",
        ),
        Panel(
            "Open jobs by state",
            "Where the open jobs stand.",
            (PromQuery(max_gauge("gateway_jobs", "state"), "{{state}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Ends per minute",
            "How jobs ended.",
            (PromQuery(f"60 * {rate('gateway_jobs_ended_total', 'state')}", "{{state}}"),),
            panel_type=PanelType.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "How late we are (95 %)",
            "From RunComfy's end to our record, and from our record to the receiver's 2xx.",
            (
                PromQuery(quantiles("gateway_detection_lag_seconds")[1].expr, "detection"),
                PromQuery(quantiles("gateway_delivery_lag_seconds")[1].expr, "callback"),
            ),
            PanelUnit.SECONDS,
            thresholds=(10, 30),
            runbook="callbacks-late",
        ),
        Panel(
            "Money per hour",
            "Reserved at admission; settled when a job's cost is known; given back; saved.",
            (
                PromQuery("3600 * sum(rate(gateway_cost_reserved_usd_total[15m]))", "reserved"),
                PromQuery(
                    "3600 * sum by (settlement) (rate(gateway_cost_settled_usd_total[15m]))",
                    "{{settlement}}",
                ),
                PromQuery(
                    "3600 * (sum(rate(gateway_cost_saved_usd_total[15m])) or vector(0))", "saved"
                ),
            ),
            PanelUnit.USD,
        ),
        Panel(
            "Budget for faults: burn",
            "How many times faster than allowed the error budgets are used up (1 lasts 30 days).",
            (
                PromQuery("gateway:submission_failed:ratio_rate5m / 0.001", "accept, 5 min"),
                PromQuery("gateway:submission_failed:ratio_rate1h / 0.001", "accept, 1 h"),
                PromQuery("gateway:delivery_late:ratio_rate5m / 0.01", "callback, 5 min"),
                PromQuery("gateway:delivery_late:ratio_rate1h / 0.01", "callback, 1 h"),
            ),
            thresholds=(6, 14.4),
            runbook="accept-failing",
        ),
        Panel(
            "Breaker over submits",
            "1 while RunComfy gets no submits, by reason.",
            (PromQuery(max_gauge("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            thresholds=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Callers that wait",
            "They hold a connection until their job ends: `Prefer: wait`, or its events.",
            (PromQuery("sum by (instance) (gateway_job_subscriptions)", "{{instance}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Saturation",
            "How full the workers' hands and the slots are.",
            (
                PromQuery(
                    "sum by (loop) (gateway_worker_tasks_in_progress) / "
                    "sum by (loop) (gateway_worker_tasks_limit)",
                    "workers: {{loop}}",
                ),
                PromQuery("max(gateway_slots_in_use) / max(gateway_slots_limit)", "slots"),
            ),
            PanelUnit.RATIO,
            thresholds=(0.8, 0.95),
            runbook="oldest-job",
        ),
        Panel(
            "Round trips to Redis (99 %)",
            "By who asks. Everything waits for these.",
            (
                PromQuery(
                    quantile(0.99, "gateway_redis_round_trip_duration_seconds", "job"), "{{job}}"
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(0.025, 0.1),
            runbook="redis-slow",
        ),
        Panel(
            "Endpoints that get nothing",
            "Held back: they failed, or asked for a pause. Disabled: until somebody enables them.",
            (
                PromQuery(max_gauge("gateway_endpoints_backing_off"), "held back"),
                PromQuery(
                    'sum(max by (reason) (gateway_disabled_endpoints{reason!="by_owner"}))',
                    "disabled",
                ),
            ),
            runbook="endpoint-disabled",
        ),
    ),
)
