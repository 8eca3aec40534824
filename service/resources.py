"""Everything that handlers use, opened together and closed in reverse. The face's composition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Final

from pydantic import SecretStr

from core.clock import Clock, SystemClock
from core.events import Emit, Event, RequestServed
from core.ids import IdSource, SystemIds
from core.store.breaker import BreakerStore
from core.store.catalogue import CatalogueStore
from core.store.connection import Wire, connection_source
from core.store.controls import ControlStore
from core.store.jobs import JobStore
from core.store.lua import Scripts, read_scripts
from core.store.presence import Presence
from core.store.tenants import TenantStore
from core.store.usage import UsageStore
from core.targets import TargetPolicy
from service.administration.desk import Desk
from service.bodies import BodyLimits
from service.metrics import ServiceMetrics
from service.models import Models, load_cards
from service.options import OptionPolicy
from service.ports import Breakers, Exposition, Health, Jobs, Tenants, UsageOf
from service.settings import ServiceSettings
from service.shelf import ModelShelf

ADMIN_API: Final = "admin-api"
"""Whom the audit log names for what came by HTTP: the token tells no persons apart."""
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
    admin_token: SecretStr | None = None
    """None: the operators' API is off."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a handler can reach."""

    jobs: Jobs
    tenants: Tenants
    usage: UsageOf
    breakers: Breakers
    desk: Desk
    health: Health
    shelf: ModelShelf
    figures: Exposition
    clock: Clock
    ids: IdSource
    policy: FacePolicy
    emit: Emit


def face_policy(settings: ServiceSettings) -> FacePolicy:
    """The policies that the settings spell."""
    return FacePolicy(
        body=settings.body_limits(),
        options=settings.option_policy(),
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        worker_silence=settings.worker_silence,
        poll_hint=settings.poll_hint,
        admin_token=settings.admin_token,
    )


@asynccontextmanager
async def open_resources(settings: ServiceSettings, log: Emit) -> AsyncIterator[Resources]:
    """The real things. The store may be away: it is looked for again with every call."""
    clock = SystemClock()
    metrics = ServiceMetrics(version(DISTRIBUTION), SUBMIT_ROUTE)

    def emit(event: Event) -> None:
        metrics(event)
        if not _is_quiet(event):
            log(event)

    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(connection_source(settings.redis, "service")))
        scripts = Scripts(wire, read_scripts())
        cards = Models.of(load_cards(), fresh_for=settings.catalogue_fresh_for)
        shelf = ModelShelf(cards, CatalogueStore(wire, scripts), clock, emit)
        keeping = asyncio.create_task(shelf.keep_fresh(settings.catalogue_refresh))
        stack.push_async_callback(_stopped, keeping)
        desk = open_desk(wire, ADMIN_API, settings.target_policy(), emit)
        yield Resources(
            jobs=JobStore(wire, scripts, clock),
            tenants=TenantStore(wire, scripts, clock),
            usage=UsageStore(wire),
            breakers=BreakerStore(wire, scripts, clock),
            desk=desk,
            health=Presence(wire, clock),
            shelf=shelf,
            figures=metrics,
            clock=clock,
            ids=SystemIds(),
            policy=face_policy(settings),
            emit=emit,
        )


def open_desk(wire: Wire, actor: str, targets: TargetPolicy, emit: Emit) -> Desk:
    """An operator's desk over the real stores."""
    clock, scripts = SystemClock(), Scripts(wire, read_scripts())
    return Desk(
        actor=actor,
        tenants=TenantStore(wire, scripts, clock),
        jobs=JobStore(wire, scripts, clock),
        controls=ControlStore(wire, scripts, clock),
        usage=UsageStore(wire),
        clock=clock,
        ids=SystemIds(),
        targets=targets,
        emit=emit,
    )


def _is_quiet(event: Event) -> bool:
    # Probes come every few seconds, and say something only when they fail.
    return isinstance(event, RequestServed) and event.route in PROBES and event.code is None


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
