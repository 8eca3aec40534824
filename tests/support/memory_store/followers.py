"""Request coalescing in memory: the fake of `lib/dedup_index.lua`, `promote_follower.lua`."""

from dataclasses import replace

from core.billing.settlement import SettlementStatus, settlement_of
from core.clock import to_ms
from core.deduplication.coalescing import cacheable_until, first_deadline, shared_cost
from core.jobs.job import Job, JobState
from core.store.codecs import JOB_CODEC, TENANT_CODEC, TIMELINE_ENTRY_CODEC
from core.tenants.api_keys import NO_KEY_LIMITS
from core.tenants.cache_policy import CacheStatus
from core.tenants.limits import Limits
from core.transactions.job_update import Change, Successor, WriteResult
from tests.support.memory_store.admission import enter_queue, move_state_count
from tests.support.memory_store.coalescing import CacheDecision, CachedResult, DedupKey
from tests.support.memory_store.job_index import forget_input
from tests.support.memory_store.quotas import is_unknown_price_refused
from tests.support.memory_store.state import MemoryState, StoredRecord, set_score
from tests.support.memory_store.tenants import dispatch_slots
from tests.support.memory_store.webhooks import webhook_config_changed, write_deliveries


def is_current(memory: MemoryState, job: Job) -> bool:
    """Whether the stored record still is `job`: after a rewind another may have its version."""
    row = memory.job(job.id)
    if row is None or row.version != job.version:
        return False
    return job.version == 1 or JOB_CODEC.decode(row.doc).updated_at == job.updated_at


def has_followers(
    memory: MemoryState, before: Job, after: Job, successor: Successor | None
) -> bool:
    """Whether the change would end running work that has followers."""
    lost = after.state is JobState.EXPIRED and settlement_of(after).status is SettlementStatus.HELD
    ends = after.state is JobState.CANCELLING or lost
    followed = bool(memory.coalescing.followers_of(after.id))
    return successor is None and before.state is JobState.RUNNING and ends and followed


def update_coalescing(memory: MemoryState, before: Job, after: Job, change: Change) -> None:
    """Apply a job's step to its followers and to later requests."""
    flights = memory.coalescing
    part = flights.dedup_keys.get(after.id)
    if part is None:
        return
    if after.id in flights.leaders:
        if before.state is JobState.FOLLOWING and after.state is not JobState.FOLLOWING:
            _stop_following(memory, after)
    elif change.successor is not None:
        _transfer_work(memory, after, change.successor)
    else:
        _update_followers(memory, part, change)


def _update_followers(memory: MemoryState, part: DedupKey, change: Change) -> None:
    before, after = change.before, change.after
    moved, ended = before.state is not after.state, after.is_final and not before.is_final
    if ended or (moved and after.state is JobState.CANCELLING):
        memory.coalescing.stop_leading(after.id, memory.now)
    if moved and after.state is JobState.SUCCEEDED and change.output is not None:
        _cache_result(memory, after, part, change.output)
    if ended or after.status is not before.status:
        _wake_followers(memory, after.id)


def _wake_followers(memory: MemoryState, leader: str) -> None:
    for follower in memory.coalescing.followers_of(leader):
        if follower in memory.due:
            memory.due[follower] = memory.now


def _stop_following(memory: MemoryState, job: Job) -> None:
    memory.coalescing.unfollow(job.id)


def _cache_result(memory: MemoryState, job: Job, part: DedupKey, output: bytes) -> None:
    row = memory.tenant(job.tenant)
    own = None if row is None else TENANT_CODEC.decode(row.doc).result_ttl
    lifetime = part.lifetime if own is None else min(part.lifetime, own)
    until = min(memory.ms_after(lifetime), to_ms(cacheable_until(job, memory.clock.now())))
    if until > memory.now:
        memory.coalescing.entries[part.scope_and_fingerprint].cached = CachedResult(
            job.id, output, shared_cost(job), until
        )


def _transfer_work(memory: MemoryState, leader: Job, successor: Successor) -> None:
    job = successor.after
    memory.coalescing.take_over(leader.id, job.id)
    row = memory.jobs[job.id]
    row.version, row.doc = job.version, JOB_CODEC.encode(job)
    forget_input(memory, row, job)
    _reserve(memory, job.id, memory.accounts[leader.id].booking.reserved)
    memory.timelines[job.id].append(TIMELINE_ENTRY_CODEC.encode(successor.entry))
    move_state_count(memory, successor.before, job)
    memory.due[job.id] = memory.now
    memory.fair_queue.transfer_slot(leader.id, job.id, job.tenant)
    if job.tenant != leader.tenant:
        dispatch_slots(memory, 1)
    memory.on_job_change(job.id, job.version, ended=False)


def _reserve(memory: MemoryState, job_id: str, amount: int) -> None:
    account = memory.accounts[job_id]
    booking = replace(account.booking, reserved=account.booking.reserved + amount)
    memory.recount(account.job, booking)


def _is_over_limit(memory: MemoryState, limits: Limits, job: Job, amount: int) -> bool:
    """Whether the job's price alone exceeds a limit of its tenant."""
    wallet, digest = memory.account_balance, memory.accounts[job.id].key
    key_limits = NO_KEY_LIMITS if digest is None else memory.key_limits(digest)
    unknown = job.estimate is None and is_unknown_price_refused(limits, key_limits)
    dear = limits.usd_per_request is not None and amount > limits.usd_per_request
    known = wallet.balance is not None and wallet.minimum is not None
    return unknown or dear or (known and wallet.balance < wallet.minimum)  # type: ignore[operator]  # both are known


def _is_over_budget(memory: MemoryState, job: Job, amount: int) -> bool:
    """Whether the budget of the job's tenant, or of its key, does not cover it."""
    budget = memory.budget_of(job.tenant)
    windows = budget.calendar.windows_of(job.usage_day)
    past = memory.windows_of(job.tenant)
    for window in windows:
        most = budget.of_window(window, past, memory.clock.now())
        if most is not None and past[window.name].reservations.used + amount > most:
            return True
    digest = memory.accounts[job.id].key
    if digest is None:
        return False
    limits, (day, _, month, _) = memory.key_limits(digest), windows
    return any(
        most is not None and memory.used_by_key(digest, window) + amount > most
        for window, most in ((day, limits.usd_per_day), (month, limits.usd_per_month))
    )


def leave_leader(memory: MemoryState, before: Job, after: Job, reserved: int) -> None:
    """Store a follower as the paid job that it was before the store went back."""
    memory.coalescing.unfollow(before.id)
    del memory.coalescing.leaders[before.id], memory.coalescing.dedup_keys[before.id]
    row = memory.jobs[before.id]
    row.version, row.doc = after.version, JOB_CODEC.encode(after)
    move_state_count(memory, before, after)
    booking = replace(memory.accounts[before.id].booking, reserved=reserved)
    memory.recount(after, booking)


def promote(memory: MemoryState, row: StoredRecord, change: Change) -> WriteResult:
    """Make a follower the leader, as a paid job of its own."""
    job = change.after
    flights, part = memory.coalescing, memory.coalescing.dedup_keys[job.id]
    before, leads = flights.leaders[job.id], flights.entries[part.scope_and_fingerprint].leader
    if before != change.expected_leader or leads is not None:
        if before == change.expected_leader and leads is not None:
            flights.reassign_followers(before, leads)
        memory.due[job.id] = memory.now
        return WriteResult.OTHER_LEADER
    if webhook_config_changed(memory, change):
        return WriteResult.WEBHOOK_CONFIG_CHANGED
    limits = memory.limits_of(job.tenant)
    amount = int(limits.unknown_price_counts if job.estimate is None else job.estimate)
    if _is_over_limit(memory, limits, job, amount):
        return WriteResult.OVER_BUDGET
    if _is_over_budget(memory, job, amount):
        return WriteResult.OVER_BUDGET
    row.version, row.doc = job.version, JOB_CODEC.encode(job)
    _reserve(memory, job.id, amount)
    if change.entry is not None:
        memory.timelines[job.id].append(TIMELINE_ENTRY_CODEC.encode(change.entry))
    write_deliveries(memory, job, change.deliveries)
    move_state_count(memory, change.before, job)
    set_score(memory.due, job.id, first_deadline(job))
    flights.take_over(before, job.id)
    at_once = memory.fair_queue.can_start_immediately(job.tenant, job.model_id)
    enter_queue(memory, job, CacheDecision(CacheStatus.MISS), starts_immediately=at_once)
    memory.on_job_change(job.id, job.version, ended=False)
    memory.on_due_change()
    return WriteResult.STORED
