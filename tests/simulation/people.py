"""Those outside the worker: callers who submit and cancel, operators who resolve doubts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from core.errors import Defect, GatewayError
from core.jobs.in_doubt import Attach, Lost, Resend, resolve
from core.jobs.job import Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.store.wake_queue import RING_GRACE
from core.tenants.api_keys import Credential, KeyRecord
from core.tenants.cache_policy import CacheOption, ReusePolicy
from core.tenants.limits import GlobalLimits, Limits
from core.tenants.tenant import DoubtPolicy, Tenant
from core.transactions.admission import NO_REUSE, Admission, ReuseRequest
from core.transactions.job_update import Change
from core.transactions.notifications import announced, may_notify
from core.webhooks.secrets import mint_webhook_secret
from service.context import Resources
from service.jobs.cancel import cancel_job
from service.webhooks.webhook_service import Mailroom
from tests.simulation.plan import Fault
from tests.simulation.process import ProcessJobs, ProcessTenants, ProcessWebhooks

if TYPE_CHECKING:
    from random import Random

    from core.clock import Clock
    from core.ids import IdSource
    from core.jobs.in_doubt import Resolution
    from tests.fakes.stores import MemoryStores
    from tests.fakes.upstream import FakeRunComfy
    from tests.simulation.journal import Journal
    from tests.simulation.plan import Chance
    from tests.simulation.process import Line

SECOND: Final = timedelta(seconds=1)
TENANTS: Final = ("ada", "bob")
WEBHOOK: Final = "https://hooks.test/{}"
WEBHOOKS: Final = (None, None, "https://own.test/hook")
POLICIES: Final = (DoubtPolicy.HOLD, DoubtPolicy.FAIL, DoubtPolicy.RESEND)


def credential(tenant: str) -> Credential:
    """The tenant's one key."""
    return Credential(tenant, f"digest-of-{tenant}")


async def settle_in(stores: MemoryStores, chance: Chance, clock: Clock) -> None:
    """Write the tenants: one with a default endpoint, one without."""
    rng = chance.stream("tenants")
    for name in TENANTS:
        policy = rng.choice(POLICIES) if chance.strikes(Fault.POLICIES, rng, factor=9) else None
        tenant = Tenant(
            name,
            clock.now(),
            webhook=WEBHOOK.format(name) if name == TENANTS[0] else None,
            webhook_secrets=(mint_webhook_secret(name.encode() * 8),),
            doubt=policy,
            reuse=_sharing(chance, rng),
            limits=Limits(running=rng.choice((None, 1, 3)), weight=rng.choice((1.0, 4.0))),
        )
        key = KeyRecord(credential(name).digest, name, clock.now())
        await stores.tenants.create(tenant, key)
    running = rng.choice((None, 2, 5))
    await stores.controls.set_limits(GlobalLimits(running=running, submits_per_second=50))


def _sharing(chance: Chance, rng: Random) -> ReusePolicy:
    if not chance.strikes(Fault.TWINS, rng, factor=9):
        return ReusePolicy()
    return ReusePolicy(shared=rng.random() < 1 / 2, promote=rng.random() < 1 / 2)


@dataclass(frozen=True, slots=True)
class Face:
    """What the service has, and the operators' commands: a line to the store of their own."""

    line: Line
    stores: MemoryStores
    clock: Clock
    ids: IdSource
    journal: Journal
    chance: Chance

    @property
    def jobs(self) -> ProcessJobs:
        """The job store, as the face reaches it."""
        return ProcessJobs(self.line, self.stores)

    @property
    def resources(self) -> Resources:
        """What `cancel_job` uses of the service's resources; the rest is left empty."""
        empty = cast("Any", None)
        return Resources(
            jobs=self.jobs,
            listed=empty,
            batches=empty,
            tenants=ProcessTenants(self.line, self.stores),
            usage=empty,
            breakers=empty,
            desk=empty,
            health=empty,
            shelf=empty,
            histories=empty,
            waiters=empty,
            figures=empty,
            mailroom=Mailroom(
                setups=ProcessWebhooks(self.line, self.stores),
                deliveries=empty,
                replays=empty,
                clock=self.clock,
                ids=self.ids,
                policy=empty,
            ),
            clock=self.clock,
            ids=self.ids,
            policy=empty,
            emit=self.journal.emit_for("service"),
        )


async def call(face: Face, number: int, active: timedelta) -> None:
    """One caller: submits once, and may cancel once or twice."""
    rng = face.chance.stream(f"caller:{number}")
    await face.clock.sleep(active / 2 * rng.random())
    tenant = rng.choice(TENANTS)
    reuse = _reuse(face, rng)
    job = _job(face, tenant, rng)
    entry = TimelineEntry(job.created_at, Note.ADMITTED, "admitted", JobState.QUEUED)
    body = job.id.encode()  # the ledger's word for who paid; of twins the fingerprint is the same
    try:
        await face.jobs.admit(Admission(credential(tenant), job, body, entry, reuse))
    except GatewayError:
        return
    while face.chance.strikes(Fault.CANCELS, rng, factor=2.5):
        await face.clock.sleep(rng.choice((0.5, 5, 60)) * rng.random() * SECOND)
        await _cancel(face, credential(tenant), job.id)


def _reuse(face: Face, rng: Random) -> ReuseRequest:
    if not face.chance.strikes(Fault.TWINS, rng, factor=9):
        return NO_REUSE
    return ReuseRequest(rng.choice((None, None, None, CacheOption.REFRESH, CacheOption.OFF)))


async def _cancel(face: Face, asking: Credential, job_id: str) -> None:
    try:
        told = await cancel_job(face.resources, asking, job_id)
        face.journal.note("caller", f"cancel: {told.outcome}", job_id)
        face.journal.cancels.setdefault(job_id, []).append(told.outcome)
    except GatewayError as error:
        face.journal.note("caller", f"cancel: {error.code}", job_id)
        if isinstance(error, Defect):
            face.journal.breaches.append(f"{job_id}: a cancel met a defect, {error}")


def _job(face: Face, tenant: str, rng: Random) -> Job:
    now = face.clock.now()
    finish = timedelta(hours=2)
    if face.chance.strikes(Fault.DEADLINES, rng, factor=3):
        finish = rng.choice((5, 40, 200)) * SECOND
    start = min(finish, rng.choice((timedelta(hours=1), 3 * SECOND, 30 * SECOND)))
    short = face.chance.strikes(Fault.DEADLINES, rng, factor=3)
    return Job(
        id=face.ids.job_id(now),
        tenant=tenant,
        model_id="kling/standard",
        fingerprint="f",
        created_at=now,
        updated_at=now,
        due_at=now + RING_GRACE,
        start_by=now + (start if short else finish),
        finish_by=now + finish,
        webhook=rng.choice(WEBHOOKS),
        webhook_intermediate=face.chance.strikes(Fault.NEWS, rng, factor=3),
    )


async def operate(face: Face, runcomfy: FakeRunComfy) -> None:
    """An operator: looks at the doubts now and then, and resolves some. Never tires."""
    rng = face.chance.stream("operator")
    while not face.chance.healed:
        await face.clock.sleep(rng.choice((2, 20)) * rng.random() * SECOND)
        if not face.chance.strikes(Fault.OPERATORS, rng, factor=4):
            continue
        try:
            for job in await face.jobs.doubts(10):
                await _resolve(face, job, _resolution(runcomfy, job, rng))
        except GatewayError as error:
            face.journal.note("operator", error.code)


def _resolution(runcomfy: FakeRunComfy, job: Job, rng: Random) -> Resolution:
    """Attach what RunComfy's own pages show; where they show nothing (yet), lose or resend."""
    entries = runcomfy.of_job(job.id)
    if entries and rng.random() < 3 / 4:
        return Attach(entries[-1].upstream_id)
    return rng.choice((Lost(), Resend()))


async def _resolve(face: Face, job: Job, resolution: Resolution) -> None:
    now = face.clock.now()
    resolved = resolve(job, resolution, "an operator", now)
    change = Change(job, resolved.after, (resolved.entry,))
    if may_notify(job, resolved.after):
        known = await ProcessWebhooks(face.line, face.stores).marked(job.tenant)
        change = announced(change, known, face.ids, now)
    outcome = await face.jobs.store(change)
    face.journal.note("operator", f"{resolution!r}: {outcome}", job.id)
