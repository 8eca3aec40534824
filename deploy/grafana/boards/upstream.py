"""Dashboard of RunComfy: calls, errors, polls, circuit breaker, catalogue, balance."""

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

_CALLS = "gateway_upstream_call_duration_seconds"

UPSTREAM = Dashboard(
    "gateway-upstream",
    "Gateway: RunComfy",
    "Calls, errors, polls, circuit breaker, model catalogue and account balance.",
    (
        Panel(
            "Calls",
            "Calls per second, by operation.",
            (PromQuery(rate(f"{_CALLS}_count", "call"), "{{call}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Call latency (p95)",
            "From connecting to the last byte.",
            (PromQuery(quantile(0.95, _CALLS, "call"), "{{call}}"),),
            PanelUnit.SECONDS,
            thresholds=(2.5, 10),
            runbook="circuit-breaker-open",
        ),
        Panel(
            "Failed calls",
            "Calls per second without a usable answer, by outcome.",
            (
                PromQuery(
                    rate(f'{_CALLS}_count{{outcome!="ok"}}', "call, outcome"),
                    "{{call}}: {{outcome}}",
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="circuit-breaker-open",
        ),
        Panel(
            "Submits by outcome",
            "`no_answer` puts the job in doubt: it may be charged.",
            (PromQuery(rate("gateway_upstream_submits_total", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Polls by outcome",
            "Status calls per second.",
            (PromQuery(rate("gateway_polls_total", "outcome"), "{{outcome}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Polls by model",
            "Status calls per second.",
            (PromQuery(rate("gateway_polls_total", "model"), "{{model}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Polls per job",
            "More polls detect the end of a job earlier.",
            (
                PromQuery(
                    "sum by (model) (rate(gateway_polls_total[$__rate_interval])) / "
                    "sum by (model) (rate(gateway_jobs_ended_total[$__rate_interval]))",
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Detection lag",
            "From RunComfy's `finished_at` to the end recorded by the gateway.",
            quantiles("gateway_detection_lag_seconds"),
            PanelUnit.SECONDS,
            thresholds=(5, 15),
            runbook="nothing-finishing",
        ),
        Panel(
            "Circuit breaker state",
            "Closed: jobs are submitted. Open: none is. Probing: one submit at a time.",
            (PromQuery(max_gauge("gateway_circuit_breaker_state", "state"), "{{state}}"),),
            runbook="circuit-breaker-open",
        ),
        Panel(
            "Circuit breaker reason",
            "1 while no jobs are submitted, by reason.",
            (PromQuery(max_gauge("gateway_circuit_breaker_open", "reason"), "{{reason}}"),),
            thresholds=(1,),
            runbook="upstream-refused",
        ),
        Panel(
            "Jobs that wait",
            "For RunComfy's balance or account, or for RunComfy or a model to answer.",
            (PromQuery(max_gauge("gateway_jobs_waiting_for", "waiting_for"), "{{waiting_for}}"),),
            thresholds=(1,),
            runbook="jobs-wait-for-balance",
        ),
        Panel(
            "Balance that is missing",
            "What the jobs that wait for the balance cost, less the balance.",
            (PromQuery("max(gateway_account_balance_missing_usd)", "USD"),),
            runbook="jobs-wait-for-balance",
        ),
        Panel(
            "Models that are stopped",
            "1 while the circuit breaker of a model stops its submits.",
            (PromQuery(max_gauge("gateway_model_circuit_breaker_open", "model"), "{{model}}"),),
            runbook="circuit-breaker-open",
            empty_reason="No model is stopped.",
        ),
        Panel(
            "Catalogue age",
            "Since a worker last read RunComfy's model catalogue.",
            (PromQuery("time() - max(gateway_catalogue_read_timestamp_seconds)", "age"),),
            PanelUnit.SECONDS,
            thresholds=(3600, 10800),
            runbook="catalogue-stale",
        ),
        Panel(
            "Models in the catalogue",
            "A drop means fewer models at RunComfy, or an incomplete read.",
            (PromQuery(max_gauge("gateway_catalogue_models"), "models"),),
            runbook="catalogue-stale",
        ),
        Panel(
            "Account balance",
            "RunComfy balance, and the minimum below which no submit is admitted.",
            (
                PromQuery(max_gauge("gateway_account_balance_usd"), "balance"),
                PromQuery(max_gauge("gateway_account_minimum_balance_usd"), "minimum"),
            ),
            PanelUnit.USD,
            runbook="account-balance-low",
        ),
        Panel(
            "Balance lasts",
            "At the current spend.",
            (
                PromQuery(
                    "3600 * max(gateway_account_balance_usd) / "
                    "(max(gateway_account_spend_usd_per_hour) > 0)",
                    "time left",
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(172800, 86400),
            lower_is_worse=True,
            runbook="account-balance-low",
            empty_reason="The spend is known after two different readings, a minute apart.",
        ),
    ),
)
