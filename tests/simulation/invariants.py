"""What must hold after every run: the design's invariants, by ledger, records and receivers.

Each check yields a sentence for each breach; none means that it holds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import orjson

from core.jobs.in_doubt import POLICY
from core.jobs.job import Billed, CancelOutcome, Fact, JobState
from core.observability.events import OperationalWarning, SubmitAnswered
from core.store.codecs import DELIVERIES, ENTRIES
from core.webhooks.delivery import EVENT_OF_STATUS, DeliveryState
from tests.simulation.people import TENANTS, WEBHOOK
from tests.simulation.plan import DOUBTFUL
from worker.jobs.policies import LifecyclePolicy
from worker.webhooks.retry_schedule import SchedulePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.jobs.job import Job
    from core.webhooks.delivery import Delivery
    from tests.fakes.memory import Memory
    from tests.fakes.upstream import Entry
    from tests.simulation.plan import Plan
    from tests.simulation.worker import SimulatedWorker, Surroundings

FINAL_EVENTS: Final = frozenset({"request.completed", "request.failed", "request.cancelled"})


def all_ended(around: Surroundings, workers: Sequence[SimulatedWorker]) -> bool:
    """Whether nothing is left to be done."""
    memory = around.stores.memory
    if memory.due or memory.outbox or any(worker.life.alive and worker.busy for worker in workers):
        return False
    return all(job.final for job in memory.every_job())


def breaches_of(
    plan: Plan, around: Surroundings, workers: Sequence[SimulatedWorker]
) -> tuple[str, ...]:
    """Every breach of every invariant, in words."""
    memory = around.stores.memory
    found = [
        f"{job.id}: {breach}"
        for job in memory.every_job()
        for check in JOB_CHECKS
        for breach in check(around, job)
    ]
    found += _nothing_left(memory)
    found += _counts_agree(memory)
    found += _books_agree(memory)
    found += _nothing_broke(around)
    found += _no_acceptance_lost(around, workers)
    if plan.die_at is None and not plan.faults & DOUBTFUL:
        found += _no_doubt_without_cause(memory)
    return tuple(found)


def _paid_once(around: Surroundings, job: Job) -> Iterator[str]:
    """At most one paid submit, but for approved resends."""
    taken = len(around.runcomfy.of_job(job.id))
    if taken > 1 + job.resends_approved:
        yield f"{taken} paid submits, {job.resends_approved} resends approved"


def _ends(_: Surroundings, job: Job) -> Iterator[str]:
    if not job.final:
        yield f"has not ended: {job.state}"
    elif job.finished_at is None:
        yield "ended at no time"


def _is_done_with(_: Surroundings, job: Job) -> Iterator[str]:
    """What was still to be learnt about it was learnt, or given up."""
    if job.errand is not None:
        yield f"the errand {job.errand} was never done"


def _resends_were_approved(around: Surroundings, job: Job) -> Iterator[str]:
    """Each by a line of its own in the timeline, and by a policy only once."""
    lines = [ENTRIES.read(entry) for entry in around.stores.memory.timelines[job.id]]
    approved = [line.detail or "" for line in lines if line.what == Fact.RESEND_APPROVED]
    if len(approved) != job.resends_approved:
        yield f"{job.resends_approved} resends counted, approved were {approved}"
    if sum(POLICY in detail.split() for detail in approved) > 1:
        yield f"the policy approved more than one resend: {approved}"


def _cancelled_as_told(around: Surroundings, job: Job) -> Iterator[str]:
    """Who was told that it is cancelled was told the truth, and so is the record."""
    told = around.journal.cancels.get(job.id, ())
    if CancelOutcome.CANCELLED in told and job.state is not JobState.CANCELLED:
        yield f"a caller was told that it is cancelled, and it is {job.state}"
    if job.state is JobState.CANCELLED and job.cancel_outcome is not CancelOutcome.CANCELLED:
        yield f"is cancelled, and says {job.cancel_outcome}"


def _lost_with_cause(around: Surroundings, job: Job) -> Iterator[str]:
    """RunComfy's word that it does not know a request is believed only after a while."""
    entry = _entry(around, job)
    if entry is None or job.error is None or job.error.code != "upstream_lost":
        return
    if entry.course.forgotten is None and entry.course.visible < LifecyclePolicy().gone_after:
        yield "counts as lost upstream, and was there"


def _brings_its_output(around: Surroundings, job: Job) -> Iterator[str]:
    """What succeeded, or came late, has the output of the request that it names."""
    output = around.stores.memory.jobs[job.id].output
    if job.state is not JobState.SUCCEEDED and not job.late:
        if output is not None:
            yield "has an output, and did not succeed"
        return
    entry = _entry(around, _payer(around, job))
    if entry is None:
        yield f"succeeded by {job.upstream_id}, which is not in the ledger"
    elif output is None or orjson.loads(output) != entry.output:
        yield f"has {output!r} instead of its output"


def _billed_truly(around: Surroundings, job: Job) -> Iterator[str]:
    """`no` and `yes` agree with the ledger; whatever is not known is `unknown`."""
    if _shares(job):
        if (job.billed, job.cost, job.upstream_id) != (Billed.NO, 0, None):
            yield f"has another's result, billed {job.billed} at {job.cost}"
        return
    charged = [entry for entry in _own(around, job) if entry.charged]
    if job.billed is Billed.NO and charged:
        yield f"billed no, and RunComfy charged {[entry.upstream_id for entry in charged]}"
    if job.billed is Billed.YES and not charged:
        yield "billed yes, and RunComfy charged nothing"
    if job.state is JobState.SUCCEEDED and job.billed is not Billed.YES:
        yield f"succeeded, billed {job.billed}"
    entry = _entry(around, job)
    if job.cost is not None and (
        entry is None or job.cost != (entry.course.price if entry.charged else 0)
    ):
        yield f"cost {job.cost} is not the ledger's"


def _fails_for_a_reason(around: Surroundings, job: Job) -> Iterator[str]:
    """Nobody loses his leader, but where its money is not known and nobody may pay again."""
    if job.error is None or job.error.code != "leader_lost":
        return
    if job.leader is None or around.stores.memory.job(job.leader) is None:
        yield "lost a leader that nobody knows"
    elif all(each.billed is not Billed.UNKNOWN for each in around.stores.memory.every_job()):
        yield "was told that its leader is gone, and it is not"


def _saves_what_was_paid(around: Surroundings, job: Job) -> Iterator[str]:
    if _shares(job) and _payer(around, job).billed is not Billed.YES:
        yield f"has the result of {job.leader}, which did not pay"


def _one_notice(around: Surroundings, job: Job) -> Iterator[str]:
    """A final state has one delivery for its endpoint, and that was delivered or tried out."""
    url = job.webhook or (WEBHOOK.format(job.tenant) if job.tenant == TENANTS[0] else None)
    final = [row for row in _deliveries(around.stores.memory, job) if row.event in FINAL_EVENTS]
    if len(final) != (url is not None):
        yield f"{len(final)} deliveries of its end to {url}"
    for delivery in final:
        if delivery.event != EVENT_OF_STATUS[job.status]:
            yield f"{delivery.event} tells of {job.status}"
        if delivery.url != url:
            yield f"{delivery.url} instead of {url}"


def _notices_arrive(around: Surroundings, job: Job) -> Iterator[str]:
    taken = {received.webhook_id for received in around.receivers.taken}
    for delivery in _deliveries(around.stores.memory, job):
        if delivery.state is DeliveryState.PENDING:
            yield f"{delivery.id} is still pending"
        elif delivery.state is DeliveryState.DELIVERED and delivery.id not in taken:
            yield f"{delivery.id} counts as delivered, and nobody took it"
        elif (
            delivery.state is DeliveryState.FAILED
            and delivery.attempts != SchedulePolicy().attempts
        ):
            yield f"{delivery.id} was given up after {delivery.attempts} attempts"


def _no_notice_early(around: Surroundings, job: Job) -> Iterator[str]:
    """What a receiver reads says what the event says."""
    for received in around.receivers.taken:
        if received.job_id != job.id or received.event not in FINAL_EVENTS:
            continue
        if received.event.removeprefix("request.") != received.status:
            yield f"{received.webhook_id} told of {received.event} with {received.status}"


JOB_CHECKS: Final = (
    _paid_once,
    _resends_were_approved,
    _ends,
    _is_done_with,
    _cancelled_as_told,
    _lost_with_cause,
    _brings_its_output,
    _billed_truly,
    _fails_for_a_reason,
    _saves_what_was_paid,
    _one_notice,
    _notices_arrive,
    _no_notice_early,
)


def _nothing_left(memory: Memory) -> Iterator[str]:
    """No lease, no doubt, no callback stays for ever."""
    turns = memory.turns
    indexes: dict[str, object] = {
        "due": memory.due,
        "doubted": memory.doubts,
        "to be sent": memory.outbox,
    }
    flights = memory.flights
    indexes |= {
        "followed": {name: those for name, those in flights.followers.items() if those},
        "following": flights.leaders if memory.states[JobState.FOLLOWING] else {},
        "led": {once: held.leader for once, held in flights.inputs.items() if held.leader},
    }
    for name, left in (indexes | {"waiting": turns.waiting, "running": turns.slots}).items():
        if left:
            yield f"left in the index of what is {name}: {left}"


def _counts_agree(memory: Memory) -> Iterator[str]:
    counted = Counter(job.state for job in memory.every_job())
    kept = {state: number for state, number in memory.states.items() if number}
    if kept != counted:
        yield f"states are counted {kept}, and are {counted}"


def _books_agree(memory: Memory) -> Iterator[str]:
    """With everything over, nothing is held, and what was settled is what RunComfy charged."""
    for job in memory.every_job():
        booking = memory.accounts[job.id].booking
        if booking.held or min(booking.settled, booking.released) < 0:
            yield f"{job.id}: the books are open: {booking}"
        if job.cost is not None and booking.settled != job.cost:
            yield f"{job.id}: cost {job.cost}, settled {booking.settled}"


def _nothing_broke(around: Surroundings) -> Iterator[str]:
    """No step and no delivery ended in an exception that nobody expected."""
    for process, event in around.journal.events:
        if isinstance(event, OperationalWarning) and event.error is not None:
            yield f"{process}: {event.code} {event.detail} ({event.job_id})"


def _no_acceptance_lost(around: Surroundings, workers: Sequence[SimulatedWorker]) -> Iterator[str]:
    """An acceptance that reached a process is on record, unless that process died of it."""
    survivors = {worker.life.name for worker in workers if worker.life.alive}
    timelines = around.stores.memory.timelines
    for process, event in around.journal.events:
        if not isinstance(event, SubmitAnswered) or event.upstream_id is None:
            continue
        words = (ENTRIES.read(entry).detail or "" for entry in timelines[event.job_id])
        known = any(event.upstream_id in detail.split() for detail in words)
        if process in survivors and not known:
            yield f"{event.job_id}: {process} was told {event.upstream_id}, no record tells of it"


def _no_doubt_without_cause(memory: Memory) -> Iterator[str]:
    for job_id, timeline in memory.timelines.items():
        if any(ENTRIES.read(entry).state is JobState.IN_DOUBT for entry in timeline):
            yield f"{job_id}: was in doubt although every submit was answered and recorded"


def _entry(around: Surroundings, job: Job) -> Entry | None:
    entries = around.runcomfy.ledger
    return next((entry for entry in entries if entry.upstream_id == job.upstream_id), None)


def _shares(job: Job) -> bool:
    """Whether it has another's result."""
    return job.state is JobState.SUCCEEDED and job.leader is not None


def _payer(around: Surroundings, job: Job) -> Job:
    """Whose work brought the job's result."""
    if not _shares(job):
        return job
    return next(each for each in around.stores.memory.every_job() if each.id == job.leader)


def _own(around: Surroundings, job: Job) -> list[Entry]:
    """What the job answers for: what it submitted and did not hand on, and what it was handed."""
    lines = [ENTRIES.read(entry) for entry in around.stores.memory.timelines[job.id]]
    gone = job.upstream_id if any(line.what == Fact.HANDED_ON for line in lines) else None
    own = [each for each in around.runcomfy.of_job(job.id) if each.upstream_id != gone]
    inherited = _entry(around, job)
    if gone is None and inherited is not None and inherited not in own:
        own.append(inherited)
    return own


def _deliveries(memory: Memory, job: Job) -> list[Delivery]:
    ids = memory.job_deliveries.get(job.id, ())
    return [DELIVERIES.read(memory.deliveries[delivery_id].doc) for delivery_id in ids]
