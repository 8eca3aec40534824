"""How a job comes in: the twin of `admit_jobs.lua`, for one job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from core.billing.settlement import Booking
from core.clock import MILLISECOND
from core.deduplication.coalescing import FREE, FROM_CACHE, next_check, time_limit
from core.errors import (
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotPermitted,
    RequestDeleted,
    Unauthenticated,
)
from core.jobs.job import Errand, JobRecord, JobState
from core.jobs.query import place_of
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.store.admission import CACHE_HIT, JOINED
from core.store.codecs import ENTRIES, JOBS
from core.store.wake_queue import RING_GRACE
from core.tenants.api_keys import Scope
from core.tenants.cache_policy import Reuse, ReusePolicy
from core.tenants.limits import spans_at
from core.transactions.admission import Admission, Admitted
from tests.fakes.memory import Account, Memory, Row, write_due
from tests.fakes.quotas import Ruling, Standing
from tests.fakes.tenancy import hand_out, summon

if TYPE_CHECKING:
    from core.jobs.job import Job
    from core.tenants.api_keys import Credential
    from tests.fakes.reuse import Fate

AFTER_AN_ADMISSION: Final = 2
USE_NOTED_EVERY: Final = timedelta(minutes=1)


def admit(memory: Memory, admission: Admission) -> Admitted:
    """Take a job in, or say what serves it."""
    authenticate(memory, admission.credential, Scope.SUBMIT)
    replayed = _replayed(memory, admission, memory.reuse_of(admission.job.tenant))
    return replayed or take(memory, admission)


def take(memory: Memory, admission: Admission) -> Admitted:
    """The same without a look at its key. Raises what a limit says."""
    job = admission.job
    policy = memory.reuse_of(job.tenant)
    fate = memory.flights.fate(admission, policy, memory.now)
    ruling = Ruling(job, memory.clock.now(), _standing(memory, job), paid=fate.paid)
    ruling.check()
    stored = _as_fated(memory, job, fate)
    if not admission.dry_run:
        _take_in(memory, replace(admission, job=stored), fate, ruling)
    runs = ruling.at.at_once and fate.paid
    return Admitted(
        running=runs if admission.dry_run else job.id in memory.turns.slots,
        reserved=MicroUsd(ruling.amount),
        quotas=tuple(ruling.rows),
        reuse=fate.reuse,
        record=None
        if fate.paid
        else JobRecord(
            stored, output=readable(memory, admission, fate.kept.output if fate.kept else None)
        ),
    )


def readable(memory: Memory, admission: Admission, output: bytes | None) -> bytes | None:
    """What a key may learn of a result that is there: nothing, where it may only submit."""
    return output if Scope.READ in memory.keys[admission.credential.digest].scopes else None


def _replayed(memory: Memory, admission: Admission, policy: ReusePolicy) -> Admitted | None:
    job, digest = admission.job, admission.idempotency
    if digest is None:
        if policy.idempotency_required:
            raise IdempotencyKeyMissing
        return None
    earlier = memory.idempotency.get((job.tenant, digest))
    if earlier is None:
        return None
    if earlier[0] != job.fingerprint:
        raise IdempotencyMismatch
    row = memory.jobs.get(earlier[1])
    if row is None:
        raise RequestDeleted
    if row.expires_at is not None and row.expires_at <= memory.now:
        return None  # the key goes with its job
    output = readable(memory, admission, row.output)
    record = JobRecord(JOBS.read(row.doc), output=output)
    return Admitted(running=False, reserved=MicroUsd(0), reuse=Reuse.REPLAYED, record=record)


def _as_fated(memory: Memory, job: Job, fate: Fate) -> Job:
    now = memory.clock.now()
    if fate.kept is not None:
        return replace(
            job,
            state=JobState.SUCCEEDED,
            due_at=now,
            finished_at=now,
            cost=FREE,
            cost_source=FROM_CACHE,
            errand=Errand.NOTIFY,
            leader=fate.kept.source,
            saved=fate.kept.worth,
        )
    if fate.source is not None:
        due_at = next_check(job, now)
        return replace(job, state=JobState.FOLLOWING, due_at=due_at, leader=fate.source)
    return job if job.due_at is not None else replace(job, due_at=now + RING_GRACE)


def _take_in(memory: Memory, admission: Admission, fate: Fate, ruling: Ruling) -> None:
    job = admission.job
    if ruling.arrival is not None:
        memory.rates[job.tenant] = ruling.arrival
    if admission.idempotency is not None:
        key = (job.tenant, admission.idempotency)
        memory.idempotency[key] = (job.fingerprint, job.id)
    _write(memory, admission, MicroUsd(ruling.amount))
    if fate.kept is not None:
        memory.jobs[job.id].output = fate.kept.output
        account = memory.accounts[job.id]
        saved = fate.kept.worth or 0
        memory.accounts[job.id] = replace(account, reused=True, saved=saved)
    elif fate.source is not None and fate.part is not None:
        memory.flights.follow(job, fate.source, fate.part)
        memory.turns.hurry(fate.source, job.tenant, job.priority)
    else:
        take_place(memory, job, fate, at_once=ruling.at.at_once)
    memory.changed()


def take_place(memory: Memory, job: Job, fate: Fate, *, at_once: bool) -> None:
    """A paid job gets a slot or waits for one; identical ones may join it."""
    if fate.part is not None:
        memory.flights.lead(job.id, fate.part)
    if at_once:
        memory.turns.give(job.id, job.tenant, job.model_id)
        summon(memory, job.id)
    else:
        memory.turns.wait(job)
        hand_out(memory, AFTER_AN_ADMISSION)


def _standing(memory: Memory, job: Job) -> Standing:
    day, month = spans_at(job.created_at)
    return Standing(
        limits=memory.limits_of(job.tenant),
        wallet=memory.wallet,
        day=memory.use(job.tenant, day),
        month=memory.use(job.tenant, month),
        arrival=memory.rates.get(job.tenant),
        running=memory.turns.running()[f"tenant:{job.tenant}"],
        waiting=memory.turns.waits(job.tenant),
        at_once=memory.turns.runs_at_once(job.tenant, job.model_id),
    )


def _write(memory: Memory, admission: Admission, amount: MicroUsd) -> None:
    job = admission.job
    memory.jobs[job.id] = Row(job.version, JOBS.write(job), input=admission.input)
    entry = admission.entry
    if job.leader is not None:
        what = JOINED if job.state is JobState.FOLLOWING else CACHE_HIT
        entry = TimelineEntry(
            entry.at, Note.ADMITTED, what, job.state, job.leader, status=job.unspoken
        )
    memory.timelines.setdefault(job.id, []).append(ENTRIES.write(entry))
    memory.states[job.state] += 1
    memory.tenant_jobs.setdefault(job.tenant, {})[job.id] = place_of(job)
    spans = frozenset(span.name for span in spans_at(job.created_at))
    memory.accounts[job.id] = Account(job.tenant, job.model_id, spans, Booking(amount))
    write_due(memory.due, job.id, job.due_at if job.leader else time_limit(job))


def authenticate(memory: Memory, credential: Credential, scope: Scope | None) -> None:
    """Raises what refuses the key."""
    key = memory.keys.get(credential.digest)
    if key is None or key.tenant != credential.tenant:
        raise Unauthenticated
    if key.expires_at is not None and key.expires_at <= memory.now:
        raise Unauthenticated
    tenant = memory.tenants.get(credential.tenant)
    if tenant is None or tenant.disabled:
        raise Unauthenticated
    if scope is not None and scope not in key.scopes:
        raise NotPermitted
    if memory.now - (key.used or 0) > USE_NOTED_EVERY // MILLISECOND:
        key.used = memory.now


def count_states(memory: Memory, before: Job, after: Job) -> None:
    """A job moves from one state to another."""
    if before.state is after.state:
        return
    memory.states[before.state] -= 1
    memory.states[after.state] += 1
    if after.state is JobState.IN_DOUBT:
        memory.doubts[after.id] = memory.now
    if before.state is JobState.IN_DOUBT:
        memory.doubts.pop(after.id, None)
