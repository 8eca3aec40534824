"""Redis and our processes."""

from deploy.grafana.panel import (
    Dashboard,
    Panel,
    PanelType,
    PanelUnit,
    PromQuery,
    increase,
    max_gauge,
    quantile,
    rate,
)

_GATEWAY_JOBS = '{job=~"gateway-.*"}'

INFRASTRUCTURE = Dashboard(
    "gateway-machines",
    "Gateway: Redis and processes",
    "What everything runs on.",
    (
        Panel(
            "Round trips to Redis",
            "Median and 99th percentile, by who asks.",
            (
                PromQuery(
                    quantile(0.5, "gateway_redis_round_trip_duration_seconds", "job"), "{{job}} p50"
                ),
                PromQuery(
                    quantile(0.99, "gateway_redis_round_trip_duration_seconds", "job"),
                    "{{job}} p99",
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(0.025, 0.1),
            runbook="redis-slow",
        ),
        Panel(
            "Round trips per second",
            "Each carries all commands of one turn of the event loop.",
            (PromQuery(rate("gateway_redis_round_trip_duration_seconds_count", "job"), "{{job}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Commands of Redis",
            "Per second, ours and others'.",
            (
                PromQuery(
                    "max(rate(gateway_redis_commands_total[$__rate_interval]))",
                    "commands",
                ),
            ),
            PanelUnit.PER_SECOND,
        ),
        Panel(
            "Memory of Redis",
            "Used, and `maxmemory` (0: none, so that the machine's end is Redis's end).",
            (
                PromQuery(max_gauge("gateway_redis_memory_bytes"), "used"),
                PromQuery(max_gauge("gateway_redis_memory_limit_bytes"), "limit"),
            ),
            PanelUnit.BYTES,
            runbook="redis-memory",
        ),
        Panel(
            "Keys and connections",
            "A number of keys that only grows is a leak.",
            (
                PromQuery(max_gauge("gateway_redis_keys"), "keys"),
                PromQuery(max_gauge("gateway_redis_clients"), "connections"),
            ),
        ),
        Panel(
            "Can Redis lose anything?",
            "1 where the append-only file is on, and where its last write went well.",
            (
                PromQuery("min(gateway_redis_aof_enabled)", "file on"),
                PromQuery("min(gateway_redis_aof_last_write_ok)", "write well"),
                PromQuery(
                    "max(increase(gateway_redis_evicted_keys_total[5m]))", "evicted in 5 min"
                ),
            ),
            runbook="redis-not-durable",
        ),
        Panel(
            "Reached",
            "Whether each process answers Prometheus, and Redis answers each process.",
            (
                PromQuery(f"up{_GATEWAY_JOBS}", "{{job}} {{instance}}"),
                PromQuery("gateway_redis_up", "Redis for {{instance}}"),
            ),
            thresholds=(1,),
            lower_is_worse=True,
            runbook="redis-away",
        ),
        Panel(
            "CPU",
            "Cores in use; the members of a crew together.",
            (
                PromQuery(
                    rate(f"process_cpu_seconds_total{_GATEWAY_JOBS}", "instance"), "{{instance}}"
                ),
            ),
            PanelUnit.CORES,
            thresholds=(0.8, 0.95),
        ),
        Panel(
            "Memory of processes",
            "Resident; the members of a crew together.",
            (
                PromQuery(
                    f"sum by (instance) (process_resident_memory_bytes{_GATEWAY_JOBS})",
                    "{{instance}}",
                ),
            ),
            PanelUnit.BYTES,
        ),
        Panel(
            "Open files",
            "Share of what each process may open.",
            (
                PromQuery(
                    "max by (instance) "
                    f"(process_open_fds{_GATEWAY_JOBS} / process_max_fds{_GATEWAY_JOBS})",
                    "{{instance}}",
                ),
            ),
            PanelUnit.RATIO,
            thresholds=(0.5, 0.8),
        ),
        Panel(
            "Requests by route",
            "HTTP calls per second.",
            (PromQuery(rate("gateway_http_requests_total", "route"), "{{route}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Answers by status",
            "HTTP calls per second.",
            (PromQuery(rate("gateway_http_requests_total", "status"), "{{status}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="accept-failing",
        ),
        Panel(
            "Time to answer (95 %)",
            "By route, to the end of the answer.",
            (
                PromQuery(
                    quantile(0.95, "gateway_http_request_duration_seconds", "route"), "{{route}}"
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(0.25, 1),
        ),
        Panel(
            "Work in hand",
            "Of each worker: steps of jobs, attempts at callbacks.",
            (PromQuery("gateway_worker_tasks_in_progress", "{{instance}} {{loop}}"),),
            runbook="oldest-job",
        ),
        Panel(
            "Warnings",
            "What an operator should read of; the log has each.",
            (PromQuery(increase("gateway_warnings_total", "code") + " > 0", "{{code}}"),),
            panel_type=PanelType.STACK,
            runbook="defects",
            empty_reason="Nothing may be wrong for the whole span.",
        ),
        Panel(
            "Times that Redis was lost",
            "By process.",
            (PromQuery(increase("gateway_redis_disconnects_total", "instance"), "{{instance}}"),),
            runbook="redis-away",
        ),
        Panel(
            "Reading all levels",
            "How long one reading of Redis for these figures takes.",
            (PromQuery("gateway_state_read_duration_seconds", "{{instance}}"),),
            PanelUnit.SECONDS,
            thresholds=(0.1, 1),
            runbook="redis-slow",
        ),
        Panel(
            "Versions",
            "Processes by what they run.",
            (
                PromQuery(
                    "sum by (process, version) (gateway_build_info)", "{{process}} {{version}}"
                ),
            ),
            panel_type=PanelType.BARS,
        ),
    ),
)
