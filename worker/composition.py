"""Opens what a worker works with, and closes it in reverse: here settings become parts."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random, SystemRandom

from core.backoff import ProportionalInterval
from core.circuit_breaker import BreakerPolicy
from core.clock import Clock, SystemClock
from core.ids import SystemIds
from core.jobs.job import Job
from core.observability.events import Emit
from core.observability.log_context import delivery_log_context, job_log_context, with_log_context
from core.observability.trace_context import SpanNamer, pass_through
from core.store.batches import BatchStore
from core.store.circuit_breaker import CircuitBreakerStore
from core.store.client import RedisClient, build_connection_pool
from core.store.connection import RoundTripObserver
from core.store.deliveries import DeliveryStore
from core.store.event_streams import EventStreams
from core.store.job_index import JobIndex
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.operations import OperationsStore
from core.store.run_times import RunTimeCache, RunTimeStore
from core.store.scripts import LuaScripts, load_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import WebhookConfigStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import WorkerHeartbeats
from core.webhooks.delivery import ClaimedDelivery
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from worker.batches.completion import BatchCompleter, BatchCompleterDependencies
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobDependencies
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.submit_gate import CircuitBreakerGate
from worker.maintenance.balance_sync import BalanceSync
from worker.maintenance.catalogue_sync import CatalogueSync
from worker.maintenance.index_pruning import IndexPruner, PrunePolicy
from worker.scheduling.lease_loop import LeaseLoop, LoopPolicy, WorkSource
from worker.settings import WorkerSettings
from worker.upstream.balance import RunComfyBalance
from worker.upstream.catalogue import RunComfyCatalogue
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.http_client import HttpClient, open_http_client
from worker.webhooks.delivery_worker import DeliveryDependencies, DeliveryPolicy, DeliveryWorker
from worker.webhooks.replay_worker import ReplayPolicy, ReplayWorker
from worker.webhooks.sender import Sender, SenderPolicy, open_sender

DELIVERY_LEASE = timedelta(seconds=30)
"""Above the 20 s that one attempt may take."""


@dataclass(frozen=True, slots=True)
class WorkerComponents:
    """A worker's parts, ready to run."""

    worker_id: str
    clock: Clock
    emit: Emit
    jobs: JobStore
    heartbeats: WorkerHeartbeats
    job_loop: LeaseLoop[Job]
    delivery_loop: LeaseLoop[ClaimedDelivery]
    replay_worker: ReplayWorker
    batch_completer: BatchCompleter
    catalogue_sync: CatalogueSync
    run_times: RunTimeCache
    operations: OperationsStore
    index_pruner: IndexPruner
    balance_sync: BalanceSync | None
    """None where no account API may be asked."""


@dataclass(frozen=True, slots=True)
class DeliveryTransports:
    """How an event leaves: by HTTP, or into a Redis stream; and how its span is named."""

    sender: Sender
    event_streams: EventStreams
    span_namer: SpanNamer


@dataclass(frozen=True, slots=True)
class _Stores:
    jobs: JobStore
    batches: BatchStore
    job_index: JobIndex
    deliveries: DeliveryStore
    tenants: TenantStore
    webhooks: WebhookConfigStore
    replays: ReplayStore
    catalogue: CatalogueStore
    circuit_breakers: CircuitBreakerStore
    operations: OperationsStore
    heartbeats: WorkerHeartbeats
    run_times: RunTimeCache


@asynccontextmanager
async def open_worker_components(
    settings: WorkerSettings, emit: Emit, span_namer: SpanNamer = pass_through
) -> AsyncIterator[WorkerComponents]:
    """Everything a worker needs. Nothing is connected yet: a store that is away is waited for."""
    clock = SystemClock()
    name = f"{socket.gethostname()}:{os.getpid()}:{SystemIds().secret().hex()[:8]}"
    limits = UpstreamLimits()
    async with AsyncExitStack() as stack:
        source = build_connection_pool(settings.redis, "worker")
        wire = await stack.enter_async_context(RedisClient(source, RoundTripObserver(clock, emit)))
        access = UpstreamAccess(settings.runcomfy_url, settings.runcomfy_token)
        line = await stack.enter_async_context(open_http_client(access, limits, clock, emit))
        sender = await stack.enter_async_context(open_sender(_build_sender_policy(settings), clock))
        stores = _build_stores(wire, clock, emit)
        sinks = await _open_event_streams(stack, wire, settings)
        courier = _build_delivery_loop(
            settings, stores, DeliveryTransports(sender, sinks, span_namer), clock, emit
        )
        yield WorkerComponents(
            worker_id=name,
            clock=clock,
            emit=emit,
            jobs=stores.jobs,
            heartbeats=stores.heartbeats,
            job_loop=_build_job_loop(
                settings, stores, RunComfyClient(line, limits), name, clock, emit
            ),
            delivery_loop=courier,
            replay_worker=ReplayWorker(
                stores.replays, stores.deliveries, clock, _build_replay_policy(settings)
            ),
            batch_completer=_build_batch_completer(stores, clock, emit),
            catalogue_sync=_build_catalogue_sync(settings, stores, line, limits, clock, emit),
            run_times=stores.run_times,
            operations=stores.operations,
            index_pruner=IndexPruner(name, stores.job_index, stores.tenants, clock, PrunePolicy()),
            balance_sync=_build_balance_sync(settings, stores, line, limits, clock, emit),
        )


def _build_stores(client: RedisClient, clock: Clock, emit: Emit) -> _Stores:
    scripts = LuaScripts(client, load_scripts())
    return _Stores(
        jobs=JobStore(client, scripts, clock),
        batches=BatchStore(client, scripts, clock),
        job_index=JobIndex(client, scripts, clock),
        deliveries=DeliveryStore(client, scripts, clock),
        tenants=TenantStore(client, scripts, clock),
        webhooks=WebhookConfigStore(client, scripts, clock),
        replays=ReplayStore(client, scripts, clock),
        catalogue=CatalogueStore(client, scripts),
        circuit_breakers=CircuitBreakerStore(client, scripts, clock),
        operations=OperationsStore(client, scripts, clock),
        heartbeats=WorkerHeartbeats(client, clock),
        run_times=RunTimeCache(RunTimeStore(client), clock, emit),
    )


def _build_job_loop(
    settings: WorkerSettings,
    stores: _Stores,
    upstream: RunComfyClient,
    worker_id: str,
    clock: Clock,
    emit: Emit,
) -> LeaseLoop[Job]:
    policy = _build_lifecycle_policy(settings)
    lifecycle = JobProcessor(
        JobDependencies(
            worker_id=worker_id,
            jobs=stores.jobs,
            tenants=stores.tenants,
            webhook_configs=stores.webhooks,
            upstream=upstream,
            submit_gate=CircuitBreakerGate(stores.circuit_breakers, clock, BreakerPolicy(), emit),
            clock=clock,
            ids=SystemIds(),
            emit=emit,
            decision_context=DecisionContext(policy, _build_rng(), stores.run_times.get),
        )
    )
    work = WorkSource(
        name="job_step",
        claim=lambda room: stores.jobs.claim_due(policy.lease, room),
        handle=with_log_context(job_log_context, lifecycle.advance),
        id_of=lambda job: job.id,
    )
    return LeaseLoop(work, _job_loop_policy(settings.poll.max_concurrency), clock, emit)


def _build_rng() -> Random:
    """Spreads waits. The system's own chance would cost each look a call of the kernel."""
    return Random()  # noqa: S311 - nothing is guarded by it


def _job_loop_policy(max_concurrency: int) -> LoopPolicy:
    # A claim for every poll that ends would cost Redis as much as the polls themselves.
    return LoopPolicy(max_concurrency=max_concurrency, min_available=max(max_concurrency // 8, 1))


async def _open_event_streams(
    stack: AsyncExitStack, default_client: RedisClient, settings: WorkerSettings
) -> EventStreams:
    named = {
        name: await stack.enter_async_context(
            RedisClient(
                build_connection_pool(replace(settings.redis, url=url, sentinels=()), "sink")
            )
        )
        for name, url in settings.sinks.items()
    }
    return EventStreams(default_client, named, settings.webhooks.max_stream_length)


def _build_delivery_loop(
    settings: WorkerSettings,
    stores: _Stores,
    transports: DeliveryTransports,
    clock: Clock,
    emit: Emit,
) -> LeaseLoop[ClaimedDelivery]:
    hands = DeliveryDependencies(
        outbox=stores.deliveries,
        jobs=stores.jobs,
        webhook_configs=stores.webhooks,
        sender=transports.sender,
        event_streams=transports.event_streams,
        clock=clock,
        rng=SystemRandom(),
        ids=SystemIds(),
        emit=emit,
    )
    work = WorkSource(
        name="delivery_step",
        claim=lambda room: stores.deliveries.claim_due(DELIVERY_LEASE, room),
        handle=with_log_context(
            lambda claimed: delivery_log_context(claimed.delivery, transports.span_namer),
            DeliveryWorker(hands, DeliveryPolicy()).deliver,
        ),
        id_of=lambda claimed: claimed.delivery.id,
    )
    return LeaseLoop(
        work, LoopPolicy(max_concurrency=settings.webhooks.max_concurrency), clock, emit
    )


def _build_batch_completer(stores: _Stores, clock: Clock, emit: Emit) -> BatchCompleter:
    return BatchCompleter(
        BatchCompleterDependencies(stores.batches, stores.webhooks, clock, SystemIds(), emit)
    )


def _build_catalogue_sync(
    settings: WorkerSettings,
    stores: _Stores,
    http_client: HttpClient,
    limits: UpstreamLimits,
    clock: Clock,
    emit: Emit,
) -> CatalogueSync:
    source = RunComfyCatalogue(http_client, limits)
    return CatalogueSync(source, stores.catalogue, clock, emit, settings.catalogue_sync_interval)


def _build_balance_sync(
    settings: WorkerSettings,
    stores: _Stores,
    http_client: HttpClient,
    limits: UpstreamLimits,
    clock: Clock,
    emit: Emit,
) -> BalanceSync | None:
    if settings.account_url is None:
        return None
    source = RunComfyBalance(http_client.with_base_url(settings.account_url), limits)
    return BalanceSync(source, stores.operations, clock, emit)


def _build_sender_policy(settings: WorkerSettings) -> SenderPolicy:
    allowed = AllowedTargets.parse(settings.webhooks.allowed_targets)
    return SenderPolicy(
        targets=TargetPolicy(allowed=allowed), max_connections=settings.webhooks.max_concurrency
    )


def _build_replay_policy(settings: WorkerSettings) -> ReplayPolicy:
    return ReplayPolicy(events_per_second=settings.webhooks.replay_per_second)


def _build_lifecycle_policy(settings: WorkerSettings) -> LifecyclePolicy:
    own = LifecyclePolicy()
    polling = ProportionalInterval(
        settings.poll.min_interval, settings.poll.max_interval, own.polling.ratio
    )
    return LifecyclePolicy(
        initial_poll_delay=settings.poll.initial_delay,
        polling=polling,
        doubt_policy=settings.doubt.policy,
        doubt_hold=settings.doubt.hold,
        max_concurrent_submits=settings.submit_max_concurrency,
    )
