"""Dashboard of the golden signals and cost on one page."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    delivery_late,
    max_gauge,
    number_panel,
    quantile,
    quantiles,
    rate,
    submission_failed,
)

OVERVIEW = Dashboard(
    "gateway-overview",
    "Gateway: overview",
    "Traffic, errors, latency, saturation and cost.",
    (
        number_panel(
            "Submit availability",
            "Share of submits in the last hour without a server error (5xx). Target: 99.9 %.",
            f"1 - ({submission_failed('1h')})",
            PanelUnit.RATIO,
        ).with_thresholds(0.999, 0.99, runbook="submissions-failing", lower_is_worse=True),
        number_panel(
            "Webhooks on time",
            "Share of deliveries in the last hour that arrived within 30 s. Target: 99 %.",
            f"1 - {delivery_late('1h')}",
            PanelUnit.RATIO,
        ).with_thresholds(0.99, 0.95, runbook="deliveries-late", lower_is_worse=True),
        number_panel(
            "Open jobs",
            "Jobs that have not ended.",
            "sum(max by (state) (gateway_jobs))",
        ),
        number_panel(
            "In doubt",
            "Submits without an answer: they may be charged; an operator must resolve them.",
            max_gauge('gateway_jobs{state="in_doubt"}'),
        ).with_thresholds(1, runbook="jobs-in-doubt"),
        number_panel(
            "Oldest unsubmitted job",
            "Age of the oldest job not yet submitted to RunComfy.",
            max_gauge("gateway_oldest_unsubmitted_job_age_seconds"),
            PanelUnit.SECONDS,
        ).with_thresholds(300, 900, runbook="oldest-job"),
        number_panel(
            "Workers",
            "Workers with a heartbeat in the last 30 s.",
            max_gauge("gateway_workers"),
        ).with_thresholds(2, 1, runbook="no-workers", lower_is_worse=True),
        number_panel(
            "Spent today",
            "Settled cost since each tenant's day began, over all tenants in the metrics.",
            'sum(max by (tenant) (gateway_tenant_cost_usd{window="day", type="settled"}))',
            PanelUnit.USD,
        ),
        number_panel(
            "Account balance",
            "RunComfy balance when last read.",
            max_gauge("gateway_account_balance_usd"),
            PanelUnit.USD,
        ).with_thresholds(50, 10, runbook="account-balance-low", lower_is_worse=True),
        Panel(
            "Firing alerts",
            "Alerts of the gateway that fire now, with their severity.",
            (
                PromQuery(
                    "count by (alertname, severity) "
                    '(ALERTS{alertstate="firing", alertname=~"Gateway.*"})',
                    "{{alertname}} ({{severity}})",
                ),
            ),
            panel_type=PanelType.TABLE,
            width=24,
            empty_reason="No alert fires.",
        ),
        Panel(
            "Submits",
            "Submits per second by result. Refused: the caller's error. Failed: a server error.",
            (PromQuery(rate("gateway_submission_duration_seconds_count", "result"), "{{result}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Submit latency",
            "From the first byte of a submit to its response.",
            quantiles("gateway_submission_duration_seconds", '{result="accepted"}'),
            PanelUnit.SECONDS,
            thresholds=(0.25, 1),
            runbook="submissions-failing",
        ),
        Panel(
            "Open jobs by state",
            "Jobs that have not ended.",
            (PromQuery(max_gauge("gateway_jobs", "state"), "{{state}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Ended per minute",
            "Jobs by final state.",
            (PromQuery(f"60 * {rate('gateway_jobs_ended_total', 'state')}", "{{state}}"),),
            panel_type=PanelType.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "Lag (p95)",
            "From the end at RunComfy to its detection, and from there to the receiver's 2xx.",
            (
                PromQuery(quantiles("gateway_detection_lag_seconds")[1].expr, "detection"),
                PromQuery(quantiles("gateway_delivery_lag_seconds")[1].expr, "delivery"),
            ),
            PanelUnit.SECONDS,
            thresholds=(10, 30),
            runbook="deliveries-late",
        ),
        Panel(
            "Cost per hour",
            "Reserved at admission, settled by result, and saved by the cache.",
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
            "Error budget burn rate",
            "1 uses up the error budget in exactly 30 days.",
            (
                PromQuery(f"({submission_failed('5m')}) / 0.001", "submit, 5 min"),
                PromQuery(f"({submission_failed('1h')}) / 0.001", "submit, 1 h"),
                PromQuery(f"{delivery_late('5m')} / 0.01", "delivery, 5 min"),
                PromQuery(f"{delivery_late('1h')} / 0.01", "delivery, 1 h"),
            ),
            thresholds=(6, 14.4),
            runbook="submissions-failing",
        ),
        Panel(
            "Circuit breaker",
            "1 while no jobs are submitted to RunComfy, by reason.",
            (PromQuery(max_gauge("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            thresholds=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Waiting callers",
            "Open connections of `Prefer: wait` and of event streams.",
            (PromQuery("sum by (instance) (gateway_job_subscriptions)", "{{instance}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Saturation",
            "Share of the workers' concurrency and of the slots in use.",
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
            "Redis latency (p99)",
            "Round trip, by process type. Every request depends on it.",
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
            "Endpoints backing off or disabled",
            "Backing off: after failures or `Retry-After`. Disabled: until they are enabled again.",
            (
                PromQuery(max_gauge("gateway_endpoints_backing_off"), "backing off"),
                PromQuery(
                    "sum(max by (tenant, reason) "
                    '(gateway_disabled_endpoints{reason!="by_owner"})) or vector(0)',
                    "disabled",
                ),
            ),
            runbook="endpoint-disabled",
        ),
    ),
)
