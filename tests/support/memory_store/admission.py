"""The fake of `admit_jobs.lua` for one job."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from core.archive import ArchiveMode
from core.billing.settlement import ReservationTotals
from core.clock import MILLISECOND, to_ms
from core.deduplication.coalescing import (
    COST_SOURCE_CACHE,
    ZERO_COST,
    first_deadline,
    next_follower_poll_at,
)
from core.errors import (
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotPermitted,
    RequestDeleted,
    StoreUnknown,
    Unauthenticated,
)
from core.jobs.job import FollowUp, Job, JobRecord, JobState, WaitingFor
from core.jobs.query import score_of
from core.jobs.timeline import (
    CACHE_HIT,
    JOINED,
    TimelineEntry,
    TimelineKind,
    admitted_entry,
)
from core.money import MicroUsd
from core.quotas import CallRate, QuotaPolicy
from core.store.codecs import JOB_CODEC, TIMELINE_ENTRY_CODEC
from core.store.refusals import build_limit_error
from core.store.wake_queue import WAKE_GRACE
from core.tenants.addresses import address_bits, network_bits
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import CacheStatus
from core.transactions.admission import Admission, AdmissionResult, IdempotencyClaim
from tests.support.memory_store.coalescing import CacheDecision
from tests.support.memory_store.quotas import AdmissionCheck, AdmissionInputs
from tests.support.memory_store.state import MemoryState, StoredRecord, set_score
from tests.support.memory_store.tenants import dispatch_slots, wake_worker_for

MAX_DISPATCHED_PER_ADMISSION: Final = 2
KEY_USE_RESOLUTION: Final = timedelta(minutes=1)


def admit(memory: MemoryState, admission: Admission) -> AdmissionResult:
    """Admit a job, or return the job that serves the request."""
    authenticate(memory, admission.credential, Scope.SUBMIT)
    if admission.dry_run:
        take_call(memory, admission.credential.tenant, QuotaPolicy.CALLS)
    claim, credential = admission.idempotency, admission.credential
    if claim is None and memory.cache_policy_of(admission.job.tenant).idempotency_required:
        raise IdempotencyKeyMissing
    replayed = None
    if claim is not None:
        replayed = find_replay(memory, credential, claim, is_counted=not admission.dry_run)
    return replayed or admit_without_key(memory, admission)


def admit_without_key(memory: MemoryState, admission: Admission) -> AdmissionResult:
    """Admit a job whose key was checked before. Raises the error of the limit that refuses it."""
    admission = _in_calendar(memory, admission)
    job = admission.job
    policy = memory.cache_policy_of(job.tenant)
    fate = memory.coalescing.decide(admission, policy, memory.now)
    ruling = AdmissionCheck(
        job,
        memory.clock.now(),
        _admission_inputs(memory, job, admission.credential.digest),
        paid=fate.is_paid,
        bytes_to_store=len(fate.cached.output if fate.cached else admission.input),
        keeps_outputs_before=memory.archive_mode_of(job.tenant, admission.archive)
        is ArchiveMode.BEFORE,
    )
    ruling.check()
    stored = _apply_decision(memory, job, fate)
    if not admission.dry_run:
        _admit(memory, replace(admission, job=stored), fate, ruling)
    runs = ruling.inputs.starts_immediately and fate.is_paid
    return AdmissionResult(
        has_slot=runs if admission.dry_run else job.id in memory.fair_queue.slots,
        reserved=MicroUsd(ruling.amount),
        quotas=tuple(ruling.quotas),
        cache_status=fate.status,
        record=None
        if fate.is_paid
        else JobRecord(
            stored,
            output=visible_output(
                memory, admission.credential, fate.cached.output if fate.cached else None
            ),
        ),
    )


def _in_calendar(memory: MemoryState, admission: Admission) -> Admission:
    """The admission with the job in the day of its tenant's calendar."""
    job, calendar = admission.job, memory.budget_of(admission.job.tenant).calendar
    day = calendar.day_of(job.created_at)
    if day == job.usage_day:
        return admission
    return replace(admission, job=replace(job, accounting_day=day))


def visible_output(
    memory: MemoryState, credential: Credential, output: bytes | None
) -> bytes | None:
    """The record as the key may read it: without the result if it may only submit."""
    return output if Scope.READ in memory.keys[credential.digest].scopes else None


def find_replay(
    memory: MemoryState,
    credential: Credential,
    claim: IdempotencyClaim,
    *,
    is_counted: bool = True,
) -> AdmissionResult | None:
    """The job of a repeated idempotency key, which is a call that is no submit."""
    earlier = memory.idempotency.get((credential.tenant, claim.digest))
    if earlier is None:
        return None
    row = memory.jobs.get(earlier[1])
    if row is not None and row.expires_at is not None and row.expires_at <= memory.now:
        return None  # an idempotency key ends with its job
    if is_counted:
        take_call(memory, credential.tenant, QuotaPolicy.CALLS)
    if earlier[0] != claim.fingerprint:
        raise IdempotencyMismatch
    if row is None:
        raise RequestDeleted
    output = visible_output(memory, credential, row.output)
    record = JobRecord(JOB_CODEC.decode(row.doc), output=output)
    return AdmissionResult(
        has_slot=False, reserved=MicroUsd(0), cache_status=CacheStatus.REPLAYED, record=record
    )


def _apply_decision(memory: MemoryState, job: Job, decision: CacheDecision) -> Job:
    now = memory.clock.now()
    if decision.cached is not None:
        return replace(
            job,
            state=JobState.SUCCEEDED,
            next_run_at=now,
            finished_at=now,
            cost=ZERO_COST,
            cost_source=COST_SOURCE_CACHE,
            follow_up=FollowUp.NOTIFY,
            leader=decision.cached.source,
            cost_saved=decision.cached.cost,
            **_status_words(memory, decision.cached.source),
        )
    if decision.source is not None:
        due_at = next_follower_poll_at(job, now)
        return replace(job, state=JobState.FOLLOWING, next_run_at=due_at, leader=decision.source)
    if is_held(memory, job):
        return replace(job, waiting_for=WaitingFor.NOT_BEFORE, next_run_at=job.not_before)
    return job if job.next_run_at is not None else replace(job, next_run_at=now + WAKE_GRACE)


def is_held(memory: MemoryState, job: Job) -> bool:
    """Whether the time before which the job is not submitted is still to come."""
    return job.not_before is not None and job.not_before > memory.clock.now()


def _status_words(memory: MemoryState, source_id: str) -> dict[str, Any]:
    """RunComfy's words for the end of the job whose result is reused, while its record lasts."""
    row = memory.jobs.get(source_id)
    if row is None or (row.expires_at is not None and row.expires_at <= memory.now):
        return {}
    source = JOB_CODEC.decode(row.doc)
    return {
        "upstream_status": source.upstream_status,
        "upstream_result_status": source.upstream_result_status,
    }


def _admit(
    memory: MemoryState, admission: Admission, decision: CacheDecision, check: AdmissionCheck
) -> None:
    job = admission.job
    if check.arrival is not None:
        memory.rates[job.tenant] = check.arrival
    if admission.idempotency is not None:
        claim = admission.idempotency
        memory.idempotency[job.tenant, claim.digest] = (claim.fingerprint, job.id)
    _write(memory, admission, MicroUsd(check.amount))
    if decision.cached is not None:
        memory.jobs[job.id].output = decision.cached.output
    elif decision.source is not None and decision.dedup_key is not None:
        memory.coalescing.follow(job, decision.source, decision.dedup_key)
        memory.fair_queue.raise_priority(decision.source, job.tenant, job.priority)
    else:
        enter_queue(memory, job, decision, starts_immediately=check.inputs.starts_immediately)
    memory.on_due_change()


def enter_queue(
    memory: MemoryState, job: Job, decision: CacheDecision, *, starts_immediately: bool
) -> None:
    """Give a paid job a slot or a place in the queue; identical requests may join it."""
    held_until = to_ms(job.not_before) if job.not_before and is_held(memory, job) else 0
    if decision.dedup_key is not None:
        memory.coalescing.lead(job.id, decision.dedup_key, held_until)
    if held_until:
        price = math.inf if job.estimate is None else job.estimate
        memory.waiting_for.setdefault(WaitingFor.NOT_BEFORE, {})[job.id] = price
        set_score(memory.due, job.id, job.not_before)
    elif starts_immediately:
        memory.fair_queue.assign_slot(job.id, job.tenant, job.model_id)
        wake_worker_for(memory, job.id)
    else:
        memory.fair_queue.enqueue(job)
        dispatch_slots(memory, MAX_DISPATCHED_PER_ADMISSION)


def _admission_inputs(memory: MemoryState, job: Job, digest: str) -> AdmissionInputs:
    budget = memory.budget_of(job.tenant)
    windows = budget.calendar.windows_of(job.usage_day)
    past = memory.windows_of(job.tenant) if budget.top_ups else {}
    return AdmissionInputs(
        windows=windows,
        used=tuple(memory.usage_in(job.tenant, window.name) for window in windows),
        budgets=tuple(budget.of_window(window, past, memory.clock.now()) for window in windows),
        limits=memory.limits_of(job.tenant),
        account_balance=memory.account_balance,
        arrival=memory.rates.get(job.tenant),
        running=memory.fair_queue.running()[f"tenant:{job.tenant}"],
        waiting=memory.waiting_count(job.tenant),
        key_limits=memory.key_limits(digest),
        key_used=tuple(memory.used_by_key(digest, window) for window in windows),
        stored_bytes=memory.stored_bytes_of(job.tenant),
        file_bytes=memory.file_usage(job.tenant).stored_bytes,
        starts_immediately=not is_held(memory, job)
        and memory.fair_queue.can_start_immediately(job.tenant, job.model_id),
    )


def _write(memory: MemoryState, admission: Admission, amount: MicroUsd) -> None:
    job = admission.job
    memory.jobs[job.id] = StoredRecord(job.version, JOB_CODEC.encode(job), input=admission.input)
    entry = admitted_entry(job.created_at)
    if job.leader is not None:
        what = JOINED if job.state is JobState.FOLLOWING else CACHE_HIT
        entry = TimelineEntry(
            entry.at,
            TimelineKind.ADMISSION,
            what,
            job.state,
            job.leader,
            status=job.status_override,
        )
    memory.timelines.setdefault(job.id, []).append(TIMELINE_ENTRY_CODEC.encode(entry))
    memory.states[job.state] += 1
    memory.tenant_jobs.setdefault(job.tenant, {})[job.id] = score_of(job)
    digest = admission.credential.digest
    has_budget = memory.key_limits(digest).has_budget
    memory.count(job, ReservationTotals(amount), digest if has_budget else None)
    set_score(memory.due, job.id, job.next_run_at if job.leader else first_deadline(job))


def _may_be_forgotten(memory: MemoryState, tenant: str) -> bool:
    """Return whether a key may have been lost with all else. A deleted tenant left its record."""
    live = [name for name, row in memory.tenants.items() if row.expires_at is None]
    return memory.position is None or not (live or tenant in memory.tenants)


def authenticate(memory: MemoryState, credential: Credential, scope: Scope | None) -> None:
    """Raise the error with which the key is refused, if any."""
    key = memory.keys.get(credential.digest)
    if key is None and _may_be_forgotten(memory, credential.tenant):
        raise StoreUnknown
    if key is None or key.tenant != credential.tenant:
        raise Unauthenticated
    if key.expires_at is not None and key.expires_at <= memory.now:
        raise Unauthenticated
    tenant = memory.tenants.get(credential.tenant)
    if tenant is None or tenant.disabled:
        raise Unauthenticated
    networks = memory.key_limits(credential.digest).addresses
    bits = address_bits(credential.address)
    if networks and not any(bits.startswith(network_bits(network)) for network in networks):
        raise NotPermitted
    if scope is not None and scope not in key.scopes:
        raise NotPermitted
    if memory.now - (key.used or 0) > KEY_USE_RESOLUTION // MILLISECOND:
        key.used = memory.now


def authenticate_call(
    memory: MemoryState,
    credential: Credential,
    scope: Scope | None,
    rate: CallRate | None = CallRate.CALLS,
) -> None:
    """As `authenticate`, for a call that is no submit: it counts in the tenant's rates of calls."""
    authenticate(memory, credential, scope)
    if rate is None or not credential.is_counted:
        return
    take_call(memory, credential.tenant, QuotaPolicy.CALLS)
    if rate is CallRate.WEBHOOK_ACTIONS:
        take_call(memory, credential.tenant, QuotaPolicy.WEBHOOK_ACTIONS)


def take_call(memory: MemoryState, tenant: str, policy: QuotaPolicy) -> None:
    """Raise the error of a rate of calls that is used up."""
    limits = memory.limits_of(tenant)
    per_minute = {
        QuotaPolicy.CALLS: limits.effective_calls_per_minute,
        QuotaPolicy.WEBHOOK_ACTIONS: limits.webhook_actions_per_minute,
    }[policy]
    if per_minute is None:
        return
    if per_minute <= 0:
        raise build_limit_error(policy, -1, ())
    interval, now = 60_000 / per_minute, memory.now
    arrival = max(memory.call_rates.get((tenant, policy), now), now)
    if arrival > now + 120_000:
        arrival = now
    early = arrival + interval - 60_000 - now
    if early > min(0.5, interval / 2):
        raise build_limit_error(policy, math.ceil(early), ())
    memory.call_rates[tenant, policy] = float(f"{arrival + interval:.3f}")


def move_state_count(memory: MemoryState, before: Job, after: Job) -> None:
    """Count a job in its new state."""
    if before.state is after.state:
        return
    memory.states[before.state] -= 1
    memory.states[after.state] += 1
    if after.state is JobState.IN_DOUBT:
        memory.in_doubt[after.id] = memory.now
    if before.state is JobState.IN_DOUBT:
        memory.in_doubt.pop(after.id, None)
