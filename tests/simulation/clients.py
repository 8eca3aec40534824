"""Clients of the simulated gateway: callers submit and cancel, operators resolve doubts."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Final

from core.clock import Clock
from core.errors import Defect, GatewayError
from core.ids import IdSource
from core.jobs.in_doubt import Attach, Resolution, resolve
from core.jobs.job import Job
from core.store.wake_queue import WAKE_GRACE
from core.tenants.api_keys import ApiKey, Credential
from core.tenants.cache_policy import CacheOption, TenantCachePolicy
from core.tenants.limits import GlobalLimits, Limits
from core.tenants.tenant import DoubtPolicy, Tenant
from core.transactions.admission import CACHE_BYPASS, Admission, CacheRequest, IdempotencyClaim
from core.transactions.job_update import Change
from core.transactions.webhook_deliveries import event_of_change, with_deliveries
from core.webhooks.config import initial_config
from core.webhooks.secrets import encode_webhook_secret
from service.jobs.cancel import JobCanceller
from tests.simulation.event_log import SimulationLog
from tests.simulation.plan import Fault, SeededRandomness
from tests.simulation.process import ProcessJobs, ProcessWebhooks, StoreConnection
from tests.support.memory_store.stores import MemoryStores
from tests.support.upstream import FakeRunComfy

SECOND: Final = timedelta(seconds=1)
TENANTS: Final = ("ada", "bob")
WEBHOOK: Final = "https://hooks.test/{}"
WEBHOOKS: Final = (None, None, "https://own.test/hook")
POLICIES: Final = (DoubtPolicy.HOLD, DoubtPolicy.FAIL, DoubtPolicy.RESEND)


def credential(tenant: str) -> Credential:
    """The credential of the tenant's only key."""
    return Credential(tenant, f"digest-of-{tenant}")


async def create_tenants(stores: MemoryStores, chance: SeededRandomness, clock: Clock) -> None:
    """Create the tenants: one with a default endpoint, one without."""
    rng = chance.stream("tenants")
    for name in TENANTS:
        policy = rng.choice(POLICIES) if chance.occurs(Fault.POLICIES, rng, factor=9) else None
        tenant = Tenant(
            name,
            clock.now(),
            doubt=policy,
            cache_policy=_cache_policy(chance, rng),
            limits=Limits(running=rng.choice((None, 1, 3)), weight=rng.choice((1.0, 4.0))),
        )
        key = ApiKey(credential(name).digest, name, clock.now())
        url = WEBHOOK.format(name) if name == TENANTS[0] else None
        secret = encode_webhook_secret(name.encode() * 8)
        config = initial_config(name, url, secret, clock.now())
        await stores.tenants.create(tenant, key, config)
    running = rng.choice((None, 2, 5))
    await stores.admin.set_limits(GlobalLimits(running=running, submits_per_second=50))


def _cache_policy(chance: SeededRandomness, rng: Random) -> TenantCachePolicy:
    if not chance.occurs(Fault.IDENTICAL_REQUESTS, rng, factor=9):
        return TenantCachePolicy()
    return TenantCachePolicy(shared=rng.random() < 1 / 2, promote=rng.random() < 1 / 2)


@dataclass(frozen=True, slots=True)
class SimulatedService:
    """The service and the operators' commands, over a store connection of their own."""

    connection: StoreConnection
    stores: MemoryStores
    clock: Clock
    ids: IdSource
    log: SimulationLog
    randomness: SeededRandomness

    @property
    def jobs(self) -> ProcessJobs:
        """The job store over the service's connection."""
        return ProcessJobs(self.connection, self.stores)

    @property
    def canceller(self) -> JobCanceller:
        """The service's use case of cancelling."""
        configs = ProcessWebhooks(self.connection, self.stores)
        emit = self.log.emit_for("service")
        return JobCanceller(self.jobs, configs, self.clock, emit)


async def run_caller(service: SimulatedService, number: int, active: timedelta) -> None:
    """Run one caller: it submits once, and may cancel several times."""
    rng = service.randomness.stream(f"caller:{number}")
    await service.clock.sleep(active / 2 * rng.random())
    tenant = rng.choice(TENANTS)
    cache = _cache_request(service, rng)
    job = _job(service, tenant, rng)
    key = IdempotencyClaim(f"key-{number}", "f") if _repeats(service) else None
    is_admitted = await _submit(service, job, cache, key)
    if key is not None:
        await _repeat(service, job, cache, key)
    if not is_admitted:
        return
    while service.randomness.occurs(Fault.CANCELS, rng, factor=2.5):
        await service.clock.sleep(rng.choice((0.5, 5, 60)) * rng.random() * SECOND)
        await _cancel(service, credential(tenant), job.id)


async def _submit(
    service: SimulatedService, job: Job, cache: CacheRequest, key: IdempotencyClaim | None
) -> bool:
    # The body identifies the payer in the ledger: identical requests share a fingerprint.
    body = job.id.encode()
    if key is not None:
        service.log.repeated.setdefault(key.digest, []).append(job.id)
    try:
        await service.jobs.admit(Admission(credential(job.tenant), job, body, cache, key))
    except GatewayError:
        return False
    return True


def _repeats(service: SimulatedService) -> bool:
    """Whether a caller repeats its request.

    Not if the journal is restored with the store, which then know neither key nor payment.
    """
    chance = service.randomness
    is_kept = not chance.may_occur(Fault.BACKUP_RESTORED)
    return chance.may_occur(Fault.REPEATED_REQUESTS) and is_kept


async def _repeat(
    service: SimulatedService, first: Job, cache: CacheRequest, key: IdempotencyClaim
) -> None:
    rng = service.randomness.stream(f"repeats:{key.digest}")
    while service.randomness.occurs(Fault.REPEATED_REQUESTS, rng, factor=4):
        await service.clock.sleep(rng.choice((0.2, 2, 30)) * rng.random() * SECOND)
        now = service.clock.now()
        again = replace(
            first, id=service.ids.job_id(now), created_at=now, updated_at=now, next_run_at=now
        )
        await _submit(service, again, cache, key)


def _cache_request(service: SimulatedService, rng: Random) -> CacheRequest:
    if not service.randomness.occurs(Fault.IDENTICAL_REQUESTS, rng, factor=9):
        return CACHE_BYPASS
    return CacheRequest(rng.choice((None, None, None, CacheOption.REFRESH, CacheOption.OFF)))


async def _cancel(service: SimulatedService, caller: Credential, job_id: str) -> None:
    try:
        cancelled = await service.canceller.cancel(caller, job_id)
        service.log.note("caller", f"cancel: {cancelled.outcome}", job_id)
        service.log.cancels.setdefault(job_id, []).append(cancelled.outcome)
    except GatewayError as error:
        service.log.note("caller", f"cancel: {error.code}", job_id)
        if isinstance(error, Defect):
            service.log.violations.append(f"{job_id}: a cancel raised a defect, {error}")


def _job(service: SimulatedService, tenant: str, rng: Random) -> Job:
    now = service.clock.now()
    finish = timedelta(hours=2)
    if service.randomness.occurs(Fault.DEADLINES, rng, factor=3):
        finish = rng.choice((5, 40, 200)) * SECOND
    start = min(finish, rng.choice((timedelta(hours=1), 3 * SECOND, 30 * SECOND)))
    short = service.randomness.occurs(Fault.DEADLINES, rng, factor=3)
    return Job(
        id=service.ids.job_id(now),
        tenant=tenant,
        model_id="kling/standard",
        fingerprint="f",
        created_at=now,
        updated_at=now,
        next_run_at=now + WAKE_GRACE,
        start_deadline=now + (start if short else finish),
        deadline=now + finish,
        webhook=rng.choice(WEBHOOKS),
        webhook_intermediate=service.randomness.occurs(Fault.PROGRESS_EVENTS, rng, factor=3),
    )


async def run_operator(service: SimulatedService, runcomfy: FakeRunComfy) -> None:
    """Run an operator, who resolves some of the jobs in doubt until the faults end."""
    rng = service.randomness.stream("operator")
    while not service.randomness.faults_ended:
        await service.clock.sleep(rng.choice((2, 20)) * rng.random() * SECOND)
        if not service.randomness.occurs(Fault.OPERATORS, rng, factor=4):
            continue
        try:
            for job in await service.jobs.list_in_doubt(10):
                await _resolve(service, job, _resolution(runcomfy, job, rng))
        except GatewayError as error:
            service.log.note("operator", error.code)


def _resolution(runcomfy: FakeRunComfy, job: Job, rng: Random) -> Resolution:
    """Attach the request that RunComfy lists; where it lists none (yet), mark as lost or resend."""
    entries = runcomfy.entries_of_job(job.id)
    if entries and rng.random() < 3 / 4:
        return Attach(entries[-1].upstream_id)
    return rng.choice(("lost", "resend"))


async def _resolve(service: SimulatedService, job: Job, resolution: Resolution) -> None:
    now = service.clock.now()
    resolved = resolve(job, resolution, "an operator", now)
    change = Change(job, resolved.after, resolved.entry, resolved.trigger)
    event = event_of_change(job, resolved.after)
    if event is not None:
        known = await ProcessWebhooks(service.connection, service.stores).load_versioned(job.tenant)
        change = with_deliveries(change, event, known, now)
    outcome = await service.jobs.store(change)
    service.log.note("operator", f"{resolution!r}: {outcome}", job.id)
