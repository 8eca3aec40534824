"""Do results arrive? Attempts, lag, backlog."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    increase,
    max_gauge,
    number_panel,
    quantile,
    quantiles,
    rate,
)

_ATTEMPTS = "gateway_delivery_attempt_duration_seconds"
_TENANT = '{tenant=~"$tenant"}'

WEBHOOKS = Dashboard(
    "gateway-callbacks",
    "Gateway: callbacks",
    "Do results arrive? Attempts, lag, backlog.",
    (
        number_panel(
            "In time",
            "Share of callbacks in the last hour that arrived within 30 s. Target: 99 %.",
            "1 - gateway:delivery_late:ratio_rate1h",
            PanelUnit.RATIO,
            width=6,
        ).with_thresholds(0.99, 0.95, runbook="callbacks-late", lower_is_worse=True),
        number_panel(
            "Pending",
            "Callbacks that will be tried (again).",
            max_gauge("gateway_deliveries_pending"),
            width=6,
        ),
        number_panel(
            "Due now",
            "Callbacks whose time has come.",
            max_gauge("gateway_deliveries_due"),
            width=6,
        ).with_thresholds(100, 1000, runbook="callback-backlog"),
        number_panel(
            "Oldest due",
            "How long the callback that is due longest has been due.",
            max_gauge("gateway_oldest_due_delivery_age_seconds"),
            PanelUnit.SECONDS,
            width=6,
        ).with_thresholds(30, 120, runbook="callback-backlog"),
        Panel(
            "Attempts by outcome",
            "Per second.",
            (PromQuery(rate(f"{_ATTEMPTS}_count", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="callbacks-late",
        ),
        Panel(
            "Lag",
            "From the event to the receiver's 2xx.",
            quantiles("gateway_delivery_lag_seconds"),
            PanelUnit.SECONDS,
            thresholds=(5, 30),
            runbook="callbacks-late",
        ),
        Panel(
            "Time of attempts (95 %)",
            "A receiver may take 20 s.",
            (PromQuery(quantile(0.95, _ATTEMPTS, "outcome"), "{{outcome}}"),),
            PanelUnit.SECONDS,
            thresholds=(5, 15),
        ),
        Panel(
            "Share of attempts that fail",
            "Receivers that are away show here long before anything is given up.",
            (
                PromQuery(
                    f'sum(rate({_ATTEMPTS}_count{{outcome!="delivered"}}[$__rate_interval])) / '
                    f"sum(rate({_ATTEMPTS}_count[$__rate_interval]))",
                    "failing",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.1, 0.5),
            runbook="callbacks-late",
        ),
        Panel(
            "Backlog",
            "What waits for a later attempt, and what is due.",
            (
                PromQuery(max_gauge("gateway_deliveries_pending"), "pending"),
                PromQuery(max_gauge("gateway_deliveries_due"), "due"),
            ),
            runbook="callback-backlog",
        ),
        Panel(
            "Age of the oldest due callback",
            "Couriers claim what is due ten times a second.",
            (PromQuery(max_gauge("gateway_oldest_due_delivery_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(30, 120),
            runbook="callback-backlog",
        ),
        Panel(
            "Ended",
            "Delivered, or given up after the last attempt, per second.",
            (
                PromQuery(
                    rate(f"gateway_deliveries_ended_total{_TENANT}", "tenant, state"),
                    "{{tenant}}: {{state}}",
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="callbacks-given-up",
        ),
        Panel(
            "Endpoints",
            "With callbacks to come; held back: they failed or asked for a pause.",
            (
                PromQuery(max_gauge("gateway_endpoints_pending"), "with callbacks to come"),
                PromQuery(max_gauge("gateway_endpoints_backing_off"), "held back"),
            ),
            runbook="endpoint-disabled",
        ),
        Panel(
            "Endpoints disabled",
            "They get nothing before somebody enables them, by why.",
            (PromQuery(max_gauge("gateway_disabled_endpoints", "reason"), "{{reason}}"),),
            panel_type=PanelType.BARS,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Became disabled",
            "In each step, by why.",
            (PromQuery(increase("gateway_endpoints_disabled_total", "reason"), "{{reason}}"),),
            panel_type=PanelType.STACK,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Couriers at work",
            "Attempts under way, and how many may be.",
            (
                PromQuery('sum(gateway_worker_tasks_in_progress{loop="deliveries"})', "under way"),
                PromQuery('sum(gateway_worker_tasks_limit{loop="deliveries"})', "limit"),
            ),
            runbook="callback-backlog",
        ),
    ),
)
