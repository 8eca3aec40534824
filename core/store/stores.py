"""All stores of one process, wired once."""

from dataclasses import dataclass

from core.clock import Clock
from core.store.admin import AdminStore
from core.store.audit import AuditLogStore
from core.store.batches import BatchStore
from core.store.booking import DEFAULT_USAGE_RETENTION, UsageRetention
from core.store.budget_thresholds import BudgetThresholdStore
from core.store.calendars import TenantCalendars
from core.store.circuit_breaker import CircuitBreakerStore
from core.store.client import RedisClient
from core.store.console_sessions import ConsoleSessionStore
from core.store.deliveries import DeliveryStore
from core.store.encryption import SecretCipher
from core.store.files import FileStore
from core.store.identity import StoreIdentity, StoreIdentityRepository
from core.store.interfaces import (
    AdminRepository,
    AuditLogRepository,
    BatchRepository,
    BudgetThresholdRepository,
    CatalogueRepository,
    CircuitBreakerRepository,
    ConsoleSessionRepository,
    DeliveryRepository,
    FileRepository,
    HeartbeatRepository,
    JobIndexRepository,
    JobRepository,
    ModelPinRepository,
    OperatorRepository,
    ReplayRepository,
    RunTimeRepository,
    TenantRepository,
    UsageHistoryRepository,
    WebhookConfigRepository,
)
from core.store.job_index import JobIndex
from core.store.jobs import JobStore
from core.store.model_catalogue import CatalogueStore
from core.store.model_pins import ModelPinStore
from core.store.operators import OperatorStore
from core.store.run_times import RunTimeStore
from core.store.scripts import LuaScripts
from core.store.tenants import TenantStore
from core.store.usage_history import UsageHistoryStore
from core.store.webhook_endpoints import WebhookConfigStore
from core.store.webhook_replays import ReplayStore
from core.store.worker_heartbeats import WorkerHeartbeats


@dataclass(frozen=True, slots=True)
class Stores:
    """One store of each kind, over one connection pool or one memory."""

    jobs: JobRepository
    job_index: JobIndexRepository
    batches: BatchRepository
    budget_thresholds: BudgetThresholdRepository
    deliveries: DeliveryRepository
    webhook_configs: WebhookConfigRepository
    replays: ReplayRepository
    tenants: TenantRepository
    admin: AdminRepository
    audit: AuditLogRepository
    operators: OperatorRepository
    console_sessions: ConsoleSessionRepository
    circuit_breakers: CircuitBreakerRepository
    catalogue: CatalogueRepository
    model_pins: ModelPinRepository
    run_times: RunTimeRepository
    heartbeats: HeartbeatRepository
    identity: StoreIdentityRepository
    files: FileRepository
    usage_history: UsageHistoryRepository


def open_stores(
    client: RedisClient,
    scripts: LuaScripts,
    clock: Clock,
    cipher: SecretCipher | None = None,
    usage_retention: UsageRetention = DEFAULT_USAGE_RETENTION,
) -> Stores:
    """Return the stores over Redis. Nothing is sent yet: `client` connects with the first call.

    Without `cipher` webhook secrets are stored as they are.
    """
    calendars = TenantCalendars(scripts, usage_retention)
    usage_history = UsageHistoryStore(client, scripts)
    return Stores(
        jobs=JobStore(client, scripts, clock, calendars),
        job_index=JobIndex(client, scripts, clock),
        batches=BatchStore(client, scripts, clock, calendars),
        budget_thresholds=BudgetThresholdStore(client, scripts, clock),
        deliveries=DeliveryStore(client, scripts, clock),
        webhook_configs=WebhookConfigStore(client, scripts, clock, cipher),
        replays=ReplayStore(client, scripts, clock),
        tenants=TenantStore(client, scripts, clock, usage_history, cipher),
        admin=AdminStore(client, scripts, clock),
        audit=AuditLogStore(client, scripts, clock),
        operators=OperatorStore(client, scripts, clock),
        console_sessions=ConsoleSessionStore(client),
        circuit_breakers=CircuitBreakerStore(client, scripts, clock),
        catalogue=CatalogueStore(client, scripts),
        model_pins=ModelPinStore(client),
        run_times=RunTimeStore(client),
        heartbeats=WorkerHeartbeats(client, scripts, clock),
        identity=StoreIdentity(client, scripts),
        files=FileStore(client, scripts, clock),
        usage_history=usage_history,
    )
