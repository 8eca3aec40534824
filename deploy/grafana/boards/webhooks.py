"""Dashboard of webhooks: attempts, lag, backlog, endpoints."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    delivery_late,
    increase,
    max_gauge,
    number_panel,
    quantile,
    quantiles,
    rate,
)

_ATTEMPTS = "gateway_delivery_attempt_duration_seconds"

WEBHOOKS = Dashboard(
    "gateway-webhooks",
    "Gateway: webhooks",
    "Attempts, lag and backlog of deliveries; state of the endpoints.",
    (
        number_panel(
            "On time",
            "Share of deliveries in the last hour that arrived within 30 s. Target: 99 %.",
            f"1 - {delivery_late('1h')}",
            PanelUnit.RATIO,
            width=6,
        ).with_thresholds(0.99, 0.95, runbook="deliveries-late", lower_is_worse=True),
        number_panel(
            "Pending",
            "Deliveries with an attempt to come.",
            max_gauge("gateway_deliveries_pending"),
            width=6,
        ),
        number_panel(
            "Due now",
            "Deliveries past the time of their next attempt.",
            max_gauge("gateway_deliveries_due"),
            width=6,
        ).with_thresholds(100, 1000, runbook="delivery-backlog"),
        number_panel(
            "Oldest due",
            "How long the oldest due delivery has been due.",
            max_gauge("gateway_oldest_due_delivery_age_seconds"),
            PanelUnit.SECONDS,
            width=6,
        ).with_thresholds(30, 120, runbook="delivery-backlog"),
        Panel(
            "Attempts by outcome",
            "Per second.",
            (PromQuery(rate(f"{_ATTEMPTS}_count", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="deliveries-late",
        ),
        Panel(
            "Lag",
            "From the event to the receiver's 2xx.",
            quantiles("gateway_delivery_lag_seconds"),
            PanelUnit.SECONDS,
            thresholds=(5, 30),
            runbook="deliveries-late",
        ),
        Panel(
            "Attempt duration (p95)",
            "An endpoint may take 20 s by default.",
            (PromQuery(quantile(0.95, _ATTEMPTS, "outcome"), "{{outcome}}"),),
            PanelUnit.SECONDS,
            thresholds=(5, 15),
        ),
        Panel(
            "Failed attempts",
            "Share of attempts. An unreachable endpoint shows here hours before deliveries fail.",
            (
                PromQuery(
                    f'sum(rate({_ATTEMPTS}_count{{outcome!="delivered"}}[$__rate_interval])) / '
                    f"sum(rate({_ATTEMPTS}_count[$__rate_interval]))",
                    "failing",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.1, 0.5),
            runbook="deliveries-late",
        ),
        Panel(
            "Backlog",
            "Deliveries with an attempt to come, and those due now.",
            (
                PromQuery(max_gauge("gateway_deliveries_pending"), "pending"),
                PromQuery(max_gauge("gateway_deliveries_due"), "due"),
            ),
            runbook="delivery-backlog",
        ),
        Panel(
            "Oldest due delivery",
            "Workers claim due deliveries ten times a second.",
            (PromQuery(max_gauge("gateway_oldest_due_delivery_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(30, 120),
            runbook="delivery-backlog",
        ),
        Panel(
            "Ended",
            "Deliveries per second: delivered, or failed after the last attempt.",
            (
                PromQuery(
                    rate("gateway_deliveries_ended_total", "tenant, state"),
                    "{{tenant}}: {{state}}",
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="deliveries-failed",
        ),
        Panel(
            "Endpoints",
            "With deliveries to come; backing off after failures or `Retry-After`. And deliveries "
            "whose record this release cannot read.",
            (
                PromQuery(max_gauge("gateway_endpoints_pending"), "with deliveries to come"),
                PromQuery(max_gauge("gateway_endpoints_backing_off"), "backing off"),
                PromQuery(max_gauge("gateway_unreadable_deliveries"), "unreadable deliveries"),
            ),
            runbook="endpoint-disabled",
        ),
        Panel(
            "Disabled endpoints",
            "Their deliveries are held until they are enabled, by tenant and reason.",
            (
                PromQuery(
                    max_gauge("gateway_disabled_endpoints", "tenant, reason"),
                    "{{tenant}}: {{reason}}",
                ),
            ),
            panel_type=PanelType.BARS,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Newly disabled endpoints",
            "Per step, by reason.",
            (PromQuery(increase("gateway_endpoints_disabled_total", "reason"), "{{reason}}"),),
            panel_type=PanelType.STACK,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Delivery concurrency",
            "Attempts in progress, and their limit.",
            (
                PromQuery(
                    'sum(gateway_worker_tasks_in_progress{loop="deliveries"})', "in progress"
                ),
                PromQuery('sum(gateway_worker_tasks_limit{loop="deliveries"})', "limit"),
            ),
            runbook="delivery-backlog",
        ),
    ),
)
