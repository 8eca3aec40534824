"""Runs one worker process: builds the components, runs them until a signal, drains them."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version

import orjson
import uvloop
from arq.connections import ArqRedis

from core.clock import SystemClock
from core.errors import RecordUnreadable, StoreUnavailable, Unavailable
from core.http_server.listener import ListenAddress, open_listening_socket, serve_beside
from core.ids import SystemIds
from core.jobs.job import FINAL_STATES, JobState
from core.observability.events import (
    BatchCompleted,
    Emit,
    Event,
    JobTransitioned,
    OperationalWarning,
)
from core.observability.job_label_metrics import JobLabelMetrics
from core.observability.logs import configure_logging
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from core.observability.trace_context import SpanNamer
from core.observability.tracing import open_tracing
from core.runtime.garbage_collection import spare_startup_objects
from core.store.client import build_retrying_pool
from core.store.keys import WAKE_QUEUE
from core.store.server_time import SYNC_INTERVAL
from core.store.wake_queue import is_current
from worker.composition import WorkerComponents, open_worker_components
from worker.maintenance.balance_sync import PROBE_INTERVAL
from worker.maintenance.budget_thresholds import THRESHOLD_INTERVAL
from worker.maintenance.catalogue_sync import ListedModels
from worker.maintenance.file_sweeping import (
    ORPHAN_CHECK_ATTEMPT_INTERVAL,
    SWEEP_INTERVAL,
    FileSweeper,
)
from worker.metrics_server import metrics_application
from worker.scheduling.arq_listener import WakeListener, WakeListenerPolicy
from worker.scheduling.periodic import (
    CATALOGUE_CHECK_INTERVAL,
    DISPATCH_INTERVAL,
    HEARTBEAT_INTERVAL,
    JOURNAL_CHECK_INTERVAL,
    JOURNAL_SWEEP_INTERVAL,
    PRUNE_INTERVAL,
    RUN_TIMES_INTERVAL,
    STORE_CHECK_INTERVAL,
    PeriodicTask,
    run_periodically,
)
from worker.settings import WorkerSettings

DISTRIBUTION = "runcomfy-gateway"
NOISY_LOGGERS = ("arq", "httpx", "uvicorn")
"""Libraries that log each message or request; the gateway's own events have more detail."""
CANCEL_RETRY_INTERVAL = timedelta(milliseconds=200)
REPLAY_INTERVAL = timedelta(seconds=1)
BATCH_COMPLETION_INTERVAL = timedelta(seconds=1)
START_CHECK_TIMEOUT = timedelta(seconds=1)
JOURNAL_OFF_WARNING = (
    "GATEWAY_JOURNAL__URL is off: a submit that Redis forgets (by a fail-over or a restored "
    "backup) is sent and paid for again"
)


def _fan_out(subscribers: Sequence[Emit]) -> Emit:
    """Return an `Emit` that calls all subscribers, also those that are added later."""

    def emit(event: Event) -> None:
        for subscriber in subscribers:
            subscriber(event)

    return emit


def run(settings: WorkerSettings) -> None:
    """Run until SIGTERM or SIGINT, then drain. Returns when everything is closed.

    Raises `CannotListen` if the metrics' address cannot be used.
    """
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    metrics = MetricsRegistry(
        MetricSource.WORKER, version(DISTRIBUTION), settings.metrics.label_limits
    )
    address = ListenAddress(
        settings.worker_metrics_host, settings.worker_metrics_port, "GATEWAY_WORKER_METRICS_PORT"
    )
    listening = open_listening_socket(address)
    tracing = open_tracing(
        "worker", version(DISTRIBUTION), settings.sample_ratio, SystemClock(), SystemIds()
    )
    with listening, tracing as (span_namer, trace):
        labels = JobLabelMetrics(metrics.record, settings.metrics.named_labels)
        subscribers: list[Emit] = [metrics, labels, log, trace]
        uvloop.run(_serve_and_work(settings, metrics, listening, subscribers, span_namer))


async def _serve_and_work(
    settings: WorkerSettings,
    metrics: MetricsRegistry,
    listening: socket.socket,
    subscribers: list[Emit],
    span_namer: SpanNamer,
) -> None:
    exposition = metrics_application(metrics, SystemClock(), settings.metrics.token_text)
    async with serve_beside(exposition, listening):
        await _run_worker(settings, metrics, subscribers, span_namer)


async def _run_worker(
    settings: WorkerSettings,
    metrics: MetricsRegistry,
    subscribers: list[Emit],
    span_namer: SpanNamer,
) -> None:
    emit = _fan_out(subscribers)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_worker_components(settings, emit, span_namer) as components:
        # The delivery loop subscribes once it exists.
        subscribers.append(lambda event: _wake_loops(event, components))
        _register_load_gauges(metrics, components)
        if components.journal is None:
            emit(OperationalWarning("journal_off", JOURNAL_OFF_WARNING))
        spare_startup_objects()
        listed = ListedModels(components.stores.catalogue, metrics.confirm_models)
        await _run_until(stopped, settings, components, listed, emit)


async def _run_until(
    stopped: asyncio.Event,
    settings: WorkerSettings,
    components: WorkerComponents,
    listed: ListedModels,
    emit: Emit,
) -> None:
    """Run every loop; an exception in one of them ends the process."""
    # Jobs that are due now need not wait for the first periodic check.
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(START_CHECK_TIMEOUT.total_seconds()):
            await components.server_time.synchronize()
            await components.check_store()
    archives = components.archive_loop
    loops = [
        asyncio.create_task(loop, name=name)
        for name, loop in {
            "wake_listener": _build_wake_listener(settings, components).run(),
            "jobs": components.job_loop.run(),
            "deliveries": components.delivery_loop.run(),
            **({} if archives is None else {"archives": archives.run()}),
            **{
                task.name: run_periodically(task, components.clock, emit)
                for task in _build_periodic_tasks(components, listed)
            },
        }.items()
    ]
    stop = asyncio.create_task(stopped.wait())
    ended, _ = await asyncio.wait([stop, *loops], return_when=asyncio.FIRST_COMPLETED)
    await _shut_down(loops, components, settings.drain_timeout)
    for task in ended - {stop}:
        task.result()


async def _shut_down(
    loops: list[asyncio.Task[None]], components: WorkerComponents, grace_period: timedelta
) -> None:
    """Claim nothing new, finish what is in flight, and remove the heartbeat."""
    await _cancel_all(loops)
    draining = (components.job_loop, components.delivery_loop, components.archive_loop)
    await asyncio.gather(*(loop.drain(grace_period) for loop in draining if loop is not None))
    try:
        await components.stores.heartbeats.remove(components.worker_id)
    except StoreUnavailable:
        return


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: redis-py loses a cancellation that meets its own timeout."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_RETRY_INTERVAL.total_seconds())


def _build_wake_listener(settings: WorkerSettings, components: WorkerComponents) -> WakeListener:
    def pool() -> ArqRedis:
        return ArqRedis(
            build_retrying_pool(settings.own_redis, "wake"),
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            default_queue_name=WAKE_QUEUE,
        )

    async def handle(job_id: str, version: int) -> None:
        try:
            record = await components.stores.jobs.load(job_id)
        except RecordUnreadable:  # the loop that claims it sets it aside
            return
        if record is not None and is_current(version, record.job):
            # Shielded: arq's timeout on the message must not cancel a submit in flight.
            await asyncio.shield(components.job_loop.start(record.job))

    return WakeListener(pool, handle, WakeListenerPolicy(), components.clock)


def _build_periodic_tasks(
    components: WorkerComponents, listed: ListedModels
) -> tuple[PeriodicTask, ...]:
    sync = components.balance_sync
    balance = () if sync is None else (PeriodicTask("balance_sync", PROBE_INTERVAL, sync.run_once),)
    sweeper = components.file_sweeper
    sweeps = () if sweeper is None else _build_sweeps(sweeper)
    return (
        PeriodicTask(
            "heartbeat",
            HEARTBEAT_INTERVAL,
            lambda: components.stores.heartbeats.record(components.worker_id),
        ),
        PeriodicTask(
            "catalogue_sync", CATALOGUE_CHECK_INTERVAL, components.catalogue_sync.run_once
        ),
        PeriodicTask("listed_models_refresh", CATALOGUE_CHECK_INTERVAL, listed.refresh),
        PeriodicTask("run_times_refresh", RUN_TIMES_INTERVAL, components.run_times.refresh),
        PeriodicTask("replay", REPLAY_INTERVAL, components.replay_worker.run_once),
        PeriodicTask(
            "batch_completion", BATCH_COMPLETION_INTERVAL, components.batch_completer.run_once
        ),
        PeriodicTask(
            "budget_thresholds", THRESHOLD_INTERVAL, components.threshold_notifier.run_once
        ),
        PeriodicTask("index_pruning", PRUNE_INTERVAL, components.index_pruner.run_once),
        PeriodicTask("dispatch", DISPATCH_INTERVAL, lambda: _dispatch(components)),
        PeriodicTask("clock_sync", SYNC_INTERVAL, components.server_time.synchronize),
        PeriodicTask(
            "durability_check", STORE_CHECK_INTERVAL, components.durability_check.run_once
        ),
        PeriodicTask("store_check", STORE_CHECK_INTERVAL, components.check_store),
        PeriodicTask(
            "journal_check", JOURNAL_CHECK_INTERVAL, components.paid_submitter.write_answers
        ),
        *_build_journal_sweep(components),
        *balance,
        *sweeps,
    )


def _build_journal_sweep(components: WorkerComponents) -> tuple[PeriodicTask, ...]:
    sweeper = components.journal_sweeper
    if sweeper is None:
        return ()
    return (PeriodicTask("journal_sweep", JOURNAL_SWEEP_INTERVAL, sweeper.run_once),)


def _build_sweeps(sweeper: FileSweeper) -> tuple[PeriodicTask, ...]:
    return (
        PeriodicTask("file_expiry", SWEEP_INTERVAL, sweeper.expire_files),
        PeriodicTask("orphan_check", ORPHAN_CHECK_ATTEMPT_INTERVAL, sweeper.delete_orphans),
    )


def _register_load_gauges(metrics: MetricsRegistry, components: WorkerComponents) -> None:
    """Expose how many tasks are in progress, and how many may be."""
    jobs, deliveries = components.job_loop, components.delivery_loop
    has_journal = components.journal is not None
    guard = components.store_guard
    server_time = components.server_time
    metrics.set_gauge_function("gateway_clock_skew_seconds", (), lambda: server_time.skew_seconds)
    metrics.set_gauge_function("gateway_submits_allowed", (), lambda: guard.is_open)
    metrics.set_gauge_function("gateway_journal_enabled", (), lambda: has_journal)
    metrics.set_gauge_function(
        "gateway_worker_tasks_in_progress", ("jobs",), lambda: jobs.in_flight
    )
    metrics.set_gauge_function(
        "gateway_worker_tasks_in_progress", ("deliveries",), lambda: deliveries.in_flight
    )
    archives = components.archive_loop
    if archives is not None:
        metrics.set_gauge_function(
            "gateway_worker_tasks_in_progress", ("archives",), lambda: archives.in_flight
        )
        metrics.set_gauge_function(
            "gateway_worker_tasks_limit", ("archives",), lambda: archives.capacity
        )
    metrics.set_gauge_function("gateway_worker_tasks_limit", ("jobs",), lambda: jobs.capacity)
    metrics.set_gauge_function(
        "gateway_worker_tasks_limit", ("deliveries",), lambda: deliveries.capacity
    )


async def _dispatch(components: WorkerComponents) -> None:
    """Start waiting jobs. Whatever frees a slot does so too; this covers the cases it misses."""
    await components.stores.admin.dispatch()


def _wake_loops(event: Event, components: WorkerComponents) -> None:
    after = event.after if isinstance(event, JobTransitioned) else None
    ended = after in FINAL_STATES
    if components.archive_loop is not None and (ended or after is JobState.ARCHIVING):
        components.archive_loop.wake()
    if ended or isinstance(event, BatchCompleted):
        components.delivery_loop.wake()
