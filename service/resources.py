"""Everything that handlers use, opened together and closed in reverse. The face's composition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from pydantic import SecretStr

from core.clock import Clock, SystemClock
from core.events import Emit, Event, RequestServed
from core.figures import Labels
from core.histories import HistoryShelf
from core.history import HintPolicy
from core.ids import IdSource, SystemIds
from core.metrics import Figures
from core.reuse import CachePolicy
from core.store import listing
from core.store.batches import BatchStore
from core.store.breaker import BreakerStore
from core.store.catalogue import CatalogueStore
from core.store.connection import Wire, connection_source
from core.store.controls import ControlStore
from core.store.deliveries import DeliveryStore
from core.store.history import HistoryStore
from core.store.jobs import JobStore
from core.store.line import Watch
from core.store.lua import Scripts, read_scripts
from core.store.overview import OverviewParts, OverviewStore
from core.store.presence import Presence
from core.store.tenants import TenantStore
from core.store.usage import UsageStore
from core.store.watching import ChangeFeed
from core.store.webhooks import ReplayStore, WebhookStore
from core.traceparent import SpanOf, passed_on
from core.tracing import TracePolicy, open_tracing
from service.administration.desk import Desk
from service.bodies import BodyLimits
from service.mailroom import Mailroom
from service.metrics import ServiceMetrics, service_figures
from service.models import Models, load_cards
from service.options import OptionPolicy
from service.ports import (
    Batches,
    Breakers,
    Exposition,
    Health,
    Jobs,
    ListedJobs,
    Tenants,
    UsageOf,
)
from service.settings import ServiceSettings
from service.shelf import ModelShelf
from service.waiters import Waiters

ADMIN_API: Final = "admin-api"
"""Whom the audit log names for what came by HTTP: the token tells no persons apart."""
DISTRIBUTION: Final = "runcomfy-gateway"
SUBMIT_ROUTE: Final = "/v1/models/{model_id:path}"
_AGAIN: Final = timedelta(milliseconds=20)
_SHARED_EVERY: Final = timedelta(seconds=1)
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class FacePolicy:
    """What the handlers go by. `public_url` None: links begin with the address that was called."""

    body: BodyLimits
    batch: BodyLimits
    options: OptionPolicy
    public_url: str | None
    worker_silence: timedelta
    hints: HintPolicy
    longest_wait: timedelta
    heartbeat: timedelta
    admin_token: SecretStr | None = None
    """None: the operators' API is off."""
    cache: CachePolicy = field(default_factory=CachePolicy)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a handler can reach."""

    jobs: Jobs
    batches: Batches
    listed: ListedJobs
    tenants: Tenants
    usage: UsageOf
    breakers: Breakers
    desk: Desk
    health: Health
    shelf: ModelShelf
    histories: HistoryShelf
    waiters: Waiters
    figures: Exposition
    mailroom: Mailroom
    clock: Clock
    ids: IdSource
    policy: FacePolicy
    emit: Emit
    span_of: SpanOf = passed_on


def face_policy(settings: ServiceSettings) -> FacePolicy:
    """The policies that the settings spell."""
    return FacePolicy(
        body=settings.body_limits(),
        batch=settings.batch_limits(),
        options=settings.option_policy(),
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        worker_silence=settings.worker_silence,
        hints=HintPolicy(settings.poll_hint, settings.poll_hint_most),
        longest_wait=settings.longest_wait,
        heartbeat=settings.heartbeat,
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
    figures = service_figures(release, Labels(settings.metrics.most))
    traces = TracePolicy(settings.traces, settings.traces_share, "service", release)
    async with AsyncExitStack() as stack:
        tracing = stack.enter_context(open_tracing(traces, clock, SystemIds()))
        source = connection_source(settings.redis, "service")
        wire = await stack.enter_async_context(Wire(source, Watch(clock, figures)))
        scripts = Scripts(wire, read_scripts())
        overview = _overview(wire, scripts, clock, settings.metrics.tenants)
        metrics = ServiceMetrics(figures, SUBMIT_ROUTE, overview.read, clock)
        emit = _both(metrics, log, tracing.emit)
        resources = replace(_over(wire, scripts, settings, metrics, emit), span_of=tracing.span_of)
        figures.watch("gateway_waiters", (), resources.waiters.__len__)
        feed_source = connection_source(settings.redis, "feed")
        feed = ChangeFeed(feed_source, resources.waiters, clock, emit)
        for endless in (
            resources.shelf.keep_fresh(settings.catalogue_refresh),
            resources.histories.keep_fresh(settings.history_refresh),
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
    cards = Models.of(load_cards(), fresh_for=settings.catalogue_fresh_for)
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
        waiters=Waiters(clock, settings.waiters_at_once),
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
