"""RunComfy as we meet it: calls, faults, polls, the breaker, the catalogue, the wallet."""

from deploy.grafana.panel import Board, Look, Panel, Query, Unit, level, quantile, quantiles, rate

_MODEL = '{model=~"$model"}'
_CALLS = "gateway_upstream_call_duration_seconds"

UPSTREAM = Board(
    "gateway-upstream",
    "Gateway: RunComfy",
    "RunComfy as we meet it: calls, faults, polls, the breaker, the catalogue, the wallet.",
    (
        Panel(
            "Calls",
            "Calls per second by kind.",
            (Query(rate(f"{_CALLS}_count", "call"), "{{call}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Time of calls (95 %)",
            "Whole calls, connect to last byte.",
            (Query(quantile(0.95, _CALLS, "call"), "{{call}}"),),
            Unit.SECONDS,
            levels=(2.5, 10),
            runbook="submits-stopped",
        ),
        Panel(
            "Faults",
            "Calls per second that got no usable answer, by the word for it.",
            (
                Query(
                    rate(f'{_CALLS}_count{{outcome!="ok"}}', "call, outcome"),
                    "{{call}}: {{outcome}}",
                ),
            ),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="submits-stopped",
        ),
        Panel(
            "Submits by outcome",
            "`no_answer` is a submit in doubt: money may be gone.",
            (Query(rate("gateway_upstream_submits_total", "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Polls by outcome",
            "Status calls about running jobs, per second.",
            (Query(rate(f"gateway_polls_total{_MODEL}", "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Polls by model",
            "Who causes them.",
            (Query(rate(f"gateway_polls_total{_MODEL}", "model"), "{{model}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Polls per job",
            "Fewer is cheaper for RunComfy, more is quicker for callers.",
            (
                Query(
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
            Unit.SECONDS,
            levels=(5, 15),
            runbook="nothing-finishing",
        ),
        Panel(
            "Breaker: state",
            "Closed: submits leave. Open: none does. Probing: one finds out.",
            (Query(level("gateway_circuit_breaker_state", "state"), "{{state}}"),),
            runbook="submits-stopped",
        ),
        Panel(
            "Breaker: why",
            "1 while submits are stopped, by reason.",
            (Query(level("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            levels=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Age of the catalogue",
            "Since a worker last read RunComfy's models.",
            (Query("time() - max(gateway_catalogue_read_timestamp_seconds)", "age"),),
            Unit.SECONDS,
            levels=(3600, 10800),
            runbook="catalogue-old",
        ),
        Panel(
            "Models in the catalogue",
            "A fall means that RunComfy offers less, or that a reading went wrong.",
            (Query(level("gateway_catalogue_models"), "models"),),
            runbook="catalogue-old",
        ),
        Panel(
            "Wallet",
            "RunComfy's balance, and the floor below which no submit is admitted.",
            (
                Query(level("gateway_account_balance_usd"), "balance"),
                Query(level("gateway_account_minimum_balance_usd"), "floor"),
            ),
            Unit.USD,
            runbook="wallet-low",
        ),
        Panel(
            "How long the wallet lasts",
            "At the present burn.",
            (
                Query(
                    "3600 * max(gateway_account_balance_usd) / "
                    "(max(gateway_account_spend_usd_per_hour) > 0)",
                    "lasts",
                ),
            ),
            Unit.SECONDS,
            levels=(172800, 86400),
            falling=True,
            runbook="wallet-low",
            may_be_empty="The burn is known after two readings, a minute apart, that differ.",
        ),
    ),
)
