"""The HTTP API over in-memory stores, called through ASGI. No sockets, no real clock."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, cached_property, partial
from random import Random
from typing import Any, Final, NamedTuple

import httpx
import orjson
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from core.archive import ArchiveMode
from core.files.delivery import DeliveryPolicy, FileDelivery
from core.jobs.run_times import PollHintPolicy
from core.observability.events import Emit, Event
from core.observability.gateway_state import GatewayState
from core.observability.metric_types import MetricSource
from core.observability.prometheus import CONTENT_TYPE, MetricsRegistry
from core.operators.operator import Role
from core.store.identity import StorePosition
from core.store.run_times import RunTimeCache
from core.tenants.api_keys import ALL_SCOPES, ApiKey, Scope, api_key_digest, build_api_key
from core.tenants.cache_policy import CacheMode, CacheRule
from core.tenants.limits import Limits
from core.tenants.tenant import NO_LIMITS, Tenant
from core.webhooks.config import WebhookConfig
from core.webhooks.url_policy import TargetPolicy
from service.admin import operators
from service.admin.refused_calls import RefusedCalls
from service.app import create_app
from service.context import ADMIN_LISTENER, AppContext, HttpPolicy, LinkPolicy
from service.files.file_service import FileService
from service.jobs.input_files import InputFiles
from service.jobs.submit_availability import SubmitAvailability
from service.jobs.submit_options import Deadlines, OptionPolicy
from service.metrics.service_metrics import ServiceMetrics
from service.models import ModelRegistry, UnlistedPolicy, load_cards
from service.models.registry_cache import ModelRegistryCache
from service.operator_context import AdminContext
from service.parsing.body_budget import BodyBudget, BodyBudgetPolicy
from service.parsing.json_body import BodyLimits
from service.parsing.large_bodies import LargeBodies
from service.streaming.shared_reads import SharedReads
from service.streaming.subscriptions import Subscriptions
from service.tenants.known_keys import KnownKeys
from service.tenants.refusal_delays import DelayPolicy, RefusalDelays
from service.tenants.token_bucket import TokenBucket
from service.webhooks.requests import EndpointPolicy
from service.webhooks.webhook_service import WebhookService
from tests.support.clock import FakeClock
from tests.support.ids import SeededIds
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.object_store import MemoryObjectStore

_FAILURES: Final = TokenBucket(50, timedelta(seconds=1))
_REFUSALS: Final = TokenBucket(10_000, timedelta(seconds=1))
KLING: Final = "kling/kling-3.0/standard/image-to-video"
KLING_PATH: Final = f"/v1/models/{KLING}"
KLING_INPUT: Final[dict[str, Any]] = {
    "prompt": "The camera slowly dollies in.",
    "start_image_url": "https://media.example.com/input.png",
    "duration": 5,
}
MAX_SUBSCRIPTIONS: Final = 3
MAX_SUBMIT_OUTAGE: Final = timedelta(minutes=5)
BASE_URL: Final = "http://gateway.test"
MAX_DATA_URI_BYTES: Final = 1000
MIN_INPUT_BYTES: Final = 2000

POLICY: Final = HttpPolicy(
    body_limits=BodyLimits(max_bytes=4096, timeout=timedelta(seconds=5)),
    batch_body_limits=BodyLimits(max_bytes=16 * 2**20, timeout=timedelta(seconds=30)),
    options=OptionPolicy(
        deadlines=Deadlines(timedelta(hours=2)),
        max_deadlines=Deadlines(timedelta(hours=24)),
        target_policy=TargetPolicy(),
        by_model={"slow/model": Deadlines(timedelta(hours=6), timedelta(hours=1))},
    ),
    links=LinkPolicy(),
    worker_timeout=timedelta(seconds=30),
    hints=PollHintPolicy(timedelta(seconds=2), timedelta(seconds=30)),
    max_wait=timedelta(seconds=60),
    heartbeat=timedelta(seconds=15),
)


@cache
def _models() -> ModelRegistry:
    return ModelRegistry.build(load_cards())


@cache
def _app() -> FastAPI:
    """One app for all harnesses: it has no state, and takes 30 ms to build."""
    return create_app(_never_opened)


def _never_opened() -> AbstractAsyncContextManager[AppContext]:
    raise AssertionError("each harness passes its own context to each call")


class ApiOperation(NamedTuple):
    """One method of one path of the API."""

    method: str
    path: str
    name: str


def api_operations() -> list[ApiOperation]:
    """Every documented operation."""
    return [
        ApiOperation(method, route.path or "", route.unique_id)
        for route in iter_route_contexts(_app().routes)
        if getattr(route, "include_in_schema", False)
        for method in route.methods or ()
    ]


@dataclass(slots=True)
class AppHarness:
    """A running API, and what a test reads: stores, clock and emitted events."""

    resources: AppContext
    stores: MemoryStores
    clock: FakeClock
    events: list[Event] = field(default_factory=list)
    state: dict[str, object] = field(default_factory=dict)
    """Further entries of the ASGI state."""

    async def tenant(
        self,
        name: str = "video-team",
        *,
        webhook: str | None = None,
        scopes: frozenset[Scope] = ALL_SCOPES,
        limits: Limits = NO_LIMITS,
        archive: ArchiveMode | None = None,
    ) -> str:
        """Create a tenant and return its key."""
        key = build_api_key(name, self.resources.ids.secret())
        now = self.clock.now()
        await self.stores.tenants.create(
            Tenant(name, now, limits=limits, archive=archive),
            ApiKey(api_key_digest(key), name, now, scopes),
            WebhookConfig(name).with_default_url(webhook, now),
        )
        return key

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """An HTTP client with `key`."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.serve),
            base_url=BASE_URL,
            headers=headers,
            trust_env=False,
        )

    async def serve(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Call the application as a server does after its start."""
        await _app()({**scope, "state": {**self.state, "resources": self.resources}}, receive, send)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AppContext]:
        yield self.resources

    def events_of(self, kind: type[Event]) -> list[Any]:
        """The emitted events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def list_models(self, *documents: Mapping[str, object]) -> None:
        """Let the catalogue list these models, as after a sync."""
        cache = self.resources.model_cache
        rows = tuple(orjson.dumps(document) for document in documents)
        cache.registry = cache.registry.with_catalogue(rows, self.clock.now())

    def forward_unlisted_models(self) -> None:
        """Let models that no catalogue lists pass."""
        cache = self.resources.model_cache
        cache.registry = replace(cache.registry, unlisted=UnlistedPolicy.FORWARD)

    def share_results(self, mode: CacheMode | None = CacheMode.USE) -> None:
        """Let submits without a `cache` option share results, or what `mode` says."""
        policy = self.resources.policy
        cache = replace(policy.cache, default=CacheRule(mode))
        self.replace_resources(policy=replace(policy, cache=cache))

    def enable_admin_api(self, token: str) -> None:
        """Turn the admin API on."""
        self.replace_resources(policy=replace(self.resources.policy, admin_token=SecretStr(token)))

    def serve_admin_listener(self) -> None:
        """Let calls come to the admin API's own listener, with no token configured."""
        self.replace_resources(policy=replace(self.resources.policy, own_admin_listener=True))
        self.state[ADMIN_LISTENER] = True

    def admin_context_with(self, **parts: Any) -> AdminContext:  # noqa: ANN401 - fields of Stores
        """Return the admin context with other stores."""
        admin = self.resources.admin
        return replace(admin, stores=replace(admin.stores, **parts))

    def replace_stores(self, **parts: Any) -> None:  # noqa: ANN401 - fields of Stores
        """Replace stores of the context; the operators' are left."""
        self.replace_resources(stores=replace(self.resources.stores, **parts))

    def replace_resources(self, **parts: Any) -> None:  # noqa: ANN401 - fields of AppContext
        """Replace parts of the context."""
        self.resources = replace(self.resources, **parts)


async def create_operator(app: AppHarness, name: str, roles: Iterable[Role]) -> str:
    """Create an operator and return the token."""
    admin = app.resources.admin
    token, _ = await operators.create_operator(admin, name, frozenset(roles), None)
    return token


class LazyMetrics:
    """Metrics computed from the events when they are read: few tests do, and it takes 2 ms."""

    content_type = CONTENT_TYPE

    def __init__(self, events: list[Event], clock: FakeClock) -> None:
        """Read `events`, to which more may be added."""
        self._events, self._clock, self._counted = events, clock, 0

    @cached_property
    def _registry(self) -> MetricsRegistry:
        return MetricsRegistry(MetricSource.SERVICE, "0", {})

    @cached_property
    def _metrics(self) -> ServiceMetrics:
        return ServiceMetrics(self._registry, partial(_empty_state, self._clock), self._clock)

    async def render(self) -> bytes:
        for event in self._events[self._counted :]:
            self._registry(event)
        self._counted = len(self._events)
        return await self._metrics.render()


async def _empty_state(clock: FakeClock) -> GatewayState:
    return GatewayState(clock.now())


def webhook_service_over(stores: MemoryStores, clock: FakeClock) -> WebhookService:
    """The webhook service over in-memory stores."""
    return WebhookService(
        configs=stores.webhook_configs,
        deliveries=stores.deliveries,
        replays=stores.replays,
        clock=clock,
        ids=SeededIds(Random(2)),
        policy=EndpointPolicy(POLICY.options.target_policy, frozenset({"analytics"})),
    )


def open_app(policy: HttpPolicy = POLICY) -> AppHarness:
    """An API over empty stores."""
    clock = FakeClock()
    stores = memory_stores(clock)
    objects = MemoryObjectStore(clock)
    stores.memory.position = StorePosition("store")
    events: list[Event] = []
    waiters = Subscriptions(clock, MAX_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS)
    stores.memory.on_job_change = waiters.job_changed
    emit = events.append
    resources = AppContext(
        stores=stores,
        refused_calls=RefusedCalls(clock),
        admin=_admin_context(stores, clock, emit),
        model_cache=ModelRegistryCache(_models(), stores, clock, emit),
        run_times=RunTimeCache(stores.run_times, clock, emit),
        subscriptions=waiters,
        known_keys=KnownKeys(stores.jobs, clock),
        failed_authentications=RefusalDelays(clock, DelayPolicy(_FAILURES)),
        refusals=RefusalDelays(clock, DelayPolicy(_REFUSALS)),
        body_budget=BodyBudget(BodyBudgetPolicy(64 * 2**20, 16 * 2**20)),
        large_bodies=LargeBodies(clock),
        metrics=LazyMetrics(events, clock),
        webhooks=webhook_service_over(stores, clock),
        files=FileService(objects, stores.files, stores.tenants, clock, SeededIds(Random(3))),
        input_files=InputFiles(
            objects,
            stores.files,
            clock,
            SeededIds(Random(4)),
            DeliveryPolicy(FileDelivery.AUTO, MAX_DATA_URI_BYTES),
            MIN_INPUT_BYTES,
            LargeBodies(clock),
        ),
        submit_availability=SubmitAvailability(
            stores.heartbeats,
            stores.circuit_breakers,
            clock,
            policy.worker_timeout,
            MAX_SUBMIT_OUTAGE,
        ),
        clock=clock,
        ids=SeededIds(Random(1)),
        policy=policy,
        emit=emit,
        read_state=partial(_empty_state, clock),
        is_stopping=lambda: False,
        shared_reads=SharedReads(clock),
    )
    return AppHarness(resources, stores, clock, events)


def _admin_context(stores: MemoryStores, clock: FakeClock, emit: Emit) -> AdminContext:
    return AdminContext(
        actor="admin-api",
        stores=stores,
        clock=clock,
        ids=SeededIds(Random(2)),
        target_policy=TargetPolicy(),
        emit=emit,
    )
