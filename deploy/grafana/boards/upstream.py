"""RunComfy as we meet it: calls, faults, polls, the breaker, the catalogue, the wallet."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    max_gauge,
    quantile,
    quantiles,
    rate,
)

_MODEL = '{model=~"$model"}'
_CALLS = "gateway_upstream_call_duration_seconds"

UPSTREAM = Dashboard(
    "gateway-upstream",
    "Gateway: RunComfy",
    "RunComfy as we meet it: calls, faults, polls, the breaker, the catalogue, the wallet.",
    (
        Panel(
            "Calls",
            "Calls per second by kind.",
            (PromQuery(rate(f"{_CALLS}_count", "call"), "{{call}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Time of calls (95 %)",
            "Whole calls, connect to last byte.",
            (PromQuery(quantile(0.95, _CALLS, "call"), "{{call}}"),),
            PanelUnit.SECONDS,
            thresholds=(2.5, 10),
            runbook="submits-stopped",
        ),
        Panel(
            "Faults",
            "Calls per second that got no usable answer, by the word for it.",
            (
                PromQuery(
                    rate(f'{_CALLS}_count{{outcome!="ok"}}', "call, outcome"),
                    "{{call}}: {{outcome}}",
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="submits-stopped",
        ),
        Panel(
            "Submits by outcome",
            "`no_answer` is a submit in doubt: money may be gone.",
            (PromQuery(rate("gateway_upstream_submits_total", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Polls by outcome",
            "Status calls about running jobs, per second.",
            (PromQuery(rate(f"gateway_polls_total{_MODEL}", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Polls by model",
            "Who causes them.",
            (PromQuery(rate(f"gateway_polls_total{_MODEL}", "model"), "{{model}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Polls per job",
            "Fewer is cheaper for RunComfy, more is quicker for callers.",
            (
                PromQuery(
                    f"sum by (model) (rate(gateway_polls_total{_MODEL}[$__rate_interval])) / "
                    f"sum by (model) (rate(gateway_jobs_ended_total{_MODEL}[$__rate_interval]))",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Detection lag",
            "From RunComfy's `finished_at` to our record of the end.",
            quantiles("gateway_detection_lag_seconds", _MODEL),
            PanelUnit.SECONDS,
            thresholds=(5, 15),
            runbook="nothing-finishing",
        ),
        Panel(
            "Breaker: state",
            "Closed: submits leave. Open: none does. Probing: one finds out.",
            (PromQuery(max_gauge("gateway_circuit_breaker_state", "state"), "{{state}}"),),
            runbook="submits-stopped",
        ),
        Panel(
            "Breaker: why",
            "1 while submits are stopped, by reason.",
            (PromQuery(max_gauge("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            thresholds=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Age of the catalogue",
            "Since a worker last read RunComfy's models.",
            (PromQuery("time() - max(gateway_catalogue_read_timestamp_seconds)", "age"),),
            PanelUnit.SECONDS,
            thresholds=(3600, 10800),
            runbook="catalogue-old",
        ),
        Panel(
            "Models in the catalogue",
            "A fall means that RunComfy offers less, or that a reading went wrong.",
            (PromQuery(max_gauge("gateway_catalogue_models"), "models"),),
            runbook="catalogue-old",
        ),
        Panel(
            "Wallet",
            "RunComfy's balance, and the floor below which no submit is admitted.",
            (
                PromQuery(max_gauge("gateway_account_balance_usd"), "balance"),
                PromQuery(max_gauge("gateway_account_minimum_balance_usd"), "floor"),
            ),
            PanelUnit.USD,
            runbook="wallet-low",
        ),
        Panel(
            "How long the wallet lasts",
            "At the present burn.",
            (
                PromQuery(
                    "3600 * max(gateway_account_balance_usd) / "
                    "(max(gateway_account_spend_usd_per_hour) > 0)",
                    "lasts",
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(172800, 86400),
            lower_is_worse=True,
            runbook="wallet-low",
            empty_reason="The burn is known after two readings, a minute apart, that differ.",
        ),
    ),
)
