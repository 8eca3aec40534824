"""Composition of the service: build what handlers use from the settings; close it in reverse."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

from core.clock import Clock, OffsetClock, SystemClock
from core.errors import StoreUnavailable
from core.ids import SystemIds
from core.jobs.run_times import PollHintPolicy
from core.objects.object_store import ObjectStore
from core.objects.open import open_objects
from core.observability.events import Emit, Event, RequestServed
from core.observability.gateway_state import GatewayState
from core.observability.job_label_metrics import JobLabelMetrics
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from core.observability.trace_context import SpanNamer, pass_through
from core.observability.tracing import open_tracing
from core.private_sources import PrivateSources
from core.settings.effective import effective_settings
from core.store.booking import UsageRetention
from core.store.client import RedisClient, build_connection_pool
from core.store.connection import RoundTripObserver
from core.store.encryption import SecretCipher
from core.store.gateway_state import GatewayStateStore
from core.store.pubsub import JobChangeSubscriber
from core.store.run_times import RunTimeCache
from core.store.scripts import LuaScripts, load_scripts
from core.store.server_time import SYNC_INTERVAL, ServerTime
from core.store.stores import Stores, open_stores
from service.admin.refused_calls import RefusedCalls
from service.context import (
    ADMIN_API_ACTOR,
    DISTRIBUTION,
    PROBE_ROUTES,
    AppContext,
    HttpPolicy,
    MetricsRenderer,
    ReadState,
)
from service.files.file_service import FileService
from service.jobs.input_files import InputFiles
from service.jobs.submit_availability import SubmitAvailability
from service.metrics.service_metrics import ServiceMetrics
from service.models import ModelRegistry, load_cards
from service.models.registry_cache import ModelRegistryCache
from service.operator_context import AdminContext
from service.parsing.body_budget import BodyBudget
from service.parsing.large_bodies import LargeBodies
from service.settings import ServiceSettings
from service.shutdown import Shutdown
from service.streaming.shared_reads import SharedReads
from service.streaming.subscriptions import Subscriptions
from service.tenants.known_keys import KnownKeys
from service.tenants.refusal_delays import REFUSALS, DelayPolicy, RefusalDelays
from service.webhooks.webhook_service import WebhookService

_CANCEL_RETRY_INTERVAL: Final = timedelta(milliseconds=20)


_METRICS_REFRESH_INTERVAL: Final = timedelta(seconds=1)


def build_http_policy(settings: ServiceSettings) -> HttpPolicy:
    """Return the policies that the settings define."""
    return HttpPolicy(
        body_limits=settings.body_limits(),
        batch_body_limits=settings.batch_limits(),
        options=settings.option_policy(),
        links=settings.link_policy(),
        worker_timeout=settings.worker_timeout,
        hints=PollHintPolicy(settings.min_retry_after, settings.max_retry_after),
        max_wait=settings.max_wait,
        heartbeat=settings.heartbeat_interval,
        admin_token=settings.admin_token,
        cache=settings.cache.policy(),
        docs=settings.docs,
        guide=settings.guide,
        own_admin_listener=settings.admin_port is not None,
        account=settings.account,
        console=settings.console_policy(),
        mcp=settings.mcp_policy(),
    )


async def unread_state() -> GatewayState:
    """Return a state in which nothing was read."""
    return GatewayState(SystemClock().now())


@dataclass(frozen=True, slots=True)
class ProcessTools:
    """What a process has beside its settings and stores. The defaults do nothing."""

    clock: Clock
    span_of: SpanNamer = pass_through
    confirm_models: Callable[[Iterable[str]], None] = lambda _: None
    """Called with the ids of the models that the catalogue lists."""
    read_state: ReadState = unread_state
    is_stopping: Callable[[], bool] = lambda: False
    """Whether the process is about to stop."""


NO_TOOLS: Final = ProcessTools(SystemClock())


@asynccontextmanager
async def open_app_context(
    settings: ServiceSettings, log: Emit, shutdown: Shutdown | None = None
) -> AsyncIterator[AppContext]:
    """Open the connections and the background tasks of one process, and close them in reverse.

    Redis may be unavailable at the start: every call connects again. `shutdown.stopping` ends all
    waits, so that a server which shuts down need not wait for long polls and event streams.
    """
    shutdown = shutdown or Shutdown()
    clock = OffsetClock(SystemClock())
    release = version(DISTRIBUTION)
    registry = MetricsRegistry(MetricSource.SERVICE, release, settings.metrics.label_limits)
    tracing = open_tracing("service", release, settings.sample_ratio, clock, SystemIds())
    async with AsyncExitStack() as stack:
        span_namer, trace = stack.enter_context(tracing)
        pool = build_connection_pool(settings.own_redis, "service")
        client = await stack.enter_async_context(
            RedisClient(pool, RoundTripObserver(clock, registry), replicas=settings.redis.replicas)
        )
        scripts = LuaScripts(client, load_scripts())
        retention = UsageRetention(settings.usage_retention)
        stores = open_stores(client, scripts, clock, SecretCipher(settings.secret_keys), retention)
        state = GatewayStateStore(client, scripts, stores, clock, settings.metrics.max_tenants)
        metrics = ServiceMetrics(registry, state.read, clock)
        emit = _fan_out(registry, log, *_optional_emitters(settings, registry, trace))
        server_time = ServerTime(client, clock)
        tools = ProcessTools(
            clock, span_namer, registry.confirm_models, state.read, lambda: shutdown.is_announced
        )
        context = build_app_context(settings, stores, metrics, emit, tools)
        _set_gauges(registry, server_time, context.subscriptions)
        for background in (
            *_refreshes(settings, context, registry),
            _job_changes(settings, context, clock, emit).run(),
            _synchronize_forever(server_time, clock),
            _close_on_stop(shutdown.stopping, context.subscriptions),
        ):
            stack.push_async_callback(_cancel_and_wait, asyncio.create_task(background))
        yield context


def _optional_emitters(
    settings: ServiceSettings, registry: MetricsRegistry, trace: Emit
) -> Iterator[Emit]:
    """Yield what follows events only where the settings want it: each costs every request."""
    if settings.metrics.named_labels:
        yield JobLabelMetrics(registry.record, settings.metrics.named_labels)
    if settings.traces:
        yield trace


def _job_changes(
    settings: ServiceSettings, context: AppContext, clock: Clock, emit: Emit
) -> JobChangeSubscriber:
    pool = build_connection_pool(settings.own_redis, "feed")
    return JobChangeSubscriber(pool, context.subscriptions, clock, emit)


def _set_gauges(
    registry: MetricsRegistry, server_time: ServerTime, subscriptions: Subscriptions
) -> None:
    registry.set_gauge_function("gateway_clock_skew_seconds", (), lambda: server_time.skew_seconds)
    registry.set_gauge_function("gateway_job_subscriptions", (), subscriptions.__len__)


def _refreshes(
    settings: ServiceSettings, context: AppContext, registry: MetricsRegistry
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what reads again, for ever, what this process keeps of the store."""
    return (
        context.model_cache.refresh_forever(settings.catalogue_refresh_interval),
        context.run_times.refresh_forever(settings.run_times_refresh_interval),
        _refresh_shared_metrics(registry, context.clock),
    )


def build_app_context(
    settings: ServiceSettings,
    stores: Stores,
    metrics: MetricsRenderer,
    emit: Emit,
    tools: ProcessTools = NO_TOOLS,
) -> AppContext:
    """Return the context over `stores`; no task runs yet."""
    clock, objects = tools.clock, open_objects(settings.objects)
    large_bodies = LargeBodies(clock)
    registry = _build_registry(settings)
    return AppContext(
        stores=stores,
        admin=build_admin_context(settings, stores, ADMIN_API_ACTOR, emit, clock),
        refused_calls=RefusedCalls(clock),
        model_cache=ModelRegistryCache(registry, stores, clock, emit, tools.confirm_models),
        run_times=RunTimeCache(stores.run_times, clock, emit),
        subscriptions=Subscriptions(
            clock, settings.max_subscriptions, settings.max_subscriptions_per_tenant
        ),
        known_keys=KnownKeys(stores.jobs, clock),
        failed_authentications=RefusalDelays(clock, DelayPolicy(delay=settings.refusal_delay)),
        refusals=RefusalDelays(clock, DelayPolicy(REFUSALS, settings.refusal_delay)),
        body_budget=BodyBudget(settings.body_budget_policy()),
        large_bodies=large_bodies,
        metrics=metrics,
        webhooks=build_webhook_service(settings, stores, clock),
        files=FileService(objects, stores.files, stores.tenants, clock, SystemIds()),
        input_files=_build_input_files(settings, stores, objects, large_bodies, clock),
        submit_availability=_build_submit_availability(settings, stores, clock),
        clock=clock,
        ids=SystemIds(),
        policy=build_http_policy(settings),
        emit=emit,
        read_state=tools.read_state,
        is_stopping=tools.is_stopping,
        shared_reads=SharedReads(clock),
        span_of=tools.span_of,
        settings_table=_settings_table(settings),
    )


def _settings_table(settings: ServiceSettings) -> tuple[Mapping[str, str], ...]:
    """Return the settings as the process starts with them: the console shows them later."""
    is_shown = settings.console_policy().enabled
    return tuple(effective_settings(ServiceSettings)) if is_shown else ()


def _build_registry(settings: ServiceSettings) -> ModelRegistry:
    """Return the registry of the gateway's own cards, until the catalogue is read."""
    models = settings.models
    return ModelRegistry.build(load_cards(), unlisted=models.unlisted, aliases=models.aliases)


def _build_input_files(
    settings: ServiceSettings,
    stores: Stores,
    objects: ObjectStore | None,
    large_bodies: LargeBodies,
    clock: Clock,
) -> InputFiles:
    return InputFiles(
        objects,
        stores.files,
        clock,
        SystemIds(),
        settings.delivery_policy,
        settings.objects.min_input_bytes,
        large_bodies,
        PrivateSources.parse(settings.files.fetch_from),
    )


def _build_submit_availability(
    settings: ServiceSettings, stores: Stores, clock: Clock
) -> SubmitAvailability:
    return SubmitAvailability(
        stores.heartbeats,
        stores.circuit_breakers,
        clock,
        settings.worker_timeout,
        settings.max_submit_outage,
    )


def build_webhook_service(
    settings: ServiceSettings, stores: Stores, clock: Clock
) -> WebhookService:
    """Return the use cases of webhooks, for the API and for operators' commands."""
    return WebhookService(
        configs=stores.webhook_configs,
        deliveries=stores.deliveries,
        replays=stores.replays,
        clock=clock,
        ids=SystemIds(),
        policy=settings.endpoint_policy(),
    )


def build_admin_context(
    settings: ServiceSettings, stores: Stores, actor: str, emit: Emit, clock: Clock
) -> AdminContext:
    """Return what an operator's actions need; `actor` is the name in the audit log."""
    return AdminContext(
        actor=actor,
        stores=stores,
        clock=clock,
        ids=SystemIds(),
        target_policy=settings.target_policy(),
        emit=emit,
    )


def _fan_out(metrics: Emit, *emitters: Emit) -> Emit:
    def emit(event: Event) -> None:
        metrics(event)
        # Probes come every few seconds: in a log only a failed one is news.
        if isinstance(event, RequestServed) and event.route in PROBE_ROUTES and event.code is None:
            return
        for emit_further in emitters:
            emit_further(event)

    return emit


async def _refresh_shared_metrics(registry: MetricsRegistry, clock: Clock) -> None:
    """Write this process's gauges where the other service processes read them.

    A scrape reaches any one of the processes, which answers for all.
    """
    while True:
        registry.refresh()
        await clock.sleep(_METRICS_REFRESH_INTERVAL)


async def _synchronize_forever(server_time: ServerTime, clock: Clock) -> None:
    while True:
        with suppress(StoreUnavailable):
            await server_time.synchronize()
        await clock.sleep(SYNC_INTERVAL)


async def _close_on_stop(stopping: asyncio.Event, subscriptions: Subscriptions) -> None:
    await stopping.wait()
    subscriptions.close()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    # redis-py can lose a cancellation that arrives while it connects, so it is repeated.
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_RETRY_INTERVAL.total_seconds())
