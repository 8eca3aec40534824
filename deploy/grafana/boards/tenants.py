"""Who uses the account, and what it costs."""

from deploy.grafana.panel import Board, Look, Panel, Query, Unit, grown, level, rate

_TENANT = '{tenant=~"$tenant"}'
_WHOSE = '{tenant=~"$tenant", model=~"$model"}'
_COMPARED = 'sum(rate(gateway_cache_requests_total{result=~"hit|joined|miss"}[$__rate_interval]))'
_FOUND = (
    'sum(rate(gateway_cache_requests_total{result=~"hit|joined"}[$__rate_interval])) / ' + _COMPARED
)
_REPLAYED = (
    'sum(rate(gateway_cache_requests_total{result="replayed"}[$__rate_interval])) / '
    "sum(rate(gateway_cache_requests_total[$__rate_interval]))"
)


def _window(window: str, booking: str) -> str:
    return f'gateway_tenant_cost_usd{{tenant=~"$tenant", window="{window}", type="{booking}"}}'


TENANTS = Board(
    "gateway-tenants",
    "Gateway: tenants and spend",
    "Who uses the account, what it costs, and what is left.",
    (
        Panel(
            "Cost today",
            "Settled since 00:00 UTC.",
            (Query(level(_window("day", "settled"), "tenant"), "{{tenant}}"),),
            Unit.USD,
            Look.BARS,
        ),
        Panel(
            "Cost this month",
            "Settled since the 1st, UTC.",
            (Query(level(_window("month", "settled"), "tenant"), "{{tenant}}"),),
            Unit.USD,
            Look.BARS,
        ),
        Panel(
            "Held",
            "Reserved by jobs whose cost is not known yet.",
            (Query(level(_window("day", "held"), "tenant"), "{{tenant}}"),),
            Unit.USD,
            Look.BARS,
        ),
        Panel(
            "Saved today",
            "What jobs did not cost since another had paid, since 00:00 UTC.",
            (Query(level(_window("day", "saved"), "tenant"), "{{tenant}}"),),
            Unit.USD,
            Look.BARS,
        ),
        Panel(
            "Budget left",
            "Share of a tenant's day and month that is left.",
            (
                Query(
                    f"max by (tenant, window) (gateway_tenant_budget_remaining_usd{_TENANT}) / "
                    f"max by (tenant, window) (gateway_tenant_budget_usd{_TENANT})",
                    "{{tenant}}, {{window}}",
                ),
            ),
            Unit.RATIO,
            levels=(0.25, 0.1),
            falling=True,
            runbook="budget-spent",
        ),
        Panel(
            "Cost by model",
            "Settled per hour, by the model that made it.",
            (
                Query(
                    "3600 * sum by (model) (rate(gateway_cost_settled_usd_total"
                    '{tenant=~"$tenant", model=~"$model", settlement!="free"}[15m]))',
                    "{{model}}",
                ),
            ),
            Unit.USD,
            Look.STACK,
        ),
        Panel(
            "What became of reservations",
            "Per hour: told by RunComfy, counted by estimate, given back.",
            (
                Query(
                    "3600 * sum by (settlement) "
                    f"(rate(gateway_cost_settled_usd_total{_WHOSE}[15m]))",
                    "{{settlement}}",
                ),
            ),
            Unit.USD,
            Look.STACK,
        ),
        Panel(
            "What submits found",
            "Per second: a result (hit), a job to join, nothing (miss); off; an earlier answer.",
            (Query(rate("gateway_cache_requests_total", "result"), "{{result}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Share that need not be paid",
            "Hits and joins, of the submits that were compared.",
            (Query(_FOUND, "found"), Query(_REPLAYED, "replayed")),
            Unit.RATIO,
        ),
        Panel(
            "Admitted by tenant",
            "Jobs per second.",
            (Query(rate(f"gateway_jobs_admitted_total{_WHOSE}", "tenant"), "{{tenant}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Refused submits",
            "By the problem's code, each step.",
            (
                Query(
                    grown('gateway_submissions_total{outcome!="accepted"}', "outcome"),
                    "{{outcome}}",
                ),
            ),
            look=Look.STACK,
            runbook="budget-spent",
        ),
        Panel(
            "Ended without success",
            "Jobs by tenant and state, each step.",
            (
                Query(
                    grown(
                        'gateway_jobs_ended_total{tenant=~"$tenant", model=~"$model", '
                        'state!="succeeded"}',
                        "tenant, state",
                    ),
                    "{{tenant}}: {{state}}",
                ),
            ),
            look=Look.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "Turns are fair by weight; a long queue is its own tenant's.",
            (Query(level(f"gateway_waiting_jobs{_TENANT}", "tenant"), "{{tenant}}"),),
            look=Look.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "By tenant, with its limit where it has one.",
            (
                Query(level(f"gateway_tenant_slots_in_use{_TENANT}", "tenant"), "{{tenant}}"),
                Query(level(f"gateway_tenant_slots_limit{_TENANT}", "tenant"), "{{tenant}}: limit"),
            ),
        ),
        Panel(
            "Jobs today",
            "Admitted since 00:00 UTC.",
            (
                Query(
                    level('gateway_tenant_jobs{tenant=~"$tenant", window="day"}', "tenant"),
                    "{{tenant}}",
                ),
            ),
            look=Look.BARS,
        ),
    ),
)
