"""What is still learnt about a job that has ended: its cost, a result that came late."""

from datetime import datetime

import orjson

from core.jobs.job import Billed, Errand, Job
from worker.jobs.decisions.transition import (
    Move,
    Rules,
    Wait,
    billed_by,
    cost_errand,
    free,
    priced,
    told,
)
from worker.ports import Cancelled, Completed, Failed, Gone, Open, ResultAnswer, Unreachable


def notified(job: Job, now: datetime) -> Move:
    """The callbacks of a job that was finished when it came are written with this step."""
    return Move(after=job.noted(now, errand=None, due_at=None), entry=None)


def cost_read(job: Job, answer: ResultAnswer, now: datetime, rules: Rules) -> Move:
    """What a later look at the result says about a cost that was absent at the end."""
    if isinstance(answer, Completed | Failed | Cancelled) and answer.cost is not None:
        billed = Billed.YES if isinstance(answer, Completed) else billed_by(job, answer.cost)
        after = job.noted(now, errand=None, due_at=None, tries=0, **priced(billed, answer.cost))
        return Move(after=after, entry=told(after, "cost_read", now))
    tries = job.tries + 1
    waits = rules.policy.cost_reads
    if tries >= len(waits):
        after = job.noted(now, errand=None, due_at=None, tries=tries)
        return Move(after=after, entry=told(after, "cost_unknown", now))
    return Move(after=job.noted(now, tries=tries, due_at=now + waits[tries]), entry=None)


def late_result(job: Job, answer: ResultAnswer, now: datetime, rules: Rules) -> Move | Wait:
    """What a look after the end says about a result that may still come, paid for as it is."""
    match answer:
        case Completed(output, cost, times):
            after = job.noted(
                now,
                late=True,
                upstream_finished_at=times.finished_at,
                **({"errand": None, "due_at": None} | cost_errand(cost, now, rules)),
                **priced(Billed.YES, cost),
            )
            entry = told(after, "late_result", now)
            return Move(after=after, entry=entry, output=orjson.dumps(output))
        case Failed(fault, cost, _):
            after = job.noted(now, errand=None, due_at=None, **priced(billed_by(job, cost), cost))
            return Move(after=after, entry=told(after, "late_failure", now, fault=fault))
        case Cancelled(cost, _):
            billed = Billed.YES if cost else free(job)
            after = job.noted(now, errand=None, due_at=None, **priced(billed, cost))
            return Move(after=after, entry=told(after, "late_cancel", now))
        case Open() | Gone() | Unreachable():
            waited = now - (job.finished_at or now)
            if waited < rules.policy.late_for:
                return Wait(now + rules.policy.late_watch.wait(waited, rules.rng))
            after = job.noted(now, errand=None, due_at=None)
            return Move(after=after, entry=told(after, "late_watch_ended", now))


def orphaned(job: Job, upstream_id: str, now: datetime) -> Move:
    """RunComfy accepted a submit that the job can no longer take: its id is kept in the timeline.

    When the job ended without any (its doubt was given up), what it brings is waited for.
    """
    if not job.final or job.upstream_id is not None:
        after = job.noted(now)
    else:
        after = job.noted(
            now,
            upstream_id=upstream_id,
            errand=Errand.AWAIT_LATE_RESULT,
            due_at=now,
            billed=Billed.UNKNOWN,
        )
    return Move(after=after, entry=told(after, "second_acceptance", now, detail=upstream_id))
