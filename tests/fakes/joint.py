"""Request coalescing in memory: the fake of `lib/dedup_index.lua`, `promote_follower.lua`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.billing.settlement import Verdict, standing
from core.clock import to_ms
from core.deduplication.coalescing import reusable_until, time_limit, worth
from core.jobs.job import JobState
from core.store.codecs import ENTRIES, JOBS, TENANTS
from core.tenants.cache_policy import Reuse
from core.tenants.limits import UnknownPrice, spans_at
from core.transactions.job_update import Outcome
from tests.fakes.admissions import count_states, take_place
from tests.fakes.listing import forget_input
from tests.fakes.memory import write_due
from tests.fakes.outbox import setup_changed, write_deliveries
from tests.fakes.reuse import Fate, Kept, Part
from tests.fakes.tenancy import hand_out

if TYPE_CHECKING:
    from core.billing.balance import Wallet
    from core.jobs.job import Job
    from core.tenants.limits import Limits
    from core.transactions.job_update import Change, Heir
    from tests.fakes.memory import Memory, Row


def is_current(memory: Memory, job: Job) -> bool:
    """Whether nobody changed the record since."""
    row = memory.job(job.id)
    return row is not None and row.version == job.version


def wanted(memory: Memory, before: Job, after: Job, heir: Heir | None) -> bool:
    """Whether others follow running work that this change would end."""
    lost = after.state is JobState.EXPIRED and standing(after).verdict is Verdict.HELD
    ends = after.state is JobState.CANCELLING or lost
    followed = bool(memory.flights.followed(after.id))
    return heir is None and before.state is JobState.RUNNING and ends and followed


def tell_flight(memory: Memory, before: Job, after: Job, change: Change) -> None:
    """What followers and later requests learn of a step."""
    flights = memory.flights
    part = flights.parts.get(after.id)
    if part is None:
        return
    if after.id in flights.leaders:
        if before.state is JobState.FOLLOWING and after.state is not JobState.FOLLOWING:
            _leave_flight(memory, after)
    elif change.heir is not None:
        _inherit(memory, after, change.heir)
    else:
        _tell_followers(memory, part, change)


def _tell_followers(memory: Memory, part: Part, change: Change) -> None:
    before, after = change.before, change.after
    moved, ended = before.state is not after.state, after.final and not before.final
    if ended or (moved and after.state is JobState.CANCELLING):
        memory.flights.stop_leading(after.id, memory.now)
    if moved and after.state is JobState.SUCCEEDED and change.output is not None:
        _keep(memory, after, part, change.output)
    if ended or after.status is not before.status:
        _wake_followers(memory, after.id)


def _wake_followers(memory: Memory, leader: str) -> None:
    for follower in memory.flights.followed(leader):
        if follower in memory.due:
            memory.due[follower] = memory.now


def _leave_flight(memory: Memory, job: Job) -> None:
    memory.flights.unfollow(job.id)
    if job.state is JobState.SUCCEEDED:
        account = memory.accounts[job.id]
        saved = int(job.saved or 0)
        memory.accounts[job.id] = replace(account, reused=True, saved=saved)


def _keep(memory: Memory, job: Job, part: Part, output: bytes) -> None:
    row = memory.tenant(job.tenant)
    own = None if row is None else TENANTS.read(row.doc).result_ttl
    lifetime = part.lifetime if own is None else min(part.lifetime, own)
    until = min(memory.after(lifetime), to_ms(reusable_until(job, memory.clock.now())))
    if until > memory.now:
        memory.flights.inputs[part.once].kept = Kept(job.id, output, worth(job), until)


def _inherit(memory: Memory, leader: Job, heir: Heir) -> None:
    job = heir.after
    memory.flights.succeed(leader.id, job.id)
    row = memory.jobs[job.id]
    row.version, row.doc = job.version, JOBS.write(job)
    forget_input(memory, row, job)
    _reserve(memory, job.id, memory.accounts[leader.id].booking.reserved)
    memory.timelines[job.id].append(ENTRIES.write(heir.entry))
    count_states(memory, heir.before, job)
    memory.due[job.id] = memory.now
    memory.turns.pass_on(leader.id, job.id, job.tenant)
    if job.tenant != leader.tenant:
        hand_out(memory, 1)
    memory.told(job.id, job.version, ended=False)


def _reserve(memory: Memory, job_id: str, amount: int) -> None:
    account = memory.accounts[job_id]
    booking = replace(account.booking, reserved=account.booking.reserved + amount)
    memory.accounts[job_id] = replace(account, booking=booking)


def _refuses(limits: Limits, wallet: Wallet, job: Job, amount: int) -> bool:
    """Whether the tenant could not submit this one now, whatever it spent before."""
    unknown = job.estimate is None and limits.unknown_price is UnknownPrice.REFUSE
    dear = limits.usd_per_request is not None and amount > limits.usd_per_request
    known = wallet.balance is not None and wallet.floor is not None
    return unknown or dear or (known and wallet.balance < wallet.floor)  # type: ignore[operator]  # both are known


def promote(memory: Memory, row: Row, change: Change) -> Outcome:
    """A follower takes the lead as a paid job of its own."""
    job = change.after
    flights, part = memory.flights, memory.flights.parts[job.id]
    before, leads = flights.leaders[job.id], flights.inputs[part.once].leader
    if before != change.instead_of or leads is not None:
        if before == change.instead_of and leads is not None:
            flights.join(before, leads)
        memory.due[job.id] = memory.now
        return Outcome.LED
    if setup_changed(memory, change):
        return Outcome.SETUP_CHANGED
    limits = memory.limits_of(job.tenant)
    amount = int(limits.unknown_price_counts if job.estimate is None else job.estimate)
    if _refuses(limits, memory.wallet, job, amount):
        return Outcome.OVER_BUDGET
    for span, most in zip(
        spans_at(job.created_at), (limits.usd_per_day, limits.usd_per_month), strict=True
    ):
        if most is not None and memory.use(job.tenant, span).booking.used + amount > most:
            return Outcome.OVER_BUDGET
    row.version, row.doc = job.version, JOBS.write(job)
    _reserve(memory, job.id, amount)
    memory.timelines[job.id].extend(map(ENTRIES.write, change.entries))
    write_deliveries(memory, job, change.deliveries)
    count_states(memory, change.before, job)
    write_due(memory.due, job.id, time_limit(job))
    flights.succeed(before, job.id)
    at_once = memory.turns.runs_at_once(job.tenant, job.model_id)
    take_place(memory, job, Fate(Reuse.MISS), at_once=at_once)
    memory.told(job.id, job.version, ended=False)
    memory.changed()
    return Outcome.STORED
