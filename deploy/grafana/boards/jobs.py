"""The life of jobs: how many, how old, how long each part takes."""

from deploy.grafana.panel import (
    RATE_INTERVAL,
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

_TENANT_AND_MODEL = '{tenant=~"$tenant", model=~"$model"}'
_UNSUCCESSFUL = 'gateway_jobs_ended_total{tenant=~"$tenant", model=~"$model", state!="succeeded"}'
_MODEL = '{model=~"$model"}'

JOBS = Dashboard(
    "gateway-jobs",
    "Gateway: jobs",
    "The life of jobs: how many, how old, and how long each part of it takes.",
    (
        Panel(
            "Admitted",
            "Jobs taken in per second.",
            (
                PromQuery(
                    rate(f"gateway_jobs_admitted_total{_TENANT_AND_MODEL}", "model"), "{{model}}"
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Ended",
            "Jobs ended per second.",
            (
                PromQuery(
                    rate(f"gateway_jobs_ended_total{_TENANT_AND_MODEL}", "state"), "{{state}}"
                ),
            ),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "Ends that were no success",
            "Share of ended jobs, by state.",
            (
                PromQuery(
                    f"{rate(_UNSUCCESSFUL, 'state')} / on () group_left () "
                    f"sum(rate(gateway_jobs_ended_total{_TENANT_AND_MODEL}[{RATE_INTERVAL}]))",
                    "{{state}}",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.05, 0.2),
        ),
        Panel(
            "Open by state",
            "Where the open jobs stand.",
            (PromQuery(max_gauge("gateway_jobs", "state"), "{{state}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Oldest unsent job",
            "Age of the oldest job that RunComfy has not got.",
            (PromQuery(max_gauge("gateway_oldest_unsubmitted_job_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(300, 900),
            runbook="oldest-job",
        ),
        Panel(
            "In doubt, stuck",
            "Submits without an answer, and jobs that nobody looks at though it is time.",
            (
                PromQuery(max_gauge('gateway_jobs{state="in_doubt"}'), "in doubt"),
                PromQuery(max_gauge("gateway_stuck_jobs"), "stuck"),
            ),
            thresholds=(1,),
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Before RunComfy",
            "From admission to RunComfy's acceptance, waiting for a slot included.",
            quantiles("gateway_job_start_delay_seconds"),
            PanelUnit.SECONDS,
        ),
        Panel(
            "At RunComfy (median)",
            "From its acceptance to a success.",
            (
                PromQuery(
                    quantile(0.5, "gateway_job_run_duration_seconds", "model", _MODEL), "{{model}}"
                ),
            ),
            PanelUnit.SECONDS,
        ),
        Panel(
            "After RunComfy",
            "From RunComfy's `finished_at` to our record of the end.",
            quantiles("gateway_detection_lag_seconds", _MODEL),
            PanelUnit.SECONDS,
            thresholds=(5, 15),
            runbook="nothing-finishing",
        ),
        Panel(
            "Our own overhead",
            "A finished job's time without RunComfy: before its acceptance and after its end.",
            quantiles("gateway_job_overhead_seconds"),
            PanelUnit.SECONDS,
        ),
        Panel(
            "From admission to the end",
            "The 95th percentile by how it ended.",
            (PromQuery(quantile(0.95, "gateway_job_duration_seconds", "state"), "{{state}}"),),
            PanelUnit.SECONDS,
        ),
        Panel(
            "Facts",
            "What moves jobs, per second.",
            (PromQuery(rate("gateway_job_transitions_total", "trigger"), "{{trigger}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "By tenant; a queue that only grows is a quota too small or a RunComfy too slow.",
            (
                PromQuery(
                    max_gauge('gateway_waiting_jobs{tenant=~"$tenant"}', "tenant"), "{{tenant}}"
                ),
            ),
            panel_type=PanelType.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "All of them, and those of each model, with the limits where there are any.",
            (
                PromQuery(max_gauge("gateway_slots_in_use"), "all"),
                PromQuery(max_gauge("gateway_slots_limit"), "limit"),
                PromQuery(max_gauge(f"gateway_model_slots_in_use{_MODEL}", "model"), "{{model}}"),
            ),
        ),
        Panel(
            "Age of the oldest doubt",
            "After `GATEWAY_DOUBT__HOLD` (15 min) nobody can attach it any more.",
            (PromQuery(max_gauge("gateway_oldest_in_doubt_job_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(300, 720),
            runbook="jobs-in-doubt",
        ),
    ),
)
