"""Builds a worker's components from its settings, and closes them in reverse order."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random, SystemRandom

from core.backoff import ProportionalInterval
from core.clock import Clock, OffsetClock, SystemClock
from core.ids import IdSource, SystemIds
from core.jobs.job import Job
from core.journal.journal import Journal
from core.journal.open import open_journal
from core.objects.object_store import ObjectStore
from core.objects.open import open_objects
from core.observability.events import Emit
from core.observability.log_context import delivery_log_context, job_log_context, with_log_context
from core.observability.trace_context import SpanNamer, pass_through
from core.private_sources import PrivateSources
from core.store.booking import UsageRetention
from core.store.client import RedisClient, build_connection_pool
from core.store.connection import RoundTripObserver
from core.store.encryption import SecretCipher
from core.store.event_streams import EventStreams
from core.store.run_times import RunTimeCache
from core.store.scripts import LuaScripts, load_scripts
from core.store.server_time import ServerTime
from core.store.stores import Stores, open_stores
from core.upstream.circuit_breaker import BreakerPolicy
from core.webhooks.delivery import ClaimedDelivery
from core.webhooks.url_policy import AllowedTargets, Refusal, TargetPolicy
from worker.batches.completion import BatchCompleter
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.archive_start import ArchiveStarter
from worker.jobs.archiver import Archiver
from worker.jobs.decisions.archive import ArchiveContext, ArchivePolicy
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.input_assembly import InputAssembler
from worker.jobs.job_processor import JobProcessor
from worker.jobs.job_writer import JobWriter
from worker.jobs.paid_submit import PaidSubmitter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.reconciliation import Reconciler
from worker.jobs.source_fetching import SourceKeeper
from worker.jobs.store_guard import GuardPolicy, StoreGuard
from worker.jobs.submission import JobSubmitter
from worker.jobs.submit_circuit_breaker import SubmitCircuitBreaker
from worker.maintenance.balance_sync import BalanceSync
from worker.maintenance.budget_thresholds import BudgetThresholdNotifier, ThresholdPolicy
from worker.maintenance.catalogue_sync import CatalogueSync
from worker.maintenance.durability_check import DurabilityCheck
from worker.maintenance.file_sweeping import FileSweeper
from worker.maintenance.index_pruning import IndexPruner, PrunePolicy
from worker.maintenance.journal_sweep import JournalSweeper
from worker.ports import MediaSource, SourceReader
from worker.proxy import Proxy
from worker.scheduling.lease_loop import LeaseLoop, LoopPolicy, WorkSource
from worker.settings import WorkerSettings
from worker.sources.media_client import MediaClient
from worker.sources.source_client import SourcePolicy, open_source_client
from worker.tls import create_tls_context
from worker.upstream.balance import RunComfyBalance
from worker.upstream.catalogue import RunComfyCatalogue
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.http_client import HttpClient, open_http_client
from worker.upstream.transports import EgressRoute
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.delivery_source import DeliverySource
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.dns_resolver import DnsResolver
from worker.webhooks.http_session import create_session
from worker.webhooks.reachability import find_proxy_issue, find_unreachable
from worker.webhooks.receiver_tls import ReceiverTls
from worker.webhooks.replay_worker import ReplayPolicy, ReplayWorker
from worker.webhooks.resolved_target import PinnedTarget, resolve
from worker.webhooks.sender import SenderPolicy, open_sender
from worker.webhooks.transport import DeliveryTransport

GIVE_BACK_DELAY = timedelta(seconds=3)
"""When a job runs again whose tenant or model has its share of this worker in flight."""
MEDIA_CONNECT_TIMEOUT = timedelta(seconds=10)
MEDIA_IDLE_TIMEOUT = timedelta(seconds=30)
"""Between two pieces of an output."""
MEDIA_TIMEOUT = timedelta(minutes=30)
"""Of one output: 1 GiB at 5 Mbit/s."""
MEDIA_OVERHEAD_BYTES = 2**20
"""Of an answer's head and framing; a longer body is refused by its size."""
ARCHIVE_POLL_INTERVAL = timedelta(seconds=1)
"""A job that ends wakes the loop immediately; this finds what is tried again."""
DELIVERY_LEASE = timedelta(seconds=30)
"""Longer than the 20 s that one attempt may take."""


@dataclass(frozen=True, slots=True)
class WorkerComponents:
    """A worker's components, ready to run."""

    worker_id: str
    clock: Clock
    emit: Emit
    stores: Stores
    job_loop: LeaseLoop[Job]
    delivery_loop: LeaseLoop[ClaimedDelivery]
    archive_loop: LeaseLoop[Job] | None
    """None where no objects are kept."""
    replay_worker: ReplayWorker
    batch_completer: BatchCompleter
    threshold_notifier: BudgetThresholdNotifier
    catalogue_sync: CatalogueSync
    run_times: RunTimeCache
    index_pruner: IndexPruner
    file_sweeper: FileSweeper | None
    """None where no files are kept."""
    balance_sync: BalanceSync | None
    """None where no account API is configured."""
    journal: Journal | None
    journal_sweeper: JournalSweeper | None
    paid_submitter: PaidSubmitter
    store_guard: StoreGuard
    durability_check: DurabilityCheck
    server_time: ServerTime
    check_store: Callable[[], Awaitable[None]]
    """Finds out whether submits may leave; to be called each second."""


@asynccontextmanager
async def open_worker_components(
    settings: WorkerSettings, emit: Emit, span_namer: SpanNamer = pass_through
) -> AsyncIterator[WorkerComponents]:
    """Yield the components. Nothing is connected yet, so that a worker starts without Redis."""
    clock, limits = OffsetClock(SystemClock()), UpstreamLimits()
    async with AsyncExitStack() as stack:
        pool = build_connection_pool(settings.own_redis, "worker")
        observer = RoundTripObserver(clock, emit)
        client = RedisClient(pool, observer, replicas=settings.redis.replicas)
        redis = await stack.enter_async_context(client)
        access = UpstreamAccess(settings.runcomfy_url, settings.runcomfy_token)
        route = _build_upstream_route(settings)
        http = await stack.enter_async_context(
            open_http_client(access, limits, route, clock.host, emit)
        )
        sender = await stack.enter_async_context(
            open_sender(
                _build_sender_policy(settings), clock.host, tls=_build_webhook_tls(settings)
            )
        )
        streams = await _open_event_streams(stack, redis, settings)
        scripts, cipher = LuaScripts(redis, load_scripts()), SecretCipher(settings.secret_keys)
        retention = UsageRetention(settings.usage_retention)
        stores = open_stores(redis, scripts, clock, cipher, retention)
        journal = open_journal(settings.journal, clock, emit)
        if journal is not None:
            stack.push_async_callback(journal.close)
        objects = open_objects(settings.objects)
        media = None if objects is None else await _open_media_source(stack, settings)
        source = await _open_source(stack, settings)
        builder = _Builder(
            settings, redis, stores, journal, objects, media, source, clock, SystemIds(), emit
        )
        yield builder.components(
            http, limits, DeliveryTransport(sender, streams, clock.host), span_namer
        )


@asynccontextmanager
async def open_runcomfy_readers(
    settings: WorkerSettings, clock: Clock, emit: Emit
) -> AsyncIterator[tuple[RunComfyCatalogue, RunComfyBalance | None]]:
    """Yield what reads RunComfy's catalogue and balance; None where no account API is configured.

    Nothing that could submit is built.
    """
    limits, url = UpstreamLimits(), settings.account_url
    access = UpstreamAccess(settings.runcomfy_url, settings.runcomfy_token)
    route = _build_upstream_route(settings)
    async with open_http_client(access, limits, route, clock, emit) as http:
        account = None if url is None else RunComfyBalance(http.with_base_url(url), limits)
        yield RunComfyCatalogue(http, limits), account


async def find_unreachable_receivers(
    settings: WorkerSettings, urls: Iterable[str]
) -> Mapping[str, str]:
    """Return why webhooks' proxy, or without one each receiver, cannot be connected to, by URL."""
    secret = settings.webhooks.proxy
    if secret is None:
        policy = TargetPolicy(allowed=AllowedTargets.parse(settings.webhooks.allowed_targets))
        return await find_unreachable(urls, policy)
    proxy = Proxy.parse(secret)
    issue = await find_proxy_issue(proxy)
    return {} if issue is None else {proxy.url: issue}


@dataclass(frozen=True, slots=True)
class _Builder:
    settings: WorkerSettings
    redis: RedisClient
    stores: Stores
    journal: Journal | None
    objects: ObjectStore | None
    media: MediaSource | None
    source: SourceReader | None
    clock: OffsetClock
    ids: IdSource
    emit: Emit

    def components(
        self,
        http: HttpClient,
        limits: UpstreamLimits,
        transport: DeliveryTransport,
        span_namer: SpanNamer,
    ) -> WorkerComponents:
        """All of them; `http` calls RunComfy, `transport` the receivers of webhooks."""
        stores, clock, emit = self.stores, self.clock, self.emit
        run_times = RunTimeCache(stores.run_times, clock, emit)
        context = self._decision_context(run_times)
        guard = self._store_guard(context.policy)
        gate = self._submit_gate()
        upstream, writer = RunComfyClient(http, limits), JobWriter(stores, clock, emit)
        paid = PaidSubmitter(upstream, self.journal, clock, self.ids, guard, context.policy.lease)
        processor = self._job_processor(upstream, paid, gate, writer, context)
        return WorkerComponents(
            worker_id=context.worker_id,
            clock=clock,
            emit=emit,
            stores=stores,
            job_loop=self._job_loop(processor, context),
            delivery_loop=self._delivery_loop(transport, span_namer),
            archive_loop=self._archive_loop(writer, context),
            replay_worker=self._replay_worker(),
            batch_completer=BatchCompleter(stores, clock, emit),
            threshold_notifier=self._threshold_notifier(context.worker_id),
            catalogue_sync=self._catalogue_sync(http, limits),
            run_times=run_times,
            index_pruner=self._index_pruner(context.worker_id),
            file_sweeper=self._file_sweeper(context.worker_id, guard),
            balance_sync=self._balance_sync(http, limits, gate),
            journal=self.journal,
            journal_sweeper=self._journal_sweeper(),
            paid_submitter=paid,
            store_guard=guard,
            durability_check=self._durability_check(),
            server_time=ServerTime(self.redis, clock),
            check_store=partial(guard.run_once, self._reconciler(writer, context)),
        )

    def _job_processor(
        self,
        upstream: RunComfyClient,
        paid: PaidSubmitter,
        gate: SubmitCircuitBreaker,
        writer: JobWriter,
        context: DecisionContext,
    ) -> JobProcessor:
        submitter = JobSubmitter(self.stores, paid, gate, writer, context, self._input_assembler())
        archive = self._archive_starter()
        return JobProcessor(self.stores, upstream, submitter, writer, context, archive)

    def _threshold_notifier(self, worker_id: str) -> BudgetThresholdNotifier:
        policy = ThresholdPolicy(self.settings.budget_thresholds)
        return BudgetThresholdNotifier(worker_id, self.stores, policy, self.clock, self.emit)

    def _archive_policy(self) -> ArchivePolicy:
        settings = self.settings.archive
        return ArchivePolicy(
            before_timeout=settings.before_timeout,
            cost_delay=LifecyclePolicy().cost_read_delays[0],
            max_bytes=settings.max_bytes,
        )

    def _archive_starter(self) -> ArchiveStarter | None:
        if self.objects is None:
            return None
        rules = self.settings.archive.rules
        return ArchiveStarter(self.stores, rules, self.ids, self._archive_policy())

    def _archive_loop(self, writer: JobWriter, context: DecisionContext) -> LeaseLoop[Job] | None:
        if self.objects is None or self.media is None:
            return None
        archiving = ArchiveContext(self._archive_policy(), context.rng)
        archiver = Archiver(self.stores, self.objects, self.media, writer, self.ids, archiving)
        source = WorkSource(
            name="archive_step",
            claim=archiver.claim,
            handle=with_log_context(job_log_context, archiver.keep),
            id_of=lambda job: job.id,
        )
        return LeaseLoop(
            source,
            LoopPolicy(self.settings.archive.max_concurrency, poll_interval=ARCHIVE_POLL_INTERVAL),
            self.clock,
            self.emit,
        )

    def _submit_gate(self) -> SubmitCircuitBreaker:
        stores = self.stores
        return SubmitCircuitBreaker(
            stores.circuit_breakers, stores.jobs, self.clock, BreakerPolicy(), self.emit
        )

    def _input_assembler(self) -> InputAssembler:
        objects, files, policy = self.objects, self.stores.files, self.settings.delivery_policy
        sources = (
            SourceKeeper(objects, files, self.source, self.clock, self.ids)
            if objects is not None and self.source is not None
            else None
        )
        return InputAssembler(objects, files, self.clock, policy, sources)

    def _durability_check(self) -> DurabilityCheck:
        return DurabilityCheck(self.stores.heartbeats, lambda: self.redis.connections, self.emit)

    def _store_guard(self, policy: LifecyclePolicy) -> StoreGuard:
        guard_policy = GuardPolicy(policy.lease, self.settings.account)
        return StoreGuard(
            self.stores.identity, self.journal, self.clock, self.ids, self.emit, guard_policy
        )

    def _decision_context(self, run_times: RunTimeCache) -> DecisionContext:
        # Unique also where containers share host names and process ids.
        worker_id = f"{socket.gethostname()}:{os.getpid()}:{self.ids.secret().hex()[:8]}"
        policy = _build_lifecycle_policy(self.settings)
        return DecisionContext(worker_id, policy, _build_rng(), run_times.get)

    def _index_pruner(self, worker_id: str) -> IndexPruner:
        stores = self.stores
        return IndexPruner(worker_id, stores.job_index, stores.tenants, self.clock, PrunePolicy())

    def _journal_sweeper(self) -> JournalSweeper | None:
        if self.journal is None:
            return None
        return JournalSweeper(self.journal, self.clock, self.settings.journal.retention)

    def _file_sweeper(self, worker_id: str, guard: StoreGuard) -> FileSweeper | None:
        if self.objects is None:
            return None
        return FileSweeper(worker_id, self.objects, self.stores, self.clock, lambda: guard.is_open)

    def _reconciler(self, writer: JobWriter, context: DecisionContext) -> Reconciler | None:
        if self.journal is None:
            return None
        answers = AnswerWriter(self.stores, writer, self.clock, context)
        return Reconciler(self.stores, self.journal, answers, self.clock, context.policy.doubt_hold)

    def _job_loop(self, processor: JobProcessor, context: DecisionContext) -> LeaseLoop[Job]:
        stores, clock, emit = self.stores, self.clock, self.emit

        async def give_back(job: Job) -> None:
            await stores.jobs.reschedule(job, clock.now() + GIVE_BACK_DELAY)

        source = WorkSource(
            name="job_step",
            claim=lambda limit: stores.jobs.claim_due(context.policy.lease, limit),
            handle=with_log_context(job_log_context, processor.advance),
            id_of=lambda job: job.id,
            groups_of=lambda job: (f"tenant:{job.tenant}", f"model:{job.model_id}"),
            give_back=give_back,
        )
        return LeaseLoop(source, _job_loop_policy(self.settings.poll.max_concurrency), clock, emit)

    def _delivery_loop(
        self, transport: DeliveryTransport, span_namer: SpanNamer
    ) -> LeaseLoop[ClaimedDelivery]:
        stores = self.stores
        rules = DeliveryRules(SystemRandom(), public_base=self.settings.public_base)
        worker = DeliveryWorker(stores, transport, rules, self.clock, self.ids, self.emit)
        deliver = with_log_context(
            lambda claimed: delivery_log_context(claimed.delivery, span_namer), worker.deliver
        )
        deliveries = DeliverySource(stores.deliveries, DELIVERY_LEASE, deliver)
        source = WorkSource(
            name="delivery_step",
            claim=deliveries.claim,
            handle=deliveries.handle,
            id_of=lambda claimed: claimed.delivery.id,
        )
        policy = LoopPolicy(max_concurrency=self.settings.webhooks.max_concurrency)
        return LeaseLoop(source, policy, self.clock, self.emit)

    def _replay_worker(self) -> ReplayWorker:
        policy = ReplayPolicy(events_per_second=self.settings.webhooks.replay_per_second)
        return ReplayWorker(
            self.stores.replays, self.stores.deliveries, self.clock, policy, self.emit
        )

    def _catalogue_sync(self, http: HttpClient, limits: UpstreamLimits) -> CatalogueSync:
        source, interval = RunComfyCatalogue(http, limits), self.settings.catalogue_sync_interval
        return CatalogueSync(source, self.stores.catalogue, self.clock, self.emit, interval)

    def _balance_sync(
        self, http: HttpClient, limits: UpstreamLimits, gate: SubmitCircuitBreaker
    ) -> BalanceSync | None:
        url = self.settings.account_url
        if url is None:
            return None
        source = RunComfyBalance(http.with_base_url(url), limits)
        return BalanceSync(source, self.stores.admin, gate, self.clock, self.emit)


async def _open_media_source(stack: AsyncExitStack, settings: WorkerSettings) -> MediaSource:
    """Return what fetches outputs, by RunComfy's proxy if there is one."""
    proxy = None if settings.runcomfy.proxy is None else Proxy.parse(settings.runcomfy.proxy)
    policy = TargetPolicy(allowed=AllowedTargets.parse(settings.archive.allowed_hosts))
    resolver = DnsResolver(timeout=MEDIA_CONNECT_TIMEOUT)
    stack.push_async_callback(resolver.close)
    session = await stack.enter_async_context(
        create_session(
            create_tls_context(settings.runcomfy.ca_file),
            MEDIA_CONNECT_TIMEOUT,
            MEDIA_IDLE_TIMEOUT,
            MEDIA_IDLE_TIMEOUT,
            settings.archive.max_bytes + MEDIA_OVERHEAD_BYTES,
            proxy,
        )
    )

    async def find(url: str) -> PinnedTarget | Refusal:
        return await resolve(url, policy, resolver, proxy_resolves=proxy is not None)

    timeouts = (MEDIA_CONNECT_TIMEOUT, MEDIA_IDLE_TIMEOUT, MEDIA_TIMEOUT)
    return MediaClient(session, find, *timeouts, proxy)


def _build_rng() -> Random:
    """Spreads delays. `SystemRandom` would cost each poll a system call."""
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
                build_connection_pool(replace(settings.redis, url=url, sentinels=()), "sink"),
                setting="GATEWAY_SINKS",
            )
        )
        for name, url in settings.sinks.items()
    }
    return EventStreams(default_client, named, SystemClock(), settings.webhooks.max_stream_length)


async def _open_source(stack: AsyncExitStack, settings: WorkerSettings) -> SourceReader | None:
    """Return what reads private sources; None where the operator lists none."""
    sources = PrivateSources.parse(settings.files.fetch_from)
    if not sources.prefixes:
        return None
    policy = SourcePolicy(sources, settings.files.fetch_timeout, ca_file=settings.files.ca_file)
    return await stack.enter_async_context(open_source_client(policy))


def _build_sender_policy(settings: WorkerSettings) -> SenderPolicy:
    allowed = AllowedTargets.parse(settings.webhooks.allowed_targets)
    proxy = settings.webhooks.proxy
    return SenderPolicy(
        targets=TargetPolicy(allowed=allowed),
        max_connections=settings.webhooks.max_concurrency,
        proxy=None if proxy is None else Proxy.parse(proxy),
        proxy_resolves=settings.webhooks.proxy_resolves,
    )


def _build_webhook_tls(settings: WorkerSettings) -> ReceiverTls:
    ca_file = settings.webhooks.ca_file
    return ReceiverTls(
        create_tls_context(ca_file),
        {
            pattern: create_tls_context(ca_file, certificate)
            for pattern, certificate in settings.webhooks.client_certificates.items()
        },
    )


def _build_upstream_route(settings: WorkerSettings) -> EgressRoute:
    proxy = settings.runcomfy.proxy
    return EgressRoute(
        create_tls_context(settings.runcomfy.ca_file),
        None if proxy is None else Proxy.parse(proxy),
    )


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
