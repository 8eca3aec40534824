"""Do results arrive? Attempts, lag, backlog."""

from deploy.grafana.panel import (
    Board,
    Look,
    Panel,
    Query,
    Unit,
    grown,
    level,
    number,
    quantile,
    quantiles,
    rate,
)

_ATTEMPTS = "gateway_delivery_attempt_duration_seconds"
_TENANT = '{tenant=~"$tenant"}'

CALLBACKS = Board(
    "gateway-callbacks",
    "Gateway: callbacks",
    "Do results arrive? Attempts, lag, backlog.",
    (
        number(
            "In time",
            "Share of callbacks in the last hour that arrived within 30 s. Target: 99 %.",
            "1 - gateway:delivery_late:ratio_rate1h",
            Unit.RATIO,
            width=6,
        ).judged(0.99, 0.95, runbook="callbacks-late", falling=True),
        number(
            "Pending",
            "Callbacks that will be tried (again).",
            level("gateway_deliveries_pending"),
            width=6,
        ),
        number(
            "Due now",
            "Callbacks whose time has come.",
            level("gateway_deliveries_due"),
            width=6,
        ).judged(100, 1000, runbook="callback-backlog"),
        number(
            "Oldest due",
            "How long the callback that is due longest has been due.",
            level("gateway_oldest_due_delivery_age_seconds"),
            Unit.SECONDS,
            width=6,
        ).judged(30, 120, runbook="callback-backlog"),
        Panel(
            "Attempts by outcome",
            "Per second.",
            (Query(rate(f"{_ATTEMPTS}_count", "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="callbacks-late",
        ),
        Panel(
            "Lag",
            "From the event to the receiver's 2xx.",
            quantiles("gateway_delivery_lag_seconds"),
            Unit.SECONDS,
            levels=(5, 30),
            runbook="callbacks-late",
        ),
        Panel(
            "Time of attempts (95 %)",
            "A receiver may take 20 s.",
            (Query(quantile(0.95, _ATTEMPTS, "outcome"), "{{outcome}}"),),
            Unit.SECONDS,
            levels=(5, 15),
        ),
        Panel(
            "Share of attempts that fail",
            "Receivers that are away show here long before anything is given up.",
            (
                Query(
                    f'sum(rate({_ATTEMPTS}_count{{outcome!="delivered"}}[$__rate_interval])) / '
                    f"sum(rate({_ATTEMPTS}_count[$__rate_interval]))",
                    "failing",
                ),
            ),
            Unit.RATIO,
            levels=(0.1, 0.5),
            runbook="callbacks-late",
        ),
        Panel(
            "Backlog",
            "What waits for a later attempt, and what is due.",
            (
                Query(level("gateway_deliveries_pending"), "pending"),
                Query(level("gateway_deliveries_due"), "due"),
            ),
            runbook="callback-backlog",
        ),
        Panel(
            "Age of the oldest due callback",
            "Couriers claim what is due ten times a second.",
            (Query(level("gateway_oldest_due_delivery_age_seconds"), "age"),),
            Unit.SECONDS,
            levels=(30, 120),
            runbook="callback-backlog",
        ),
        Panel(
            "Ended",
            "Delivered, or given up after the last attempt, per second.",
            (
                Query(
                    rate(f"gateway_deliveries_ended_total{_TENANT}", "tenant, state"),
                    "{{tenant}}: {{state}}",
                ),
            ),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="callbacks-given-up",
        ),
        Panel(
            "Endpoints",
            "With callbacks to come; held back: they failed or asked for a pause.",
            (
                Query(level("gateway_endpoints_pending"), "with callbacks to come"),
                Query(level("gateway_endpoints_backing_off"), "held back"),
            ),
            runbook="endpoint-disabled",
        ),
        Panel(
            "Endpoints disabled",
            "They get nothing before somebody enables them, by why.",
            (Query(level("gateway_disabled_endpoints", "reason"), "{{reason}}"),),
            look=Look.BARS,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Became disabled",
            "In each step, by why.",
            (Query(grown("gateway_endpoints_disabled_total", "reason"), "{{reason}}"),),
            look=Look.STACK,
            runbook="endpoint-disabled",
        ),
        Panel(
            "Couriers at work",
            "Attempts under way, and how many may be.",
            (
                Query('sum(gateway_worker_tasks_in_progress{loop="deliveries"})', "under way"),
                Query('sum(gateway_worker_tasks_limit{loop="deliveries"})', "limit"),
            ),
            runbook="callback-backlog",
        ),
    ),
)
