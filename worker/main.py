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
from core.observability.event_metrics import Labels
from core.observability.events import BatchEnded, Emit, Event, JobTransitioned
from core.observability.logs import configure_logging
from core.observability.prometheus import Figures
from core.observability.trace_context import SpanOf
from core.observability.tracing import TracePolicy, open_tracing
from core.store.client import retrying_source
from core.store.keys import BELL
from core.store.wake_queue import is_meant
from worker.composition import Resources, open_resources
from worker.maintenance.durability_check import warn_of_weak_store
from worker.metrics import serve_metrics, worker_figures
from worker.scheduling.arq_listener import Bell, BellPolicy
from worker.scheduling.periodic import (
    DISPATCH_EVERY,
    HISTORIES_EVERY,
    LOOK_EVERY,
    SIGN_EVERY,
    TRIM_EVERY,
    Chore,
    keep_doing,
)
from worker.settings import WorkerSettings

DISTRIBUTION = "runcomfy-gateway"
CHATTY = ("arq", "httpx")
"""Libraries that tell of every message or request; our own events tell more."""
CANCEL_AGAIN = timedelta(milliseconds=200)
REPLAY_EVERY = timedelta(seconds=1)
CLOSE_EVERY = timedelta(seconds=1)
STORE_PAUSE = timedelta(milliseconds=500)
YOUNG_AT_MOST = 20_000
"""New objects between two looks of the collector. By its own 700 it looks at the same calls under
way again and again: a tenth of a poll's CPU."""


@dataclass(slots=True)
class Readers:
    """Everyone who is told of events. The courier joins when it exists."""

    readers: list[Callable[[Event], None]]

    def __call__(self, event: Event) -> None:
        """Tell them all."""
        for reader in self.readers:
            reader(event)


def run(settings: WorkerSettings) -> None:
    """Work until SIGTERM or SIGINT, then drain. Returns when all is closed."""
    log = configure_logging(settings.log_format, settings.log_level, sys.stderr)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    figures = worker_figures(version(DISTRIBUTION), Labels(settings.metrics.label_limits))
    stop_metrics = serve_metrics(
        settings.worker_metrics_host, settings.worker_metrics_port, figures
    )
    traces = TracePolicy(
        settings.traces, settings.traces_sample_ratio, "worker", version(DISTRIBUTION)
    )
    try:
        with open_tracing(traces, SystemClock(), SystemIds()) as tracing:
            emit = Readers([figures, log, tracing.emit])
            uvloop.run(_work(settings, figures, emit, tracing.span_of))
    finally:
        stop_metrics()


async def _work(settings: WorkerSettings, figures: Figures, emit: Readers, span_of: SpanOf) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_resources(settings, emit, span_of) as resources:
        emit.readers.append(lambda event: _nudge_courier(event, resources))
        _show_load(figures, resources)
        # What is made by now stays for good: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_AT_MOST)
        await _run_until(stopped, settings, resources, emit)


async def _run_until(
    stopped: asyncio.Event, settings: WorkerSettings, resources: Resources, emit: Emit
) -> None:
    """Run every loop; a loop that dies ends the process, loudly."""
    loops = [
        asyncio.create_task(loop, name=name)
        for name, loop in {
            "bell": _bell(settings, resources).run(),
            "watcher": resources.watcher.run(),
            "courier": resources.courier.run(),
            "store": _when_store_answers(
                resources, lambda: warn_of_weak_store(resources.presence, emit)
            ),
            **{
                chore.name: keep_doing(chore, resources.clock, emit) for chore in _chores(resources)
            },
        }.items()
    ]
    stop = asyncio.create_task(stopped.wait())
    endless = [task for task in loops if task.get_name() != "store"]
    ended, _ = await asyncio.wait([stop, *endless], return_when=asyncio.FIRST_COMPLETED)
    await _close(loops, resources, settings.drain_timeout)
    for task in ended - {stop}:
        task.result()


async def _close(loops: list[asyncio.Task[None]], resources: Resources, within: timedelta) -> None:
    """Take nothing new, finish what is under way, say goodbye."""
    await _end(loops)
    await asyncio.gather(resources.watcher.drain(within), resources.courier.drain(within))
    try:
        await resources.presence.leave(resources.name)
    except StoreUnavailable:
        return


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: redis-py loses a cancellation that meets its own time-out."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN.total_seconds())


def _bell(settings: WorkerSettings, resources: Resources) -> Bell:
    def pool() -> ArqRedis:
        return ArqRedis(
            retrying_source(settings.redis, "bell"),
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            default_queue_name=BELL,
        )

    async def answer(job_id: str, version: int) -> None:
        record = await resources.jobs.load(job_id)
        if record is not None and is_meant(version, record.job):
            await asyncio.shield(resources.watcher.take(record.job))

    return Bell(pool, answer, BellPolicy(), resources.clock)


def _chores(resources: Resources) -> tuple[Chore, ...]:
    watch = resources.wallet
    wallet = () if watch is None else (Chore("balance_sync", LOOK_EVERY, watch.run_once),)
    return (
        Chore("heartbeat", SIGN_EVERY, lambda: resources.presence.sign(resources.name)),
        Chore("catalogue_sync", LOOK_EVERY, resources.catalogue.run_once),
        Chore("run_times_refresh", HISTORIES_EVERY, resources.histories.refresh),
        Chore("replay", REPLAY_EVERY, resources.replayer.run_once),
        Chore("batch_completion", CLOSE_EVERY, resources.closer.run_once),
        Chore("index_pruning", TRIM_EVERY, resources.trimmer.run_once),
        Chore("dispatch", DISPATCH_EVERY, lambda: _dispatch(resources)),
        *wallet,
    )


def _show_load(figures: Figures, resources: Resources) -> None:
    """How much of what a worker can do at once it does."""
    watcher, courier = resources.watcher, resources.courier
    figures.watch("gateway_worker_tasks_in_progress", ("jobs",), lambda: watcher.busy)
    figures.watch("gateway_worker_tasks_in_progress", ("deliveries",), lambda: courier.busy)
    figures.watch("gateway_worker_tasks_limit", ("jobs",), lambda: watcher.room)
    figures.watch("gateway_worker_tasks_limit", ("deliveries",), lambda: courier.room)


async def _dispatch(resources: Resources) -> None:
    """Whatever freed a slot hands it out at once; this is for what nobody thought of."""
    await resources.controls.dispatch()


async def _when_store_answers(resources: Resources, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await do()
        except StoreUnavailable:
            await resources.clock.sleep(STORE_PAUSE)
        else:
            return


def _nudge_courier(event: Event, resources: Resources) -> None:
    ended = isinstance(event, JobTransitioned) and event.after in FINAL_STATES
    if ended or isinstance(event, BatchEnded):
        resources.courier.nudge()
