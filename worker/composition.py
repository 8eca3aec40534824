"""Opens what a worker works with, and closes it in reverse: here settings become parts."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random, SystemRandom

from core.backoff import Cadence
from core.circuit_breaker import BreakerPolicy
from core.clock import Clock, SystemClock
from core.ids import SystemIds
from core.jobs.job import Job
from core.observability.events import Emit
from core.observability.log_context import delivery_subject, job_subject, within
from core.observability.trace_context import SpanOf, passed_on
from core.store.batches import BatchStore
from core.store.circuit_breaker import BreakerStore
from core.store.client import Wire, connection_source
from core.store.connection import Watch
from core.store.deliveries import DeliveryStore
from core.store.event_streams import SinkPolicy, StreamSinks
from core.store.job_index import ListedJobs
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.operations import ControlStore
from core.store.run_times import HistoryShelf, HistoryStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import WebhookStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import Presence
from core.webhooks.delivery import Claimed
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from worker.batches.completion import BatchCloser, CloserHands
from worker.jobs.decisions.transition import Rules
from worker.jobs.job_processor import Lifecycle
from worker.jobs.job_writer import Hands
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.submit_gate import BreakerGate
from worker.maintenance.balance_sync import WalletWatch
from worker.maintenance.catalogue_sync import CatalogueSync
from worker.maintenance.index_pruning import Trimmer, TrimPolicy
from worker.scheduling.lease_loop import LeasedLoop, LoopPolicy, Work
from worker.settings import WorkerSettings
from worker.upstream.balance import RunComfyBalance
from worker.upstream.catalogue import RunComfyCatalogue
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.http_client import Line, open_line
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy
from worker.webhooks.replay_worker import Replayer, ReplayPolicy
from worker.webhooks.sender import Sender, SenderPolicy, open_sender

DELIVERY_LEASE = timedelta(seconds=30)
"""Above the 20 s that one attempt may take."""


@dataclass(frozen=True, slots=True)
class Resources:
    """A worker's parts, ready to run."""

    name: str
    clock: Clock
    emit: Emit
    jobs: JobStore
    presence: Presence
    watcher: LeasedLoop[Job]
    courier: LeasedLoop[Claimed]
    replayer: Replayer
    closer: BatchCloser
    catalogue: CatalogueSync
    histories: HistoryShelf
    controls: ControlStore
    trimmer: Trimmer
    wallet: WalletWatch | None
    """None where no account API may be asked."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How an event leaves: by HTTP, or into a Redis stream; and how its span is named."""

    sender: Sender
    sinks: StreamSinks
    span_of: SpanOf


@dataclass(frozen=True, slots=True)
class _Stores:
    jobs: JobStore
    batches: BatchStore
    listed: ListedJobs
    deliveries: DeliveryStore
    tenants: TenantStore
    webhooks: WebhookStore
    replays: ReplayStore
    catalogue: CatalogueStore
    breakers: BreakerStore
    controls: ControlStore
    presence: Presence
    histories: HistoryShelf


@asynccontextmanager
async def open_resources(
    settings: WorkerSettings, emit: Emit, span_of: SpanOf = passed_on
) -> AsyncIterator[Resources]:
    """Everything a worker needs. Nothing is connected yet: a store that is away is waited for."""
    clock = SystemClock()
    name = f"{socket.gethostname()}:{os.getpid()}:{SystemIds().secret().hex()[:8]}"
    limits = UpstreamLimits()
    async with AsyncExitStack() as stack:
        source = connection_source(settings.redis, "worker")
        wire = await stack.enter_async_context(Wire(source, Watch(clock, emit)))
        access = UpstreamAccess(settings.runcomfy_url, settings.runcomfy_token)
        line = await stack.enter_async_context(open_line(access, limits, clock, emit))
        sender = await stack.enter_async_context(open_sender(_sender_policy(settings), clock))
        stores = _open_stores(wire, clock, emit)
        sinks = await _open_sinks(stack, wire, settings)
        courier = _courier(settings, stores, Ways(sender, sinks, span_of), clock, emit)
        yield Resources(
            name=name,
            clock=clock,
            emit=emit,
            jobs=stores.jobs,
            presence=stores.presence,
            watcher=_watcher(settings, stores, RunComfyClient(line, limits), name, clock, emit),
            courier=courier,
            replayer=Replayer(stores.replays, stores.deliveries, clock, _replay_policy(settings)),
            closer=_closer(stores, clock, emit),
            catalogue=_catalogue(settings, stores, line, limits, clock, emit),
            histories=stores.histories,
            controls=stores.controls,
            trimmer=Trimmer(name, stores.listed, stores.tenants, clock, TrimPolicy()),
            wallet=_wallet(settings, stores, line, limits, clock, emit),
        )


def _open_stores(wire: Wire, clock: Clock, emit: Emit) -> _Stores:
    scripts = Scripts(wire, read_scripts())
    return _Stores(
        jobs=JobStore(wire, scripts, clock),
        batches=BatchStore(wire, scripts, clock),
        listed=ListedJobs(wire, scripts, clock),
        deliveries=DeliveryStore(wire, scripts, clock),
        tenants=TenantStore(wire, scripts, clock),
        webhooks=WebhookStore(wire, scripts, clock),
        replays=ReplayStore(wire, scripts, clock),
        catalogue=CatalogueStore(wire, scripts),
        breakers=BreakerStore(wire, scripts, clock),
        controls=ControlStore(wire, scripts, clock),
        presence=Presence(wire, clock),
        histories=HistoryShelf(HistoryStore(wire), clock, emit),
    )


def _watcher(
    settings: WorkerSettings,
    stores: _Stores,
    upstream: RunComfyClient,
    name: str,
    clock: Clock,
    emit: Emit,
) -> LeasedLoop[Job]:
    policy = _lifecycle_policy(settings)
    lifecycle = Lifecycle(
        Hands(
            name=name,
            jobs=stores.jobs,
            tenants=stores.tenants,
            webhooks=stores.webhooks,
            upstream=upstream,
            gate=BreakerGate(stores.breakers, clock, BreakerPolicy(), emit),
            clock=clock,
            ids=SystemIds(),
            emit=emit,
            rules=Rules(policy, _chance(), stores.histories.of),
        )
    )
    work = Work(
        name="job_step",
        claim=lambda room: stores.jobs.claim_due(policy.lease, room),
        handle=within(job_subject, lifecycle.advance),
        identity=lambda job: job.id,
    )
    return LeasedLoop(work, _in_batches(settings.poll.max_concurrency), clock, emit)


def _chance() -> Random:
    """Spreads waits. The system's own chance would cost each look a call of the kernel."""
    return Random()  # noqa: S311 - nothing is guarded by it


def _in_batches(at_once: int) -> LoopPolicy:
    # A claim for every poll that ends would cost Redis as much as the polls themselves.
    return LoopPolicy(at_once=at_once, batch=max(at_once // 8, 1))


async def _open_sinks(stack: AsyncExitStack, own: Wire, settings: WorkerSettings) -> StreamSinks:
    named = {
        name: await stack.enter_async_context(
            Wire(connection_source(replace(settings.redis, url=url, sentinels=()), "sink"))
        )
        for name, url in settings.sinks.items()
    }
    return StreamSinks(own, named, SinkPolicy(keep=settings.webhooks.max_stream_length))


def _courier(
    settings: WorkerSettings, stores: _Stores, ways: Ways, clock: Clock, emit: Emit
) -> LeasedLoop[Claimed]:
    hands = CourierHands(
        outbox=stores.deliveries,
        jobs=stores.jobs,
        setups=stores.webhooks,
        sender=ways.sender,
        sinks=ways.sinks,
        clock=clock,
        rng=SystemRandom(),
        ids=SystemIds(),
        emit=emit,
    )
    work = Work(
        name="delivery_step",
        claim=lambda room: stores.deliveries.claim_due(DELIVERY_LEASE, room),
        handle=within(
            lambda claimed: delivery_subject(claimed.delivery, ways.span_of),
            Courier(hands, CourierPolicy()).deliver,
        ),
        identity=lambda claimed: claimed.delivery.id,
    )
    return LeasedLoop(work, LoopPolicy(at_once=settings.webhooks.max_concurrency), clock, emit)


def _closer(stores: _Stores, clock: Clock, emit: Emit) -> BatchCloser:
    return BatchCloser(CloserHands(stores.batches, stores.webhooks, clock, SystemIds(), emit))


def _catalogue(
    settings: WorkerSettings,
    stores: _Stores,
    line: Line,
    limits: UpstreamLimits,
    clock: Clock,
    emit: Emit,
) -> CatalogueSync:
    source = RunComfyCatalogue(line, limits)
    return CatalogueSync(source, stores.catalogue, clock, emit, settings.catalogue_sync_interval)


def _wallet(
    settings: WorkerSettings,
    stores: _Stores,
    line: Line,
    limits: UpstreamLimits,
    clock: Clock,
    emit: Emit,
) -> WalletWatch | None:
    if settings.account_url is None:
        return None
    source = RunComfyBalance(line.at(settings.account_url), limits)
    return WalletWatch(source, stores.controls, clock, emit)


def _sender_policy(settings: WorkerSettings) -> SenderPolicy:
    allowed = AllowedTargets.parse(settings.webhooks.allowed_targets)
    return SenderPolicy(
        targets=TargetPolicy(allowed=allowed), connections=settings.webhooks.max_concurrency
    )


def _replay_policy(settings: WorkerSettings) -> ReplayPolicy:
    return ReplayPolicy(per_second=settings.webhooks.replay_per_second)


def _lifecycle_policy(settings: WorkerSettings) -> LifecyclePolicy:
    own = LifecyclePolicy()
    polling = Cadence(settings.poll.min_interval, settings.poll.max_interval, own.polling.share)
    return LifecyclePolicy(
        first_poll=settings.poll.initial_delay,
        polling=polling,
        doubt=settings.doubt.policy,
        doubt_hold=settings.doubt.hold,
        submits_at_once=settings.submit_max_concurrency,
    )
