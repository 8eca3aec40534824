"""Everything that handlers use, opened together and closed in reverse. The face's composition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from core.clock import Clock, SystemClock
from core.events import Emit, Event, RequestServed
from core.ids import IdSource, SystemIds
from core.store.catalogue import CatalogueStore
from core.store.connection import Wire, connection_source
from core.store.jobs import JobStore
from core.store.lua import Scripts, read_scripts
from core.store.presence import Presence
from core.store.tenants import TenantStore
from core.traceparent import SpanOf, passed_on
from core.tracing import TracePolicy, open_tracing
from service.bodies import BodyLimits
from service.metrics import ServiceMetrics
from service.models import Models, load_cards
from service.options import OptionPolicy
from service.ports import Exposition, Health, Jobs, Tenants
from service.settings import ServiceSettings
from service.shelf import ModelShelf

DISTRIBUTION: Final = "runcomfy-gateway"
SUBMIT_ROUTE: Final = "/v1/models/{model_id:path}"
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class FacePolicy:
    """What the handlers go by. `public_url` None: links begin with the address that was called."""

    body: BodyLimits
    options: OptionPolicy
    public_url: str | None
    worker_silence: timedelta
    poll_hint: timedelta


@dataclass(frozen=True, slots=True)
class Resources:
    """What a handler can reach."""

    jobs: Jobs
    tenants: Tenants
    health: Health
    shelf: ModelShelf
    figures: Exposition
    clock: Clock
    ids: IdSource
    policy: FacePolicy
    emit: Emit
    span_of: SpanOf = passed_on


def face_policy(settings: ServiceSettings) -> FacePolicy:
    """The policies that the settings spell."""
    return FacePolicy(
        body=settings.body_limits(),
        options=settings.option_policy(),
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        worker_silence=settings.worker_silence,
        poll_hint=settings.poll_hint,
    )


@asynccontextmanager
async def open_resources(settings: ServiceSettings, log: Emit) -> AsyncIterator[Resources]:
    """The real things. The store may be away: it is looked for again with every call."""
    clock = SystemClock()
    release = version(DISTRIBUTION)
    metrics = ServiceMetrics(release, SUBMIT_ROUTE)
    traces = TracePolicy(settings.traces, settings.traces_share, "service", release)

    def emit(event: Event) -> None:
        metrics(event)
        if not _is_quiet(event):
            log(event)
            tracing.emit(event)

    async with AsyncExitStack() as stack:
        tracing = stack.enter_context(open_tracing(traces, clock, SystemIds()))
        wire = await stack.enter_async_context(Wire(connection_source(settings.redis, "service")))
        scripts = Scripts(wire, read_scripts())
        cards = Models.of(load_cards(), fresh_for=settings.catalogue_fresh_for)
        shelf = ModelShelf(cards, CatalogueStore(wire, scripts), clock, emit)
        keeping = asyncio.create_task(shelf.keep_fresh(settings.catalogue_refresh))
        stack.push_async_callback(_stopped, keeping)
        yield Resources(
            jobs=JobStore(wire, scripts, clock),
            tenants=TenantStore(wire, scripts),
            health=Presence(wire, clock),
            shelf=shelf,
            figures=metrics,
            clock=clock,
            ids=SystemIds(),
            policy=face_policy(settings),
            emit=emit,
            span_of=tracing.span_of,
        )


def _is_quiet(event: Event) -> bool:
    # Probes come every few seconds, and say something only when they fail.
    return isinstance(event, RequestServed) and event.route in PROBES and event.code is None


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
