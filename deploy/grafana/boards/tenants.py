"""Who uses the account, and what it costs."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    increase,
    max_gauge,
    rate,
)

_TENANT = '{tenant=~"$tenant"}'
_TENANT_AND_MODEL = '{tenant=~"$tenant", model=~"$model"}'
_CACHE_LOOKUPS = (
    'sum(rate(gateway_cache_requests_total{result=~"hit|joined|miss"}[$__rate_interval]))'
)
_CACHE_HIT_RATIO = (
    'sum(rate(gateway_cache_requests_total{result=~"hit|joined"}[$__rate_interval])) / '
    + _CACHE_LOOKUPS
)
_REPLAY_RATIO = (
    'sum(rate(gateway_cache_requests_total{result="replayed"}[$__rate_interval])) / '
    "sum(rate(gateway_cache_requests_total[$__rate_interval]))"
)


def _window(window: str, booking: str) -> str:
    return f'gateway_tenant_cost_usd{{tenant=~"$tenant", window="{window}", type="{booking}"}}'


TENANTS = Dashboard(
    "gateway-tenants",
    "Gateway: tenants and spend",
    "Who uses the account, what it costs, and what is left.",
    (
        Panel(
            "Cost today",
            "Settled since 00:00 UTC.",
            (PromQuery(max_gauge(_window("day", "settled"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Cost this month",
            "Settled since the 1st, UTC.",
            (PromQuery(max_gauge(_window("month", "settled"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Held",
            "Reserved by jobs whose cost is not known yet.",
            (PromQuery(max_gauge(_window("day", "held"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Saved today",
            "What jobs did not cost since another had paid, since 00:00 UTC.",
            (PromQuery(max_gauge(_window("day", "saved"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Budget left",
            "Share of a tenant's day and month that is left.",
            (
                PromQuery(
                    f"max by (tenant, window) (gateway_tenant_budget_remaining_usd{_TENANT}) / "
                    f"max by (tenant, window) (gateway_tenant_budget_usd{_TENANT})",
                    "{{tenant}}, {{window}}",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.25, 0.1),
            lower_is_worse=True,
            runbook="budget-spent",
        ),
        Panel(
            "Cost by model",
            "Settled per hour, by the model that made it.",
            (
                PromQuery(
                    "3600 * sum by (model) (rate(gateway_cost_settled_usd_total"
                    '{tenant=~"$tenant", model=~"$model", settlement!="free"}[15m]))',
                    "{{model}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.STACK,
        ),
        Panel(
            "What became of reservations",
            "Per hour: told by RunComfy, counted by estimate, given back.",
            (
                PromQuery(
                    "3600 * sum by (settlement) "
                    f"(rate(gateway_cost_settled_usd_total{_TENANT_AND_MODEL}[15m]))",
                    "{{settlement}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.STACK,
        ),
        Panel(
            "What submits found",
            "Per second: a result (hit), a job to join, nothing (miss); off; an earlier answer.",
            (PromQuery(rate("gateway_cache_requests_total", "result"), "{{result}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Share that need not be paid",
            "Hits and joins, of the submits that were compared.",
            (PromQuery(_CACHE_HIT_RATIO, "found"), PromQuery(_REPLAY_RATIO, "replayed")),
            PanelUnit.RATIO,
        ),
        Panel(
            "Admitted by tenant",
            "Jobs per second.",
            (
                PromQuery(
                    rate(f"gateway_jobs_admitted_total{_TENANT_AND_MODEL}", "tenant"), "{{tenant}}"
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Refused submits",
            "By the problem's code, each step.",
            (
                PromQuery(
                    increase('gateway_submissions_total{outcome!="accepted"}', "outcome"),
                    "{{outcome}}",
                ),
            ),
            panel_type=PanelType.STACK,
            runbook="budget-spent",
        ),
        Panel(
            "Ended without success",
            "Jobs by tenant and state, each step.",
            (
                PromQuery(
                    increase(
                        'gateway_jobs_ended_total{tenant=~"$tenant", model=~"$model", '
                        'state!="succeeded"}',
                        "tenant, state",
                    ),
                    "{{tenant}}: {{state}}",
                ),
            ),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "Turns are fair by weight; a long queue is its own tenant's.",
            (PromQuery(max_gauge(f"gateway_waiting_jobs{_TENANT}", "tenant"), "{{tenant}}"),),
            panel_type=PanelType.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "By tenant, with its limit where it has one.",
            (
                PromQuery(
                    max_gauge(f"gateway_tenant_slots_in_use{_TENANT}", "tenant"), "{{tenant}}"
                ),
                PromQuery(
                    max_gauge(f"gateway_tenant_slots_limit{_TENANT}", "tenant"), "{{tenant}}: limit"
                ),
            ),
        ),
        Panel(
            "Jobs today",
            "Admitted since 00:00 UTC.",
            (
                PromQuery(
                    max_gauge('gateway_tenant_jobs{tenant=~"$tenant", window="day"}', "tenant"),
                    "{{tenant}}",
                ),
            ),
            panel_type=PanelType.BARS,
        ),
    ),
)
