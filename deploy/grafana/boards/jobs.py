"""The life of jobs: how many, how old, how long each part takes."""

from deploy.grafana.panel import (
    WINDOW,
    Board,
    Look,
    Panel,
    Query,
    Unit,
    level,
    quantile,
    quantiles,
    rate,
)

_WHOSE = '{tenant=~"$tenant", model=~"$model"}'
_NO_SUCCESS = 'gateway_jobs_ended_total{tenant=~"$tenant", model=~"$model", state!="succeeded"}'
_MODEL = '{model=~"$model"}'

JOBS = Board(
    "gateway-jobs",
    "Gateway: jobs",
    "The life of jobs: how many, how old, and how long each part of it takes.",
    (
        Panel(
            "Admitted",
            "Jobs taken in per second.",
            (Query(rate(f"gateway_jobs_admitted_total{_WHOSE}", "model"), "{{model}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Ended",
            "Jobs ended per second.",
            (Query(rate(f"gateway_jobs_ended_total{_WHOSE}", "state"), "{{state}}"),),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "Ends that were no success",
            "Share of ended jobs, by state.",
            (
                Query(
                    f"{rate(_NO_SUCCESS, 'state')} / on () group_left () "
                    f"sum(rate(gateway_jobs_ended_total{_WHOSE}[{WINDOW}]))",
                    "{{state}}",
                ),
            ),
            Unit.RATIO,
            levels=(0.05, 0.2),
        ),
        Panel(
            "Open by state",
            "Where the open jobs stand.",
            (Query(level("gateway_jobs", "state"), "{{state}}"),),
            look=Look.STACK,
        ),
        Panel(
            "Oldest unsent job",
            "Age of the oldest job that RunComfy has not got.",
            (Query(level("gateway_oldest_unsubmitted_job_age_seconds"), "age"),),
            Unit.SECONDS,
            levels=(300, 900),
            runbook="oldest-job",
        ),
        Panel(
            "In doubt, stuck",
            "Submits without an answer, and jobs that nobody looks at though it is time.",
            (
                Query(level('gateway_jobs{state="in_doubt"}'), "in doubt"),
                Query(level("gateway_stuck_jobs"), "stuck"),
            ),
            levels=(1,),
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Before RunComfy",
            "From admission to RunComfy's acceptance, waiting for a slot included.",
            quantiles("gateway_job_start_delay_seconds"),
            Unit.SECONDS,
        ),
        Panel(
            "At RunComfy (median)",
            "From its acceptance to a success.",
            (
                Query(
                    quantile(0.5, "gateway_job_run_duration_seconds", "model", _MODEL), "{{model}}"
                ),
            ),
            Unit.SECONDS,
        ),
        Panel(
            "After RunComfy",
            "From RunComfy's `finished_at` to our record of the end.",
            quantiles("gateway_detection_lag_seconds", _MODEL),
            Unit.SECONDS,
            levels=(5, 15),
            runbook="nothing-finishing",
        ),
        Panel(
            "Our own overhead",
            "A finished job's time without RunComfy: before its acceptance and after its end.",
            quantiles("gateway_job_overhead_seconds"),
            Unit.SECONDS,
        ),
        Panel(
            "From admission to the end",
            "The 95th percentile by how it ended.",
            (Query(quantile(0.95, "gateway_job_duration_seconds", "state"), "{{state}}"),),
            Unit.SECONDS,
        ),
        Panel(
            "Facts",
            "What moves jobs, per second.",
            (Query(rate("gateway_job_transitions_total", "trigger"), "{{trigger}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "By tenant; a queue that only grows is a quota too small or a RunComfy too slow.",
            (Query(level('gateway_waiting_jobs{tenant=~"$tenant"}', "tenant"), "{{tenant}}"),),
            look=Look.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "All of them, and those of each model, with the limits where there are any.",
            (
                Query(level("gateway_slots_in_use"), "all"),
                Query(level("gateway_slots_limit"), "limit"),
                Query(level(f"gateway_model_slots_in_use{_MODEL}", "model"), "{{model}}"),
            ),
        ),
        Panel(
            "Age of the oldest doubt",
            "After `GATEWAY_DOUBT__HOLD` (15 min) nobody can attach it any more.",
            (Query(level("gateway_oldest_in_doubt_job_age_seconds"), "age"),),
            Unit.SECONDS,
            levels=(300, 720),
            runbook="jobs-in-doubt",
        ),
    ),
)
