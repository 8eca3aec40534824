"""The invariants of the design, checked against ledger, records and receivers after a run.

Each check yields one sentence for each violation.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from core.jobs.in_doubt import POLICY_ACTOR
from core.jobs.job import BillingStatus, CancelOutcome, Job, JobState, Trigger
from core.observability.events import OperationalWarning, SubmitAnswered
from core.store.codecs import DELIVERY_CODEC, TIMELINE_ENTRY_CODEC
from core.webhooks.delivery import EVENT_OF_STATUS, Delivery, DeliveryState
from tests.simulation.clients import TENANTS, WEBHOOK
from tests.simulation.plan import IN_DOUBT_FAULTS, Plan
from tests.simulation.worker import SimulatedWorker, SimulationContext
from tests.support.memory_store.state import MemoryState
from tests.support.upstream import LedgerEntry
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.reconciliation import RESTORED
from worker.webhooks.retry_schedule import SchedulePolicy

FINAL_EVENTS: Final = frozenset({"request.completed", "request.failed", "request.cancelled"})


def all_ended(around: SimulationContext, workers: Sequence[SimulatedWorker]) -> bool:
    """Whether no work is left: a store that went back lacks some until a worker has compared it."""
    memory = around.stores.memory
    if (
        memory.due
        or memory.outbox
        or (memory.position is not None and memory.position.compare_since is not None)
        or (memory.position is not None and memory.position.lost_entry)
        or not any(worker.lifetime.alive for worker in workers)
        or any(
            worker.lifetime.alive and (worker.is_busy or not worker.is_calm) for worker in workers
        )
    ):
        return False
    return all(job.is_final for job in memory.all_jobs())


def violations_of(
    plan: Plan, around: SimulationContext, workers: Sequence[SimulatedWorker]
) -> tuple[str, ...]:
    """All violations of all invariants."""
    memory = around.stores.memory
    found = [
        f"{job.id}: {breach}"
        for job in memory.all_jobs()
        for check in JOB_CHECKS
        for breach in check(around, job)
    ]
    found += _nothing_left(memory)
    found += _counters_match_records(memory)
    found += _totals_match_ledger(memory)
    found += _no_unexpected_errors(around)
    found += _no_paid_job_is_lost(around)
    found += _keys_are_paid_once(around)
    found += _ends_have_one_id(around)
    found += _no_acceptance_lost(around, workers)
    if plan.die_at is None and not plan.faults & IN_DOUBT_FAULTS:
        found += _no_doubt_without_cause(memory)
    return tuple(found)


def _paid_once(around: SimulationContext, job: Job) -> Iterator[str]:
    """A job has at most one paid submit, plus one for each approved resend."""
    taken = len(around.runcomfy.entries_of_job(job.id))
    approved = around.log.approvals[job.id]
    if taken > 1 + approved:
        yield f"{taken} paid submits, {approved} resends approved"


def _keys_are_paid_once(around: SimulationContext) -> Iterator[str]:
    """All submits with one idempotency key have one paid submit, plus one for each resend."""
    for key, job_ids in around.log.repeated.items():
        taken = sum(len(around.runcomfy.entries_of_job(job_id)) for job_id in job_ids)
        approved = sum(around.log.approvals[job_id] for job_id in job_ids)
        if taken > 1 + approved:
            yield f"{key}: {taken} paid submits of {job_ids}, {approved} resends approved"


def _is_final(_: SimulationContext, job: Job) -> Iterator[str]:
    if not job.is_final:
        yield f"has not ended: {job.state}"
    elif job.finished_at is None:
        yield "ended at no time"


def _has_no_follow_up(_: SimulationContext, job: Job) -> Iterator[str]:
    """Follow-up tasks are finished or given up."""
    if job.follow_up is not None:
        yield f"the errand {job.follow_up} was never done"


def _resends_were_approved(around: SimulationContext, job: Job) -> Iterator[str]:
    """Each resend has its own timeline entry; a tenant's policy resends a job only once."""
    lines = [TIMELINE_ENTRY_CODEC.decode(entry) for entry in around.stores.memory.timelines[job.id]]
    if any(line.code == RESTORED for line in lines):
        return  # with a new timeline
    approved = [line.detail or "" for line in lines if line.code == Trigger.RESEND_APPROVED]
    if len(approved) != job.resends_approved:
        yield f"{job.resends_approved} resends counted, approved were {approved}"
    if sum(POLICY_ACTOR in detail.split() for detail in approved) > 1:
        yield f"the policy approved more than one resend: {approved}"


def _cancel_answer_was_true(around: SimulationContext, job: Job) -> Iterator[str]:
    """A cancel that returned `cancelled` was effective, and the record agrees.

    Not so if the store forgot it: it went back.
    """
    if around.log.rewinds:
        return
    told = around.log.cancels.get(job.id, ())
    if CancelOutcome.CANCELLED in told and job.state is not JobState.CANCELLED:
        yield f"a caller was told that it is cancelled, and it is {job.state}"
    if job.state is JobState.CANCELLED and job.cancel_outcome is not CancelOutcome.CANCELLED:
        yield f"is cancelled, and says {job.cancel_outcome}"


def _lost_only_after_grace(around: SimulationContext, job: Job) -> Iterator[str]:
    """A 404 from RunComfy is accepted only after it has been repeated for a while."""
    entry = _entry(around, job)
    if entry is None or job.error is None or job.error.code != "upstream_lost":
        return
    if (
        entry.plan.forgotten_after is None
        and entry.plan.visible_after < LifecyclePolicy().not_found_timeout
    ):
        yield "counts as lost upstream, and was there"


def _has_its_output(around: SimulationContext, job: Job) -> Iterator[str]:
    """A result, in time or late, is the output of the upstream request on the record."""
    output = around.stores.memory.jobs[job.id].output
    if job.state is not JobState.SUCCEEDED and not job.late:
        if output is not None:
            yield "has an output, and did not succeed"
        return
    entry = _entry(around, _payer(around, job))
    if entry is None:
        yield f"succeeded by {job.upstream_id}, which is not in the ledger"
    elif output is None or output != entry.output:
        yield f"has {output!r} instead of its output"


def _billed_correctly(around: SimulationContext, job: Job) -> Iterator[str]:
    """`billed` is `no` or `yes` as in the ledger, and `unknown` where it cannot be known."""
    if _shares(job):
        if (job.billed, job.cost, job.upstream_id) != (BillingStatus.NO, 0, None):
            yield f"has another's result, billed {job.billed} at {job.cost}"
        return
    charged = [entry for entry in _own(around, job) if entry.charged]
    if job.billed is BillingStatus.NO and charged:
        yield f"billed no, and RunComfy charged {[entry.upstream_id for entry in charged]}"
    if job.billed is BillingStatus.YES and not charged:
        yield "billed yes, and RunComfy charged nothing"
    if job.state is JobState.SUCCEEDED and job.billed is not BillingStatus.YES:
        yield f"succeeded, billed {job.billed}"
    entry = _entry(around, job)
    if job.cost is not None and (
        entry is None or job.cost != (entry.plan.price if entry.charged else 0)
    ):
        yield f"cost {job.cost} is not the ledger's"


def _leader_loss_is_justified(around: SimulationContext, job: Job) -> Iterator[str]:
    """A follower fails with its leader only where another submit might be paid twice."""
    if job.error is None or job.error.code != "leader_lost":
        return
    if job.leader is None or around.stores.memory.job(job.leader) is None:
        yield "lost a leader that nobody knows"
    elif all(each.billed is not BillingStatus.UNKNOWN for each in around.stores.memory.all_jobs()):
        yield "was told that its leader is gone, and it is not"


def _saved_amount_is_correct(around: SimulationContext, job: Job) -> Iterator[str]:
    if _shares(job) and _payer(around, job).billed is not BillingStatus.YES:
        yield f"has the result of {job.leader}, which did not pay"


def _has_one_final_delivery(around: SimulationContext, job: Job) -> Iterator[str]:
    """A final state has one delivery for its endpoint, delivered or exhausted."""
    url = job.webhook or (WEBHOOK.format(job.tenant) if job.tenant == TENANTS[0] else None)
    final = [row for row in _deliveries(around.stores.memory, job) if row.event in FINAL_EVENTS]
    if len(final) != (url is not None):
        yield f"{len(final)} deliveries of its end to {url}"
    for delivery in final:
        if delivery.event != EVENT_OF_STATUS[job.status]:
            yield f"{delivery.event} tells of {job.status}"
        if delivery.url != url:
            yield f"{delivery.url} instead of {url}"


def _deliveries_arrive(around: SimulationContext, job: Job) -> Iterator[str]:
    taken = {received.webhook_id for received in around.receivers.received}
    for delivery in _deliveries(around.stores.memory, job):
        if delivery.state is DeliveryState.PENDING:
            yield f"{delivery.id} is still pending"
        elif delivery.state is DeliveryState.DELIVERED and delivery.id not in taken:
            yield f"{delivery.id} counts as delivered, and nobody took it"
        elif (
            delivery.state is DeliveryState.FAILED
            and delivery.attempts != SchedulePolicy().max_attempts
        ):
            yield f"{delivery.id} was given up after {delivery.attempts} attempts"


def _deliveries_match_events(around: SimulationContext, job: Job) -> Iterator[str]:
    """A payload carries the status of its event type."""
    for received in around.receivers.received:
        if received.job_id != job.id or received.event not in FINAL_EVENTS:
            continue
        if received.event.removeprefix("request.") != received.status:
            yield f"{received.webhook_id} told of {received.event} with {received.status}"


JOB_CHECKS: Final = (
    _paid_once,
    _resends_were_approved,
    _is_final,
    _has_no_follow_up,
    _cancel_answer_was_true,
    _lost_only_after_grace,
    _has_its_output,
    _billed_correctly,
    _leader_loss_is_justified,
    _saved_amount_is_correct,
    _has_one_final_delivery,
    _deliveries_arrive,
    _deliveries_match_events,
)


def _nothing_left(memory: MemoryState) -> Iterator[str]:
    """No lease, no doubt and no delivery is left."""
    turns = memory.fair_queue
    indexes: dict[str, object] = {
        "due": memory.due,
        "doubted": memory.in_doubt,
        "to be sent": memory.outbox,
    }
    flights = memory.coalescing
    indexes |= {
        "followed": {name: those for name, those in flights.followers.items() if those},
        "following": flights.leaders if memory.states[JobState.FOLLOWING] else {},
        "led": {once: held.leader for once, held in flights.entries.items() if held.leader},
    }
    for name, left in (indexes | {"waiting": turns.waiting, "running": turns.slots}).items():
        if left:
            yield f"left in the index of what is {name}: {left}"


def _counters_match_records(memory: MemoryState) -> Iterator[str]:
    counted = Counter(job.state for job in memory.all_jobs())
    kept = {state: number for state, number in memory.states.items() if number}
    if kept != counted:
        yield f"states are counted {kept}, and are {counted}"


def _totals_match_ledger(memory: MemoryState) -> Iterator[str]:
    """No reservation is held, and the settled amount is what RunComfy charged."""
    for job in memory.all_jobs():
        booking = memory.accounts[job.id].booking
        if booking.held or min(booking.settled, booking.released) < 0:
            yield f"{job.id}: the books are open: {booking}"
        if job.cost is not None and booking.settled != job.cost:
            yield f"{job.id}: cost {job.cost}, settled {booking.settled}"


def _no_paid_job_is_lost(around: SimulationContext) -> Iterator[str]:
    """Each job that RunComfy has is in the store, whatever that forgot meanwhile.

    Not so if the journal forgot it too: no backup has a job that was admitted after it was made.
    """
    for entry in around.runcomfy.ledger:
        is_forgotten = around.log.admitted_at[entry.job_id] >= around.log.copied_at
        if not is_forgotten and around.stores.memory.job(entry.job_id) is None:
            yield f"{entry.job_id}: RunComfy has {entry.upstream_id}, the store has no job"


def _ends_have_one_id(around: SimulationContext) -> Iterator[str]:
    """An end that is sent again, because the store went back, has the same webhook id."""
    ids: dict[tuple[str, str, str], set[str]] = {}
    for one in around.receivers.received:
        if one.event in FINAL_EVENTS:
            ids.setdefault((one.job_id, one.event, one.url), set()).add(one.webhook_id)
    yield from (f"{end} was sent under {found}" for end, found in ids.items() if len(found) > 1)


def _no_unexpected_errors(around: SimulationContext) -> Iterator[str]:
    """No step and no delivery ended in an unexpected exception."""
    for process, event in around.log.events:
        if isinstance(event, OperationalWarning) and event.error is not None:
            yield f"{process}: {event.code} {event.detail} ({event.job_id})"


def _no_acceptance_lost(
    around: SimulationContext, workers: Sequence[SimulatedWorker]
) -> Iterator[str]:
    """An acceptance that a process received is on record, unless the process died then.

    A store that went back before the journal took the answer has the job in doubt.
    """
    if around.log.rewinds:
        return
    survivors = {worker.lifetime.name for worker in workers if worker.lifetime.alive}
    timelines = around.stores.memory.timelines
    for process, event in around.log.events:
        if not isinstance(event, SubmitAnswered) or event.upstream_id is None:
            continue
        words = (
            TIMELINE_ENTRY_CODEC.decode(entry).detail or ""
            for entry in timelines.get(event.job_id, ())
        )
        known = any(event.upstream_id in detail.split() for detail in words)
        if process in survivors and not known:
            yield f"{event.job_id}: {process} was told {event.upstream_id}, no record tells of it"


def _no_doubt_without_cause(memory: MemoryState) -> Iterator[str]:
    for job_id, timeline in memory.timelines.items():
        if any(TIMELINE_ENTRY_CODEC.decode(entry).state is JobState.IN_DOUBT for entry in timeline):
            yield f"{job_id}: was in doubt although every submit was answered and recorded"


def _entry(around: SimulationContext, job: Job) -> LedgerEntry | None:
    entries = around.runcomfy.ledger
    return next((entry for entry in entries if entry.upstream_id == job.upstream_id), None)


def _shares(job: Job) -> bool:
    """Whether the job has another job's result."""
    return job.state is JobState.SUCCEEDED and job.leader is not None


def _payer(around: SimulationContext, job: Job) -> Job:
    """The job that produced the result."""
    if not _shares(job):
        return job
    return next(each for each in around.stores.memory.all_jobs() if each.id == job.leader)


def _own(around: SimulationContext, job: Job) -> list[LedgerEntry]:
    """The ledger entries of the job: submitted and not handed over, or taken over."""
    lines = [TIMELINE_ENTRY_CODEC.decode(entry) for entry in around.stores.memory.timelines[job.id]]
    gone = job.upstream_id if any(line.code == Trigger.HANDED_OVER for line in lines) else None
    own = [each for each in around.runcomfy.entries_of_job(job.id) if each.upstream_id != gone]
    inherited = _entry(around, job)
    if gone is None and inherited is not None and inherited not in own:
        own.append(inherited)
    return own


def _deliveries(memory: MemoryState, job: Job) -> list[Delivery]:
    ids = memory.job_deliveries.get(job.id, ())
    return [DELIVERY_CODEC.decode(memory.deliveries[delivery_id].doc) for delivery_id in ids]
