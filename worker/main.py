"""One worker process: composes the parts, runs them until a signal, drains them."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

import orjson
import uvloop
from arq.connections import ArqRedis

from core.clock import SystemClock
from core.errors import StoreUnavailable
from core.ids import SystemIds
from core.jobs.job import FINAL_STATES
from core.observability.events import BatchCompleted, Emit, Event, JobTransitioned
from core.observability.logs import configure_logging
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from core.observability.trace_context import SpanNamer
from core.observability.tracing import TracingPolicy, open_tracing
from core.store.client import build_retrying_pool
from core.store.keys import WAKE_QUEUE
from core.store.wake_queue import is_current
from worker.composition import WorkerComponents, open_worker_components
from worker.maintenance.durability_check import warn_if_not_durable
from worker.metrics import serve_metrics
from worker.scheduling.arq_listener import WakeListener, WakeListenerPolicy
from worker.scheduling.periodic import (
    DISPATCH_INTERVAL,
    HEARTBEAT_INTERVAL,
    PRUNE_INTERVAL,
    RUN_TIMES_INTERVAL,
    SYNC_CHECK_INTERVAL,
    PeriodicTask,
    run_periodically,
)
from worker.settings import WorkerSettings

DISTRIBUTION = "runcomfy-gateway"
NOISY_LOGGERS = ("arq", "httpx")
"""Libraries that tell of every message or request; our own events tell more."""
CANCEL_RETRY_INTERVAL = timedelta(milliseconds=200)
REPLAY_INTERVAL = timedelta(seconds=1)
BATCH_COMPLETION_INTERVAL = timedelta(seconds=1)
STORE_RETRY_DELAY = timedelta(milliseconds=500)
GC_THRESHOLD = 20_000
"""New objects between two looks of the collector. By its own 700 it looks at the same calls under
way again and again: a tenth of a poll's CPU."""


@dataclass(slots=True)
class EventFanout:
    """Everyone who is told of events. The courier joins when it exists."""

    subscribers: list[Callable[[Event], None]]

    def __call__(self, event: Event) -> None:
        """Tell them all."""
        for reader in self.subscribers:
            reader(event)


def run(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT, then drain. Returns when all is closed."""
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    figures = MetricsRegistry(
        MetricSource.WORKER, version(DISTRIBUTION), settings.metrics.label_limits
    )
    stop_metrics = serve_metrics(
        settings.worker_metrics_host, settings.worker_metrics_port, figures
    )
    traces = TracingPolicy(
        settings.traces, settings.traces_sample_ratio, "worker", version(DISTRIBUTION)
    )
    try:
        with open_tracing(traces, SystemClock(), SystemIds()) as tracing:
            emit = EventFanout([figures, log, tracing.emit])
            uvloop.run(_run_worker(settings, figures, emit, tracing.span_namer))
    finally:
        stop_metrics()


async def _run_worker(
    settings: WorkerSettings, metrics: MetricsRegistry, emit: EventFanout, span_namer: SpanNamer
) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_worker_components(settings, emit, span_namer) as resources:
        emit.subscribers.append(lambda event: _wake_delivery_loop(event, resources))
        _register_load_gauges(metrics, resources)
        # What is made by now stays for good: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        await _run_until(stopped, settings, resources, emit)


async def _run_until(
    stopped: asyncio.Event, settings: WorkerSettings, resources: WorkerComponents, emit: Emit
) -> None:
    """Run every loop; a loop that dies ends the process, loudly."""
    loops = [
        asyncio.create_task(loop, name=name)
        for name, loop in {
            "bell": _build_wake_listener(settings, resources).run(),
            "watcher": resources.job_loop.run(),
            "courier": resources.delivery_loop.run(),
            "store": _retry_until_connected(
                resources, lambda: warn_if_not_durable(resources.heartbeats, emit)
            ),
            **{
                chore.name: run_periodically(chore, resources.clock, emit)
                for chore in _build_periodic_tasks(resources)
            },
        }.items()
    ]
    stop = asyncio.create_task(stopped.wait())
    endless = [task for task in loops if task.get_name() != "store"]
    ended, _ = await asyncio.wait([stop, *endless], return_when=asyncio.FIRST_COMPLETED)
    await _shut_down(loops, resources, settings.drain_timeout)
    for task in ended - {stop}:
        task.result()


async def _shut_down(
    loops: list[asyncio.Task[None]], resources: WorkerComponents, grace_period: timedelta
) -> None:
    """Take nothing new, finish what is under way, say goodbye."""
    await _cancel_all(loops)
    await asyncio.gather(
        resources.job_loop.drain(grace_period), resources.delivery_loop.drain(grace_period)
    )
    try:
        await resources.heartbeats.remove(resources.worker_id)
    except StoreUnavailable:
        return


async def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: redis-py loses a cancellation that meets its own time-out."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_RETRY_INTERVAL.total_seconds())


def _build_wake_listener(settings: WorkerSettings, resources: WorkerComponents) -> WakeListener:
    def pool() -> ArqRedis:
        return ArqRedis(
            build_retrying_pool(settings.redis, "bell"),
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            default_queue_name=WAKE_QUEUE,
        )

    async def answer(job_id: str, version: int) -> None:
        record = await resources.jobs.load(job_id)
        if record is not None and is_current(version, record.job):
            await asyncio.shield(resources.job_loop.start(record.job))

    return WakeListener(pool, answer, WakeListenerPolicy(), resources.clock)


def _build_periodic_tasks(resources: WorkerComponents) -> tuple[PeriodicTask, ...]:
    watch = resources.balance_sync
    wallet = (
        ()
        if watch is None
        else (PeriodicTask("balance_sync", SYNC_CHECK_INTERVAL, watch.run_once),)
    )
    return (
        PeriodicTask(
            "heartbeat",
            HEARTBEAT_INTERVAL,
            lambda: resources.heartbeats.record(resources.worker_id),
        ),
        PeriodicTask("catalogue_sync", SYNC_CHECK_INTERVAL, resources.catalogue_sync.run_once),
        PeriodicTask("run_times_refresh", RUN_TIMES_INTERVAL, resources.run_times.refresh),
        PeriodicTask("replay", REPLAY_INTERVAL, resources.replay_worker.run_once),
        PeriodicTask(
            "batch_completion", BATCH_COMPLETION_INTERVAL, resources.batch_completer.run_once
        ),
        PeriodicTask("index_pruning", PRUNE_INTERVAL, resources.index_pruner.run_once),
        PeriodicTask("dispatch", DISPATCH_INTERVAL, lambda: _dispatch(resources)),
        *wallet,
    )


def _register_load_gauges(metrics: MetricsRegistry, resources: WorkerComponents) -> None:
    """How much of what a worker can do at once it does."""
    watcher, courier = resources.job_loop, resources.delivery_loop
    metrics.set_gauge_function(
        "gateway_worker_tasks_in_progress", ("jobs",), lambda: watcher.in_flight
    )
    metrics.set_gauge_function(
        "gateway_worker_tasks_in_progress", ("deliveries",), lambda: courier.in_flight
    )
    metrics.set_gauge_function("gateway_worker_tasks_limit", ("jobs",), lambda: watcher.capacity)
    metrics.set_gauge_function(
        "gateway_worker_tasks_limit", ("deliveries",), lambda: courier.capacity
    )


async def _dispatch(resources: WorkerComponents) -> None:
    """Whatever freed a slot hands it out at once; this is for what nobody thought of."""
    await resources.operations.dispatch()


async def _retry_until_connected(
    resources: WorkerComponents, action: Callable[[], Awaitable[None]]
) -> None:
    while True:
        try:
            await action()
        except StoreUnavailable:
            await resources.clock.sleep(STORE_RETRY_DELAY)
        else:
            return


def _wake_delivery_loop(event: Event, resources: WorkerComponents) -> None:
    ended = isinstance(event, JobTransitioned) and event.after in FINAL_STATES
    if ended or isinstance(event, BatchCompleted):
        resources.delivery_loop.wake()
