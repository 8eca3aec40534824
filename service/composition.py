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
from core.jobs.run_times import PollHintPolicy
from core.observability.events import Emit, Event, RequestServed
from core.observability.metric_types import MetricSource
from core.observability.prometheus import MetricsRegistry
from core.observability.tracing import TracingPolicy, open_tracing
from core.store import job_index
from core.store.batches import BatchStore
from core.store.circuit_breaker import CircuitBreakerStore
from core.store.client import RedisClient, build_connection_pool
from core.store.connection import RoundTripObserver
from core.store.deliveries import DeliveryStore
from core.store.gateway_state import GatewayStateStore, GatewayStateStores
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.operations import OperationsStore
from core.store.pubsub import JobChangeSubscriber
from core.store.run_times import RunTimeCache, RunTimeStore
from core.store.scripts import LuaScripts, load_scripts
from core.store.tenants import TenantStore
from core.store.usage import UsageStore
from core.store.webhook_endpoints import WebhookConfigStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import WorkerHeartbeats
from service.context import (
    ADMIN_API_ACTOR,
    DISTRIBUTION,
    PROBE_ROUTES,
    SUBMIT_ROUTE,
    AppContext,
    HttpPolicy,
)
from service.metrics.metrics import ServiceMetrics
from service.models import ModelRegistry, load_cards
from service.models.registry_cache import ModelRegistryCache
from service.operator_context import AdminContext
from service.settings import ServiceSettings
from service.streaming.subscriptions import Subscriptions
from service.webhooks.webhook_service import WebhookService

_CANCEL_RETRY_INTERVAL: Final = timedelta(milliseconds=20)


_METRICS_REFRESH_INTERVAL: Final = timedelta(seconds=1)


def build_http_policy(settings: ServiceSettings) -> HttpPolicy:
    """The policies that the settings spell."""
    return HttpPolicy(
        body_limits=settings.body_limits(),
        batch_body_limits=settings.batch_limits(),
        options=settings.option_policy(),
        public_url=settings.public_url.rstrip("/") if settings.public_url else None,
        worker_timeout=settings.worker_timeout,
        hints=PollHintPolicy(settings.min_retry_after, settings.max_retry_after),
        max_wait=settings.max_wait,
        heartbeat=settings.heartbeat_interval,
        admin_token=settings.admin_token,
        cache=settings.cache.policy(),
    )


@asynccontextmanager
async def open_app_context(
    settings: ServiceSettings, log: Emit, stopping: asyncio.Event | None = None
) -> AsyncIterator[AppContext]:
    """The real things. The store may be away: it is looked for again with every call.

    With `stopping` every wait ends: a server that drains would else wait for those who wait.
    """
    clock = SystemClock()
    release = version(DISTRIBUTION)
    figures = MetricsRegistry(MetricSource.SERVICE, release, settings.metrics.label_limits)
    traces = TracingPolicy(settings.traces, settings.traces_sample_ratio, "service", release)
    async with AsyncExitStack() as stack:
        tracing = stack.enter_context(open_tracing(traces, clock, SystemIds()))
        source = build_connection_pool(settings.redis, "service")
        wire = await stack.enter_async_context(
            RedisClient(source, RoundTripObserver(clock, figures))
        )
        scripts = LuaScripts(wire, load_scripts())
        overview = _build_gateway_state_store(wire, scripts, clock, settings.metrics.max_tenants)
        metrics = ServiceMetrics(figures, SUBMIT_ROUTE, overview.read, clock)
        emit = _fan_out(metrics, log, tracing.emit)
        resources = replace(
            _build_app_context(wire, scripts, settings, metrics, emit), span_of=tracing.span_namer
        )
        figures.set_gauge_function("gateway_job_subscriptions", (), resources.subscriptions.__len__)
        feed_source = build_connection_pool(settings.redis, "feed")
        feed = JobChangeSubscriber(feed_source, resources.subscriptions, clock, emit)
        for endless in (
            resources.model_cache.refresh_forever(settings.catalogue_refresh_interval),
            resources.run_times.refresh_forever(settings.run_times_refresh_interval),
            feed.run(),
            _refresh_shared_metrics(figures, clock),
            _close_on_stop(stopping or asyncio.Event(), resources.subscriptions),
        ):
            stack.push_async_callback(_cancel_and_wait, asyncio.create_task(endless))
        yield resources


def _build_app_context(
    client: RedisClient,
    scripts: LuaScripts,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    emit: Emit,
) -> AppContext:
    """What handlers reach, over one wire; nothing of it runs by itself."""
    clock = SystemClock()
    cards = ModelRegistry.build(load_cards(), max_age=settings.catalogue_max_age)
    return AppContext(
        jobs=JobStore(client, scripts, clock),
        batches=BatchStore(client, scripts, clock),
        job_index=job_index.JobIndex(client, scripts, clock),
        tenants=TenantStore(client, scripts, clock),
        usage=UsageStore(client),
        circuit_breaker=CircuitBreakerStore(client, scripts, clock),
        admin=build_admin_context(settings, client, scripts, ADMIN_API_ACTOR, emit),
        worker_heartbeats=WorkerHeartbeats(client, clock),
        model_cache=ModelRegistryCache(cards, CatalogueStore(client, scripts), clock, emit),
        run_times=RunTimeCache(RunTimeStore(client), clock, emit),
        subscriptions=Subscriptions(clock, settings.max_subscriptions),
        metrics=metrics,
        webhooks=build_webhook_service(settings, client, scripts),
        clock=clock,
        ids=SystemIds(),
        policy=build_http_policy(settings),
        emit=emit,
    )


def _build_gateway_state_store(
    client: RedisClient, scripts: LuaScripts, clock: Clock, tenants: int
) -> GatewayStateStore:
    parts = GatewayStateStores(
        scripts=scripts,
        operations=OperationsStore(client, scripts, clock),
        circuit_breakers=CircuitBreakerStore(client, scripts, clock),
        catalogue=CatalogueStore(client, scripts),
        webhooks=WebhookConfigStore(client, scripts, clock),
    )
    return GatewayStateStore(client, parts, clock, tenants)


def build_webhook_service(
    settings: ServiceSettings, client: RedisClient, scripts: LuaScripts
) -> WebhookService:
    """What is done with callbacks, over the real stores; for handlers and operators' commands."""
    clock = SystemClock()
    return WebhookService(
        configs=WebhookConfigStore(client, scripts, clock),
        deliveries=DeliveryStore(client, scripts, clock),
        replays=ReplayStore(client, scripts, clock),
        clock=clock,
        ids=SystemIds(),
        policy=settings.endpoint_policy(),
    )


def build_admin_context(
    settings: ServiceSettings, client: RedisClient, scripts: LuaScripts, actor: str, emit: Emit
) -> AdminContext:
    """An operator's desk over the real stores."""
    clock = SystemClock()
    return AdminContext(
        actor=actor,
        tenants=TenantStore(client, scripts, clock),
        jobs=JobStore(client, scripts, clock),
        job_index=job_index.JobIndex(client, scripts, clock),
        webhook_configs=WebhookConfigStore(client, scripts, clock),
        operations=OperationsStore(client, scripts, clock),
        usage=UsageStore(client),
        clock=clock,
        ids=SystemIds(),
        target_policy=settings.target_policy(),
        emit=emit,
    )


def _fan_out(metrics: Emit, *emitters: Emit) -> Emit:
    def emit(event: Event) -> None:
        metrics(event)
        if not _is_successful_probe(event):
            for emit_further in emitters:
                emit_further(event)

    return emit


def _is_successful_probe(event: Event) -> bool:
    # Probes come every few seconds, and say something only when they fail.
    return isinstance(event, RequestServed) and event.route in PROBE_ROUTES and event.code is None


async def _refresh_shared_metrics(registry: MetricsRegistry, clock: Clock) -> None:
    """Another member of the crew may be asked for our gauges."""
    while True:
        registry.refresh()
        await clock.sleep(_METRICS_REFRESH_INTERVAL)


async def _close_on_stop(stopping: asyncio.Event, subscriptions: Subscriptions) -> None:
    await stopping.wait()
    subscriptions.close()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    # A cancellation that comes while redis-py connects can get lost in it: it is said again.
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_RETRY_INTERVAL.total_seconds())
