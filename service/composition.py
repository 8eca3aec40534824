"""Everything that handlers use, opened together and closed in reverse. The face's composition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from core.clock import Clock, SystemClock
from core.ids import SystemIds
from core.jobs.run_times import HintPolicy
from core.observability.event_metrics import Labels
from core.observability.events import Emit, Event, RequestServed
from core.observability.prometheus import Figures
from core.observability.tracing import TracePolicy, open_tracing
from core.store import job_index as listing
from core.store.batches import BatchStore
from core.store.circuit_breaker import BreakerStore
from core.store.client import Wire, connection_source
from core.store.connection import Watch
from core.store.deliveries import DeliveryStore
from core.store.gateway_state import OverviewParts, OverviewStore
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.operations import ControlStore
from core.store.pubsub import ChangeFeed
from core.store.run_times import HistoryShelf, HistoryStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.usage import UsageStore
from core.store.webhook_endpoints import WebhookStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import Presence
from service.context import ADMIN_API, DISTRIBUTION, PROBES, SUBMIT_ROUTE, FacePolicy, Resources
from service.metrics.metrics import ServiceMetrics, service_figures
from service.models import Models, load_cards
from service.models.registry_cache import ModelShelf
from service.operator_context import Desk
from service.settings import ServiceSettings
from service.streaming.subscriptions import Waiters
from service.webhooks.webhook_service import Mailroom

_AGAIN: Final = timedelta(milliseconds=20)


_SHARED_EVERY: Final = timedelta(seconds=1)


def face_policy(settings: ServiceSettings) -> FacePolicy:
    """The policies that the settings spell."""
    return FacePolicy(
        body=settings.body_limits(),
        batch=settings.batch_limits(),
        options=settings.option_policy(),
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        worker_silence=settings.worker_timeout,
        hints=HintPolicy(settings.min_retry_after, settings.max_retry_after),
        longest_wait=settings.max_wait,
        heartbeat=settings.heartbeat_interval,
        admin_token=settings.admin_token,
        cache=settings.cache.policy(),
    )


@asynccontextmanager
async def open_resources(
    settings: ServiceSettings, log: Emit, stopping: asyncio.Event | None = None
) -> AsyncIterator[Resources]:
    """The real things. The store may be away: it is looked for again with every call.

    With `stopping` every wait ends: a server that drains would else wait for those who wait.
    """
    clock = SystemClock()
    release = version(DISTRIBUTION)
    figures = service_figures(release, Labels(settings.metrics.label_limits))
    traces = TracePolicy(settings.traces, settings.traces_sample_ratio, "service", release)
    async with AsyncExitStack() as stack:
        tracing = stack.enter_context(open_tracing(traces, clock, SystemIds()))
        source = connection_source(settings.redis, "service")
        wire = await stack.enter_async_context(Wire(source, Watch(clock, figures)))
        scripts = Scripts(wire, read_scripts())
        overview = _overview(wire, scripts, clock, settings.metrics.max_tenants)
        metrics = ServiceMetrics(figures, SUBMIT_ROUTE, overview.read, clock)
        emit = _both(metrics, log, tracing.emit)
        resources = replace(_over(wire, scripts, settings, metrics, emit), span_of=tracing.span_of)
        figures.watch("gateway_job_subscriptions", (), resources.waiters.__len__)
        feed_source = connection_source(settings.redis, "feed")
        feed = ChangeFeed(feed_source, resources.waiters, clock, emit)
        for endless in (
            resources.shelf.keep_fresh(settings.catalogue_refresh_interval),
            resources.histories.keep_fresh(settings.run_times_refresh_interval),
            feed.run(),
            _keep_shared(figures, clock),
            _close_when(stopping or asyncio.Event(), resources.waiters),
        ):
            stack.push_async_callback(_stopped, asyncio.create_task(endless))
        yield resources


def _over(
    wire: Wire, scripts: Scripts, settings: ServiceSettings, metrics: ServiceMetrics, emit: Emit
) -> Resources:
    """What handlers reach, over one wire; nothing of it runs by itself."""
    clock = SystemClock()
    cards = Models.of(load_cards(), fresh_for=settings.catalogue_max_age)
    return Resources(
        jobs=JobStore(wire, scripts, clock),
        batches=BatchStore(wire, scripts, clock),
        listed=listing.ListedJobs(wire, scripts, clock),
        tenants=TenantStore(wire, scripts, clock),
        usage=UsageStore(wire),
        breakers=BreakerStore(wire, scripts, clock),
        desk=open_desk(settings, wire, scripts, ADMIN_API, emit),
        health=Presence(wire, clock),
        shelf=ModelShelf(cards, CatalogueStore(wire, scripts), clock, emit),
        histories=HistoryShelf(HistoryStore(wire), clock, emit),
        waiters=Waiters(clock, settings.max_subscriptions),
        figures=metrics,
        mailroom=open_mailroom(settings, wire, scripts),
        clock=clock,
        ids=SystemIds(),
        policy=face_policy(settings),
        emit=emit,
    )


def _overview(wire: Wire, scripts: Scripts, clock: Clock, tenants: int) -> OverviewStore:
    parts = OverviewParts(
        scripts=scripts,
        controls=ControlStore(wire, scripts, clock),
        breakers=BreakerStore(wire, scripts, clock),
        catalogue=CatalogueStore(wire, scripts),
        webhooks=WebhookStore(wire, scripts, clock),
    )
    return OverviewStore(wire, parts, clock, tenants)


def open_mailroom(settings: ServiceSettings, wire: Wire, scripts: Scripts) -> Mailroom:
    """What is done with callbacks, over the real stores; for handlers and operators' commands."""
    clock = SystemClock()
    return Mailroom(
        setups=WebhookStore(wire, scripts, clock),
        deliveries=DeliveryStore(wire, scripts, clock),
        replays=ReplayStore(wire, scripts, clock),
        clock=clock,
        ids=SystemIds(),
        policy=settings.endpoint_policy(),
    )


def open_desk(
    settings: ServiceSettings, wire: Wire, scripts: Scripts, actor: str, emit: Emit
) -> Desk:
    """An operator's desk over the real stores."""
    clock = SystemClock()
    return Desk(
        actor=actor,
        tenants=TenantStore(wire, scripts, clock),
        jobs=JobStore(wire, scripts, clock),
        listed=listing.ListedJobs(wire, scripts, clock),
        setups=WebhookStore(wire, scripts, clock),
        controls=ControlStore(wire, scripts, clock),
        usage=UsageStore(wire),
        clock=clock,
        ids=SystemIds(),
        targets=settings.target_policy(),
        emit=emit,
    )


def _both(metrics: Emit, *tellers: Emit) -> Emit:
    def emit(event: Event) -> None:
        metrics(event)
        if not _is_quiet(event):
            for tell in tellers:
                tell(event)

    return emit


def _is_quiet(event: Event) -> bool:
    # Probes come every few seconds, and say something only when they fail.
    return isinstance(event, RequestServed) and event.route in PROBES and event.code is None


async def _keep_shared(figures: Figures, clock: Clock) -> None:
    """Another member of the crew may be asked for our gauges."""
    while True:
        figures.refresh()
        await clock.sleep(_SHARED_EVERY)


async def _close_when(stopping: asyncio.Event, waiters: Waiters) -> None:
    await stopping.wait()
    waiters.close()


async def _stopped(task: asyncio.Task[None]) -> None:
    # A cancellation that comes while redis-py connects can get lost in it: it is said again.
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_AGAIN.total_seconds())
