"""What RunComfy's answers mean for a job that it has: polls, cancels, deadlines, outages."""

from datetime import datetime, timedelta

from core.deduplication.coalescing import RAN_OUT
from core.jobs.job import Billed, CancelOutcome, Errand, Fact, Job, JobError
from worker.jobs.decisions.poll_schedule import next_look
from worker.jobs.decisions.transition import (
    WELL,
    Move,
    Rules,
    Wait,
    by_deadline,
    ended,
    free,
    moved,
    told,
)
from worker.ports import (
    CancelAnswer,
    CancelDone,
    Ended,
    Gone,
    NotCancellable,
    Open,
    StatusAnswer,
    Unreachable,
    UpstreamFault,
)


def run_overdue(job: Job, now: datetime, asked: CancelAnswer) -> Move:
    """The job's time is up while RunComfy has it; `asked` is what RunComfy said to a cancel.

    Unless the cancel was surely in time, the result may still be paid for: it is waited for.
    """
    if isinstance(asked, CancelDone):
        return ended(job, Fact.OUT_OF_TIME, now, error=RAN_OUT, billed=free(job))
    return ended(
        job,
        Fact.OUT_OF_TIME,
        now,
        error=RAN_OUT,
        billed=Billed.UNKNOWN,
        errand=Errand.AWAIT_LATE_RESULT,
        due_at=now,
    )


def cancel_passed_on(job: Job, now: datetime) -> Move:
    """A wish to cancel that came while the submit was on its way is now RunComfy's to answer."""
    after = job.after(
        Fact.CANCEL_ASKED,
        now,
        cancel_asked_at=job.cancel_asked_at or now,
        cancel_outcome=CancelOutcome.REQUESTED,
        due_at=now,
    )
    return moved(after, Fact.CANCEL_ASKED, now)


def polled(job: Job, answer: StatusAnswer, now: datetime, rules: Rules) -> Move | Wait:
    """What a status answer means for a running job."""
    match answer:
        case Open():
            return _still_running(job, answer, now, rules)
        case Ended(word):
            after = job.after(
                Fact.FINISHED, now, upstream_word=word, due_at=now + rules.policy.lease, **WELL
            )
            return moved(after, Fact.FINISHED, now, detail=word)
        case Gone(fault):
            return _gone(job, fault, now, rules)
        case Unreachable(fault, retry_after):
            return _troubled(job, fault, retry_after, now, rules)


def _still_running(job: Job, answer: Open, now: datetime, rules: Rules) -> Move | Wait:
    elapsed = now - (job.running_since or now)
    wait = next_look(elapsed, rules.history(job.model_id), rules.policy, rules.rng)
    due_at = by_deadline(job, now + wait)
    # A word that nobody documented says nothing about the phase: the last known one stands.
    in_progress = answer.in_progress if answer.known else job.upstream_running
    seen = (answer.word, in_progress, answer.queue_position)
    if seen == (job.upstream_word, job.upstream_running, job.queue_position) and not job.trouble:
        return Wait(due_at)
    after = job.after(
        Fact.STILL_RUNNING,
        now,
        upstream_word=answer.word,
        upstream_running=in_progress,
        queue_position=answer.queue_position,
        due_at=due_at,
        **WELL,
    )
    news = job.upstream_word != answer.word or job.trouble is not None
    entry = told(after, answer.word, now) if news else None
    return Move(after=after, entry=entry, fact=Fact.STILL_RUNNING)


def cancel_answered(job: Job, answer: CancelAnswer, now: datetime, rules: Rules) -> Move | Wait:
    """What RunComfy says to a cancel. One whose answer was lost is asked again."""
    match answer:
        case CancelDone():
            return ended(
                job,
                Fact.CANCEL_DONE,
                now,
                billed=free(job),
                cancel_outcome=CancelOutcome.CANCELLED,
            )
        case NotCancellable():
            after = job.after(
                Fact.NOT_CANCELLABLE,
                now,
                cancel_outcome=CancelOutcome.NOT_CANCELLABLE,
                due_at=now,
                **WELL,
            )
            return moved(after, Fact.NOT_CANCELLABLE, now)
        case Gone(fault):
            return _gone(job, fault, now, rules)
        case Unreachable(fault, retry_after):
            return _troubled(job, fault, retry_after, now, rules)


def _gone(job: Job, fault: UpstreamFault, now: datetime, rules: Rules) -> Move | Wait:
    known_for = now - (job.running_since or now)
    missed_for = now - (job.trouble_since or now)
    is_news = job.trouble != fault.kind  # another trouble may have come first
    if is_news:
        return _troubled(job, fault, None, now, rules)
    # Time alone proves nothing: the store may have been away meanwhile, and nobody looked.
    looks = job.tries + 1
    if looks < rules.policy.gone_looks or min(known_for, missed_for) < rules.policy.gone_after:
        due_at = by_deadline(job, now + rules.policy.trouble.wait(missed_for, rules.rng))
        return Move(after=job.noted(now, tries=looks, due_at=due_at), entry=None)
    error = JobError("upstream_lost", "RunComfy no longer knows the request.", fault.code)
    return ended(job, Fact.BROKE, now, fault=fault, error=error, billed=Billed.UNKNOWN)


def _troubled(
    job: Job, fault: UpstreamFault, retry_after: timedelta | None, now: datetime, rules: Rules
) -> Move | Wait:
    """An outage is shown on the job once, when it starts or changes; then it is only waited out."""
    since = job.trouble_since or now
    wait = max(rules.policy.trouble.wait(now - since, rules.rng), retry_after or timedelta())
    due_at = by_deadline(job, now + wait)
    if job.trouble == fault.kind:
        return Wait(due_at)
    after = job.noted(now, trouble=fault.kind, trouble_since=since, due_at=due_at)
    return Move(after=after, entry=told(after, fault.kind, now, fault=fault))
