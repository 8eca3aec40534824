"""Dashboard of Redis and the gateway's processes."""

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
    "gateway-infrastructure",
    "Gateway: Redis and processes",
    "Latency, memory and durability of Redis; CPU, memory and requests of each process.",
    (
        Panel(
            "Redis latency",
            "Round trip, median and 99th percentile, by process type.",
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
            "Redis round trips",
            "Per second. One round trip carries all commands of one event loop iteration.",
            (PromQuery(rate("gateway_redis_round_trip_duration_seconds_count", "job"), "{{job}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Redis commands",
            "Per second, including those of other clients.",
            (
                PromQuery(
                    "max(rate(gateway_redis_commands_total[$__rate_interval]))",
                    "commands",
                ),
            ),
            PanelUnit.PER_SECOND,
        ),
        Panel(
            "Redis memory",
            "Used memory and `maxmemory` (0: no limit; Redis is killed when the host runs out).",
            (
                PromQuery(max_gauge("gateway_redis_memory_bytes"), "used"),
                PromQuery(max_gauge("gateway_redis_memory_limit_bytes"), "limit"),
            ),
            PanelUnit.BYTES,
            runbook="redis-memory",
        ),
        Panel(
            "Redis keys and connections",
            "A number of keys that only grows is a leak.",
            (
                PromQuery(max_gauge("gateway_redis_keys"), "keys"),
                PromQuery(max_gauge("gateway_redis_clients"), "connections"),
            ),
        ),
        Panel(
            "Redis durability",
            "1: the append-only file is on, and its last write succeeded.",
            (
                PromQuery("min(gateway_redis_aof_enabled)", "AOF enabled"),
                PromQuery("min(gateway_redis_aof_last_write_ok)", "last AOF write ok"),
                PromQuery(
                    "max(increase(gateway_redis_evicted_keys_total[5m]))", "keys evicted in 5 min"
                ),
            ),
            runbook="redis-not-durable",
        ),
        Panel(
            "Reachable",
            "1: the process answers Prometheus, and Redis answers the process.",
            (
                PromQuery(f"up{_GATEWAY_JOBS}", "{{job}} {{instance}}"),
                PromQuery("gateway_redis_up", "Redis for {{instance}}"),
            ),
            thresholds=(1,),
            lower_is_worse=True,
            runbook="redis-down",
        ),
        Panel(
            "Journal",
            "1: the journal of paid submits answers the worker. 0: no submit leaves.",
            (
                PromQuery("gateway_journal_up", "{{instance}}"),
                PromQuery("min(gateway_journal_enabled)", "enabled"),
            ),
            thresholds=(1,),
            lower_is_worse=True,
            runbook="journal-away",
        ),
        Panel(
            "Submits allowed",
            "1: Redis is the known store and has forgotten nothing. 0: no submit leaves.",
            (
                PromQuery("gateway_submits_allowed", "{{instance}}"),
                PromQuery(
                    increase("gateway_jobs_reconciled_total", "difference"), "{{difference}}"
                ),
            ),
            thresholds=(1,),
            lower_is_worse=True,
            runbook="store-went-back",
        ),
        Panel(
            "Clock skew",
            "How far each host's clock is ahead of Redis's; leases and deadlines follow Redis's.",
            (PromQuery("gateway_clock_skew_seconds", "{{instance}}"),),
            PanelUnit.SECONDS,
            thresholds=(2,),
            runbook="clock-skew",
        ),
        Panel(
            "Journal latency",
            "p99 of calls of the journal, by operation.",
            (
                PromQuery(
                    quantile(0.99, "gateway_journal_call_duration_seconds", "operation"),
                    "{{operation}}",
                ),
            ),
            PanelUnit.SECONDS,
        ),
        Panel(
            "CPU",
            "Cores in use; all processes of one `gateway serve` together.",
            (
                PromQuery(
                    rate(f"process_cpu_seconds_total{_GATEWAY_JOBS}", "instance"), "{{instance}}"
                ),
            ),
            PanelUnit.CORES,
            thresholds=(0.8, 0.95),
        ),
        Panel(
            "Process memory",
            "Resident; all processes of one `gateway serve` together.",
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
            "Share of each process's limit.",
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
            "HTTP requests by route",
            "Requests per second.",
            (PromQuery(rate("gateway_http_requests_total", "route"), "{{route}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
        ),
        Panel(
            "Requests without a valid key",
            "Per second, by the API that they called.",
            (PromQuery(rate("gateway_authentication_failures_total", "api"), "{{api}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="authentication-failures",
        ),
        Panel(
            "HTTP responses by status",
            "Requests per second.",
            (PromQuery(rate("gateway_http_requests_total", "status"), "{{status}}"),),
            PanelUnit.PER_SECOND,
            PanelType.STACK,
            runbook="submissions-failing",
        ),
        Panel(
            "HTTP latency (p95)",
            "By route, to the end of the response.",
            (
                PromQuery(
                    quantile(0.95, "gateway_http_request_duration_seconds", "route"), "{{route}}"
                ),
            ),
            PanelUnit.SECONDS,
            thresholds=(0.25, 1),
        ),
        Panel(
            "Tasks in progress",
            "Per worker: job steps and webhook attempts.",
            (PromQuery("gateway_worker_tasks_in_progress", "{{instance}} {{loop}}"),),
            runbook="oldest-job",
        ),
        Panel(
            "Warnings",
            "Operational warnings by code; the log has each one.",
            (PromQuery(increase("gateway_warnings_total", "code") + " > 0", "{{code}}"),),
            panel_type=PanelType.STACK,
            runbook="internal-errors",
            empty_reason="No warning in this period.",
        ),
        Panel(
            "Redis disconnects",
            "By process.",
            (PromQuery(increase("gateway_redis_disconnects_total", "instance"), "{{instance}}"),),
            runbook="redis-down",
        ),
        Panel(
            "State snapshot duration",
            "Time of one read of the gauges from Redis.",
            (PromQuery("gateway_state_read_duration_seconds", "{{instance}}"),),
            PanelUnit.SECONDS,
            thresholds=(0.1, 1),
            runbook="redis-slow",
        ),
        Panel(
            "Versions",
            "Number of processes by version.",
            (
                PromQuery(
                    "sum by (process, version) (gateway_build_info)", "{{process}} {{version}}"
                ),
            ),
            panel_type=PanelType.BARS,
        ),
    ),
)
