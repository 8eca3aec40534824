"""Dashboard of jobs: counts, ages, and the duration of each phase."""

from deploy.grafana.panel import (
    RATE_INTERVAL,
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    increase,
    max_gauge,
    quantile,
    quantiles,
    rate,
)

_UNSUCCESSFUL = 'gateway_jobs_ended_total{state!="succeeded"}'
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

_OUTPUTS = (
    Panel(
        "Outputs kept",
        "Per second, by tenant.",
        (PromQuery(rate("gateway_outputs_kept_total", "tenant"), "{{tenant}}"),),
        PanelUnit.PER_SECOND,
        PanelType.STACK,
    ),
    Panel(
        "Bytes of outputs kept",
        "Per second, by tenant.",
        (PromQuery(rate("gateway_outputs_kept_bytes_total", "tenant"), "{{tenant}}"),),
        PanelUnit.BYTES,
        PanelType.STACK,
    ),
    Panel(
        "Bytes stored",
        "Uploads, kept outputs and large inputs, by tenant, with the limits that are set.",
        (
            PromQuery(max_gauge("gateway_tenant_stored_bytes", "tenant"), "{{tenant}}"),
            PromQuery(
                max_gauge("gateway_tenant_stored_bytes_limit", "tenant"),
                "{{tenant}}: limit",
            ),
        ),
        PanelUnit.BYTES,
        runbook="archive-late",
        empty_reason="No tenant stores anything, or none has a limit.",
    ),
    Panel(
        "Duration of transfers of outputs",
        "From RunComfy's media host to the storage.",
        quantiles("gateway_output_transfer_duration_seconds"),
        PanelUnit.SECONDS,
        runbook="archive-late",
    ),
    Panel(
        "Failed attempts to keep an output",
        "Per second, by reason.",
        (PromQuery(rate("gateway_output_failures_total", "reason"), "{{reason}}"),),
        PanelUnit.PER_SECOND,
        PanelType.STACK,
        runbook="archive-late",
        empty_reason="Every attempt kept its output.",
    ),
    Panel(
        "Jobs whose outputs are not kept yet",
        "They have ended, or wait for it; attempts continue.",
        (PromQuery(max_gauge("gateway_unarchived_jobs"), "jobs"),),
        runbook="archive-late",
    ),
    Panel(
        "Oldest output that is not kept",
        "RunComfy deletes it after 7 days; the last attempt is half a day before.",
        (PromQuery(max_gauge("gateway_oldest_unarchived_job_age_seconds"), "age"),),
        PanelUnit.SECONDS,
        thresholds=(3600, 475200),
        runbook="archive-late",
    ),
)

JOBS = Dashboard(
    "gateway-jobs",
    "Gateway: jobs",
    "Counts and ages of jobs, and the duration of each phase.",
    (
        Panel(
            "Admitted",
            "Jobs admitted per second, by model.",
            (PromQuery(rate("gateway_jobs_admitted_total", "model"), "{{model}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Ended",
            "Jobs ended per second, by final state.",
            (PromQuery(rate("gateway_jobs_ended_total", "state"), "{{state}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="nothing-finishing",
        ),
        Panel(
            "Unsuccessful jobs",
            "Share of ended jobs, by final state.",
            (
                PromQuery(
                    f"{rate(_UNSUCCESSFUL, 'state')} / on () group_left () "
                    f"sum(rate(gateway_jobs_ended_total[{RATE_INTERVAL}]))",
                    "{{state}}",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.05, 0.2),
        ),
        Panel(
            "Open jobs by state",
            "Jobs that have not ended.",
            (PromQuery(max_gauge("gateway_jobs", "state"), "{{state}}"),),
            panel_type=PanelType.STACK,
        ),
        Panel(
            "Oldest unsubmitted job",
            "Age of the oldest job not yet submitted to RunComfy.",
            (PromQuery(max_gauge("gateway_oldest_unsubmitted_job_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(300, 900),
            runbook="oldest-job",
        ),
        Panel(
            "In doubt, overdue, unreadable",
            "Submits without an answer, jobs more than 60 s past their due time, and jobs whose "
            "record this release cannot read.",
            (
                PromQuery(max_gauge('gateway_jobs{state="in_doubt"}'), "in doubt"),
                PromQuery(max_gauge("gateway_stuck_jobs"), "overdue"),
                PromQuery(max_gauge("gateway_unreadable_jobs"), "unreadable"),
            ),
            thresholds=(1,),
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Start delay",
            "From admission to RunComfy's acceptance, including the wait for a slot.",
            quantiles("gateway_job_start_delay_seconds"),
            PanelUnit.SECONDS,
        ),
        Panel(
            "Run duration (median)",
            "From RunComfy's acceptance to success.",
            (PromQuery(quantile(0.5, "gateway_job_run_duration_seconds", "model"), "{{model}}"),),
            PanelUnit.SECONDS,
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
            "Gateway overhead",
            "Time of a finished job outside RunComfy: before its acceptance and after its end.",
            quantiles("gateway_job_overhead_seconds"),
            PanelUnit.SECONDS,
        ),
        Panel(
            "Total duration (p95)",
            "From admission to the end, by final state.",
            (PromQuery(quantile(0.95, "gateway_job_duration_seconds", "state"), "{{state}}"),),
            PanelUnit.SECONDS,
        ),
        Panel(
            "Transitions",
            "State transitions per second, by trigger.",
            (PromQuery(rate("gateway_job_transitions_total", "trigger"), "{{trigger}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Waiting for a slot",
            "By tenant. A growing queue means too small a limit or a slow RunComfy.",
            (PromQuery(max_gauge("gateway_waiting_jobs", "tenant"), "{{tenant}}"),),
            panel_type=PanelType.STACK,
            runbook="oldest-job",
        ),
        Panel(
            "Slots in use",
            "In total and per model, with the limits that are set.",
            (
                PromQuery(max_gauge("gateway_slots_in_use"), "all"),
                PromQuery(max_gauge("gateway_slots_limit"), "limit"),
                PromQuery(max_gauge("gateway_model_slots_in_use", "model"), "{{model}}"),
            ),
        ),
        Panel(
            "Oldest job in doubt",
            "After `GATEWAY_DOUBT__HOLD` (15 min) it fails and can no longer be attached.",
            (PromQuery(max_gauge("gateway_oldest_in_doubt_job_age_seconds"), "age"),),
            PanelUnit.SECONDS,
            thresholds=(300, 720),
            runbook="jobs-in-doubt",
        ),
        Panel(
            "Files received",
            "Uploads, and fetches of private sources, in 5 minutes, by how they ended.",
            (
                PromQuery(
                    increase("gateway_files_received_total", "origin, outcome"),
                    "{{origin}} {{outcome}}",
                ),
            ),
            panel_type=PanelType.STACK,
            runbook="file-storage-failing",
        ),
        Panel(
            "Bytes of files received",
            "Per second, by origin.",
            (PromQuery(rate("gateway_files_received_bytes_total", "origin"), "{{origin}}"),),
            PanelUnit.BYTES,
            PanelType.STACK,
        ),
        Panel(
            "Duration of uploads and fetches (p95)",
            "Of those that stored a file, by origin.",
            (
                PromQuery(
                    quantile(0.95, "gateway_file_receive_duration_seconds", "origin"),
                    "{{origin}}",
                ),
            ),
            PanelUnit.SECONDS,
            runbook="private-source-away",
        ),
        Panel(
            "Cache results",
            "Submits per second: hit (stored result), joined (running job), miss, off, replayed.",
            (PromQuery(rate("gateway_cache_requests_total", "result"), "{{result}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Cache hit ratio",
            "Hits and joins among submits that may use the cache; replays among all submits.",
            (PromQuery(_CACHE_HIT_RATIO, "hit or joined"), PromQuery(_REPLAY_RATIO, "replayed")),
            PanelUnit.RATIO,
        ),
        Panel(
            "Refused submits",
            "By problem code, per step.",
            (
                PromQuery(
                    increase('gateway_submissions_total{outcome!="accepted"}', "outcome"),
                    "{{outcome}}",
                ),
            ),
            panel_type=PanelType.STACK,
            runbook="budget-nearly-spent",
        ),
        *_OUTPUTS,
    ),
)
