"""Redis and our processes."""

from deploy.grafana.panel import Board, Look, Panel, Query, Unit, grown, level, quantile, rate

_OURS = '{job=~"gateway-.*"}'

MACHINES = Board(
    "gateway-machines",
    "Gateway: Redis and processes",
    "What everything runs on.",
    (
        Panel(
            "Round trips to Redis",
            "Median and 99th percentile, by who asks.",
            (
                Query(
                    quantile(0.5, "gateway_redis_round_trip_duration_seconds", "job"), "{{job}} p50"
                ),
                Query(
                    quantile(0.99, "gateway_redis_round_trip_duration_seconds", "job"),
                    "{{job}} p99",
                ),
            ),
            Unit.SECONDS,
            levels=(0.025, 0.1),
            runbook="redis-slow",
        ),
        Panel(
            "Round trips per second",
            "Each carries all commands of one turn of the event loop.",
            (Query(rate("gateway_redis_round_trip_duration_seconds_count", "job"), "{{job}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Commands of Redis",
            "Per second, ours and others'.",
            (
                Query(
                    "max(rate(gateway_redis_commands_total[$__rate_interval]))",
                    "commands",
                ),
            ),
            Unit.PER_SECOND,
        ),
        Panel(
            "Memory of Redis",
            "Used, and `maxmemory` (0: none, so that the machine's end is Redis's end).",
            (
                Query(level("gateway_redis_memory_bytes"), "used"),
                Query(level("gateway_redis_memory_limit_bytes"), "limit"),
            ),
            Unit.BYTES,
            runbook="redis-memory",
        ),
        Panel(
            "Keys and connections",
            "A number of keys that only grows is a leak.",
            (
                Query(level("gateway_redis_keys"), "keys"),
                Query(level("gateway_redis_clients"), "connections"),
            ),
        ),
        Panel(
            "Can Redis lose anything?",
            "1 where the append-only file is on, and where its last write went well.",
            (
                Query("min(gateway_redis_aof_enabled)", "file on"),
                Query("min(gateway_redis_aof_last_write_ok)", "write well"),
                Query("max(increase(gateway_redis_evicted_keys_total[5m]))", "evicted in 5 min"),
            ),
            runbook="redis-not-durable",
        ),
        Panel(
            "Reached",
            "Whether each process answers Prometheus, and Redis answers each process.",
            (
                Query(f"up{_OURS}", "{{job}} {{instance}}"),
                Query("gateway_redis_up", "Redis for {{instance}}"),
            ),
            levels=(1,),
            falling=True,
            runbook="redis-away",
        ),
        Panel(
            "CPU",
            "Cores in use; the members of a crew together.",
            (Query(rate(f"process_cpu_seconds_total{_OURS}", "instance"), "{{instance}}"),),
            Unit.CORES,
            levels=(0.8, 0.95),
        ),
        Panel(
            "Memory of processes",
            "Resident; the members of a crew together.",
            (Query(f"sum by (instance) (process_resident_memory_bytes{_OURS})", "{{instance}}"),),
            Unit.BYTES,
        ),
        Panel(
            "Open files",
            "Share of what each process may open.",
            (
                Query(
                    f"max by (instance) (process_open_fds{_OURS} / process_max_fds{_OURS})",
                    "{{instance}}",
                ),
            ),
            Unit.RATIO,
            levels=(0.5, 0.8),
        ),
        Panel(
            "Requests by route",
            "HTTP calls per second.",
            (Query(rate("gateway_http_requests_total", "route"), "{{route}}"),),
            Unit.PER_SECOND,
            Look.STACK,
        ),
        Panel(
            "Answers by status",
            "HTTP calls per second.",
            (Query(rate("gateway_http_requests_total", "status"), "{{status}}"),),
            Unit.PER_SECOND,
            Look.STACK,
            runbook="accept-failing",
        ),
        Panel(
            "Time to answer (95 %)",
            "By route, to the end of the answer.",
            (Query(quantile(0.95, "gateway_http_request_duration_seconds", "route"), "{{route}}"),),
            Unit.SECONDS,
            levels=(0.25, 1),
        ),
        Panel(
            "Work in hand",
            "Of each worker: steps of jobs, attempts at callbacks.",
            (Query("gateway_worker_tasks_in_progress", "{{instance}} {{loop}}"),),
            runbook="oldest-job",
        ),
        Panel(
            "Warnings",
            "What an operator should read of; the log has each.",
            (Query(grown("gateway_warnings_total", "code") + " > 0", "{{code}}"),),
            look=Look.STACK,
            runbook="defects",
            may_be_empty="Nothing may be wrong for the whole span.",
        ),
        Panel(
            "Times that Redis was lost",
            "By process.",
            (Query(grown("gateway_redis_disconnects_total", "instance"), "{{instance}}"),),
            runbook="redis-away",
        ),
        Panel(
            "Reading all levels",
            "How long one reading of Redis for these figures takes.",
            (Query("gateway_state_read_duration_seconds", "{{instance}}"),),
            Unit.SECONDS,
            levels=(0.1, 1),
            runbook="redis-slow",
        ),
        Panel(
            "Versions",
            "Processes by what they run.",
            (Query("sum by (process, version) (gateway_build_info)", "{{process}} {{version}}"),),
            look=Look.BARS,
        ),
    ),
)
