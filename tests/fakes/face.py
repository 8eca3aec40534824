"""The HTTP face over in-memory stores, driven through ASGI. No sockets, no real clock."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, cached_property, partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import SecretStr

from core.jobs.run_times import HintPolicy
from core.observability.event_metrics import Labels
from core.observability.gateway_state import Overview
from core.observability.prometheus import CONTENT_TYPE
from core.store.run_times import HistoryShelf
from core.tenants.api_keys import ALL_SCOPES, KeyRecord, Scope, digest_of, mint_key
from core.tenants.tenant import NO_LIMITS, Tenant
from core.webhooks.url_policy import TargetPolicy
from service.app import create_app
from service.context import SUBMIT_ROUTE, FacePolicy, Resources
from service.jobs.submit_options import Deadlines, OptionPolicy
from service.metrics.metrics import ServiceMetrics, service_figures
from service.models import Models, load_cards
from service.models.registry_cache import ModelShelf
from service.operator_context import Desk
from service.parsing.json_body import BodyLimits
from service.streaming.subscriptions import Waiters
from service.webhooks.parser import EndpointPolicy
from service.webhooks.webhook_service import Mailroom
from tests.fakes.clock import FakeClock
from tests.fakes.ids import SeededIds
from tests.fakes.stores import MemoryStores, memory_stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from starlette.types import Receive, Send
    from starlette.types import Scope as AsgiScope

    from core.observability.events import Emit, Event
    from core.tenants.limits import Limits

KLING: Final = "kling/kling-3.0/standard/image-to-video"
KLING_PATH: Final = f"/v1/models/{KLING}"
KLING_INPUT: Final[dict[str, Any]] = {
    "prompt": "The camera slowly dollies in.",
    "start_image_url": "https://media.example.com/input.png",
    "duration": 5,
}
MOST_WAITERS: Final = 3
BASE: Final = "http://gateway.test"

POLICY: Final = FacePolicy(
    body=BodyLimits(size=4096, time=timedelta(seconds=5)),
    batch=BodyLimits(size=16 * 2**20, time=timedelta(seconds=30)),
    options=OptionPolicy(
        deadlines=Deadlines(timedelta(hours=2)),
        maximum=Deadlines(timedelta(hours=24)),
        targets=TargetPolicy(),
        by_model={"slow/model": Deadlines(timedelta(hours=6), timedelta(hours=1))},
    ),
    public_url=None,
    worker_silence=timedelta(seconds=30),
    hints=HintPolicy(timedelta(seconds=2), timedelta(seconds=30)),
    longest_wait=timedelta(seconds=60),
    heartbeat=timedelta(seconds=15),
)


@cache
def _models() -> Models:
    return Models.of(load_cards())


@cache
def _app() -> FastAPI:
    """One for all faces: to make one takes 30 ms, more than most tests, and it holds nothing."""
    return create_app(_never_opened)


def _never_opened() -> AbstractAsyncContextManager[Resources]:
    raise AssertionError("each face hands its own resources to each call")


@dataclass(slots=True)
class Face:
    """A running face and what a test looks at."""

    resources: Resources
    stores: MemoryStores
    clock: FakeClock
    events: list[Event] = field(default_factory=list)

    async def tenant(
        self,
        name: str = "video-team",
        *,
        webhook: str | None = None,
        scopes: frozenset[Scope] = ALL_SCOPES,
        limits: Limits = NO_LIMITS,
    ) -> str:
        """Make a tenant; its key."""
        key = mint_key(name, self.resources.ids.secret())
        now = self.clock.now()
        await self.stores.tenants.create(
            Tenant(name, now, webhook=webhook, limits=limits),
            KeyRecord(digest_of(key), name, now, scopes),
        )
        return key

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """A caller with `key`."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.serve),
            base_url=BASE,
            headers=headers,
            trust_env=False,
        )

    async def serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """The application, as a server whose lifespan has begun calls it."""
        await _app()({**scope, "state": {"resources": self.resources}}, receive, send)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Resources]:
        yield self.resources

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def admit_operators(self, token: str) -> None:
        """Turn the operators' API on."""
        self.change(policy=replace(self.resources.policy, admin_token=SecretStr(token)))

    def desk_with(self, **parts: Any) -> Desk:  # noqa: ANN401 - fields of Desk
        """The operators' desk with other parts in."""
        return replace(self.resources.desk, **parts)

    def change(self, **parts: Any) -> None:  # noqa: ANN401 - fields of Resources
        """Put other parts in."""
        self.resources = replace(self.resources, **parts)


class LateFigures:
    """A face's figures, made of its events when somebody asks: few tests do, and it takes 2 ms."""

    content_type = CONTENT_TYPE

    def __init__(self, events: list[Event], clock: FakeClock) -> None:
        """Of `events`, to which more may come."""
        self._events, self._clock, self._counted = events, clock, 0

    @cached_property
    def _made(self) -> ServiceMetrics:
        figures = service_figures("0", Labels({}))
        return ServiceMetrics(figures, SUBMIT_ROUTE, partial(_overview, self._clock), self._clock)

    async def render(self) -> bytes:
        """As `ServiceMetrics.render`."""
        for event in self._events[self._counted :]:
            self._made(event)
        self._counted = len(self._events)
        return await self._made.render()


async def _overview(clock: FakeClock) -> Overview:
    return Overview(clock.now())


def mailroom_over(stores: MemoryStores, clock: FakeClock) -> Mailroom:
    """The use cases of callbacks over in-memory stores."""
    return Mailroom(
        setups=stores.webhooks,
        deliveries=stores.deliveries,
        replays=stores.replays,
        clock=clock,
        ids=SeededIds(Random(2)),
        policy=EndpointPolicy(POLICY.options.targets, frozenset({"analytics"})),
    )


def open_face(policy: FacePolicy = POLICY) -> Face:
    """A face over empty stores."""
    clock = FakeClock()
    stores = memory_stores(clock)
    events: list[Event] = []
    waiters = Waiters(clock, MOST_WAITERS)
    stores.memory.told = waiters.changed
    emit = events.append
    resources = Resources(
        jobs=stores.jobs,
        batches=stores.batches,
        listed=stores.listed,
        tenants=stores.tenants,
        usage=stores.usage,
        breakers=stores.breakers,
        desk=_desk(stores, clock, emit),
        health=stores.presence,
        shelf=ModelShelf(_models(), stores.catalogue, clock, emit),
        histories=HistoryShelf(stores.histories, clock, emit),
        waiters=waiters,
        figures=LateFigures(events, clock),
        mailroom=mailroom_over(stores, clock),
        clock=clock,
        ids=SeededIds(Random(1)),
        policy=policy,
        emit=emit,
    )
    return Face(resources, stores, clock, events)


def _desk(stores: MemoryStores, clock: FakeClock, emit: Emit) -> Desk:
    return Desk(
        actor="admin-api",
        tenants=stores.tenants,
        jobs=stores.jobs,
        listed=stores.listed,
        setups=stores.webhooks,
        controls=stores.controls,
        usage=stores.usage,
        clock=clock,
        ids=SeededIds(Random(2)),
        targets=TargetPolicy(),
        emit=emit,
    )
