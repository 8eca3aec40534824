"""Dashboard of usage and cost per tenant."""

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


def _window(window: str, booking: str) -> str:
    return f'gateway_tenant_cost_usd{{tenant=~"$tenant", window="{window}", type="{booking}"}}'


TENANTS = Dashboard(
    "gateway-tenants",
    "Gateway: tenants and spend",
    "Usage, cost and remaining budget of each tenant.",
    (
        Panel(
            "Cost today",
            "Settled since each tenant's day began, by its own calendar.",
            (PromQuery(max_gauge(_window("day", "settled"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Cost this month",
            "Settled since each tenant's month began, by its own calendar.",
            (PromQuery(max_gauge(_window("month", "settled"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Reserved",
            "Estimates of the month's jobs without a settled cost.",
            (PromQuery(max_gauge(_window("month", "held"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Saved today",
            "Cost avoided by the result cache and request coalescing, in each tenant's day.",
            (PromQuery(max_gauge(_window("day", "saved"), "tenant"), "{{tenant}}"),),
            PanelUnit.USD,
            PanelType.BARS,
        ),
        Panel(
            "Spend per day",
            "Settled in the day before each point, by tenant; the last 30 days.",
            (
                PromQuery(
                    "sum by (tenant) (increase(gateway_cost_settled_usd_total"
                    '{tenant=~"$tenant", settlement!="free"}[1d]))',
                    "{{tenant}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.STACK,
            width=12,
            daily=True,
        ),
        Panel(
            "Spend by tenant and model",
            "Settled in the range of the dashboard.",
            (
                PromQuery(
                    "sort_desc(sum by (tenant, model) (increase(gateway_cost_settled_usd_total"
                    '{tenant=~"$tenant", settlement!="free"}[$__range])) > 0)',
                    "{{tenant}}, {{model}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.TABLE,
            width=12,
            empty_reason="Nothing was settled in this time.",
        ),
        Panel(
            "Remaining budget",
            "Share of each budget of a tenant, top-ups included.",
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
            runbook="budget-nearly-spent",
        ),
        Panel(
            "Cost by model",
            "Settled per hour.",
            (
                PromQuery(
                    "3600 * sum by (model) (rate(gateway_cost_settled_usd_total"
                    '{tenant=~"$tenant", settlement!="free"}[15m]))',
                    "{{model}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.STACK,
        ),
        Panel(
            "Settlements",
            "Per hour: cost reported by RunComfy, cost by estimate, released.",
            (
                PromQuery(
                    "3600 * sum by (settlement) "
                    f"(rate(gateway_cost_settled_usd_total{_TENANT}[15m]))",
                    "{{settlement}}",
                ),
            ),
            PanelUnit.USD,
            PanelType.STACK,
        ),
        Panel(
            "Admitted by tenant",
            "Jobs per second.",
            (PromQuery(rate(f"gateway_jobs_admitted_total{_TENANT}", "tenant"), "{{tenant}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Unsuccessful jobs",
            "By tenant and final state, per step.",
            (
                PromQuery(
                    increase(
                        'gateway_jobs_ended_total{tenant=~"$tenant", state!="succeeded"}',
                        "tenant, state",
                    ),
                    "{{tenant}}: {{state}}",
                ),
            ),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "Dispatching is fair by weight: a long queue delays its own tenant only.",
            (PromQuery(max_gauge(f"gateway_waiting_jobs{_TENANT}", "tenant"), "{{tenant}}"),),
            panel_type=PanelType.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "By tenant, with the limits that are set.",
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
            "Admitted since each tenant's day began, by its own calendar.",
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
