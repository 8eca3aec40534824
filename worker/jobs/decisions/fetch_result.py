"""What the result call means for a job that RunComfy calls finished."""

from datetime import datetime, timedelta
from typing import Any

import orjson

from core.jobs.job import Billed, CancelOutcome, Errand, Fact, Job, JobError
from core.money import MicroUsd
from worker.jobs.decisions.transition import (
    WELL,
    Move,
    Rules,
    Wait,
    billed_by,
    cost_errand,
    ended,
    free,
    moved,
    priced,
)
from worker.ports import (
    Cancelled,
    Completed,
    Failed,
    Gone,
    Open,
    ResultAnswer,
    Times,
    Unreachable,
    UpstreamFault,
)


def collected(job: Job, answer: ResultAnswer, now: datetime, rules: Rules) -> Move | Wait:
    """What the result call means for a job that RunComfy calls finished.

    The result is the truth.
    """
    match answer:
        case Completed(output, cost, times):
            ending = _ending(Billed.YES, cost, times) | cost_errand(cost, now, rules)
            move = ended(job, Fact.COLLECTED, now, **ending)
            return Move(move.after, move.entry, move.fact, output=orjson.dumps(output))
        case Failed(fault, cost, times):
            error = JobError(_failure_code(fault), fault.message, fault.code)
            ending = _ending(billed_by(job, cost), cost, times) | cost_errand(cost, now, rules)
            return ended(job, Fact.BROKE, now, fault=fault, error=error, **ending)
        case Cancelled(cost, times):
            ending = _ending(Billed.YES if cost else free(job), cost, times)
            done = CancelOutcome.CANCELLED
            return ended(job, Fact.CANCEL_DONE, now, cancel_outcome=done, **ending)
        case Open(_, word):
            fault = UpstreamFault("disagree", f"The result still says {word}.")
            return _collect_again(job, fault, None, now, rules)
        case Gone(fault):
            return _collect_again(job, fault, None, now, rules)
        case Unreachable(fault, retry_after):
            return _collect_again(job, fault, retry_after, now, rules)


def _ending(billed: Billed, cost: MicroUsd | None, times: Times) -> dict[str, Any]:
    return {**WELL, **priced(billed, cost), "upstream_finished_at": times.finished_at}


def _collect_again(
    job: Job, fault: UpstreamFault, retry_after: timedelta | None, now: datetime, rules: Rules
) -> Move | Wait:
    since = job.trouble_since or now
    if now - since >= rules.policy.collect_for:
        error = JobError("result_unavailable", "RunComfy finished, but its result stays away.")
        return ended(
            job,
            Fact.GAVE_UP,
            now,
            fault=fault,
            error=error,
            billed=Billed.UNKNOWN,
            errand=Errand.AWAIT_LATE_RESULT,
            due_at=now + rules.policy.late_watch.most,
        )
    wait = max(rules.policy.trouble.wait(now - since, rules.rng), retry_after or timedelta())
    if job.trouble == fault.kind:
        return Wait(now + wait)
    after = job.after(
        Fact.RETRY_COLLECT, now, trouble=fault.kind, trouble_since=since, due_at=now + wait
    )
    return moved(after, Fact.RETRY_COLLECT, now, fault=fault)


def _failure_code(fault: UpstreamFault) -> str:
    return "no_output" if fault.kind == "no_output" else "upstream_failed"
