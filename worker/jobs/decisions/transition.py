"""What a decision is, and the small steps that the decisions share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from core.jobs.job import Billed, Errand, Fact, Job
from core.jobs.run_times import RunHistory
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from worker.jobs.policies import LifecyclePolicy
from worker.ports import UpstreamFault

SOURCE_RUNCOMFY = "runcomfy"


@dataclass(frozen=True, slots=True)
class Move:
    """The next record, what moved it (None: only a field changed), and what goes with it."""

    after: Job
    entry: TimelineEntry | None
    fact: Fact | None = None
    output: bytes | None = None
    instead_of: str | None = None
    """See `core.transactions.job_update.Change`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing changed: look again at `due_at`."""

    due_at: datetime


HistoryOf = Callable[[str], RunHistory]


def _unknown(_: str) -> RunHistory:
    return RunHistory()


@dataclass(frozen=True, slots=True)
class Rules:
    """What every decision needs beside the job and the answer."""

    policy: LifecyclePolicy
    rng: Random
    history: HistoryOf = _unknown
    """How long the last runs of a model took."""


WELL: Mapping[str, Any] = {"trouble": None, "trouble_since": None, "tries": 0}
"""The fields of a job about which RunComfy gives usable answers."""


def by_deadline(job: Job, due_at: datetime) -> datetime:
    """`due_at`, but no later than the job's own end of time."""
    return due_at if job.finish_by is None else min(due_at, job.finish_by)


def priced(billed: Billed, cost: MicroUsd | None) -> dict[str, Any]:
    """The fields of the record that tell what was charged, and who says so."""
    source = None if cost is None else SOURCE_RUNCOMFY
    return {"billed": billed, "cost": cost, "cost_source": source}


def free(job: Job) -> Billed:
    """What is known of money when this submit cost nothing: an earlier one in doubt may have."""
    return Billed.UNKNOWN if job.resends_approved else Billed.NO


def billed_by(job: Job, cost: MicroUsd | None) -> Billed:
    """What a failed job's cost says; RunComfy tells no other way."""
    if cost is None:
        return Billed.UNKNOWN
    return Billed.YES if cost > 0 else free(job)


def cost_errand(cost: MicroUsd | None, now: datetime, rules: Rules) -> dict[str, Any]:
    """The fields that send somebody to read a cost that RunComfy has not told yet."""
    if cost is not None:
        return {}
    return {"errand": Errand.READ_COST, "due_at": now + rules.policy.cost_reads[0], "tries": 0}


def ended(
    job: Job,
    fact: Fact,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
    **changes: Any,  # noqa: ANN401 - fields of the record
) -> Move:
    """A move to a final state."""
    changes = {"due_at": None, "finished_at": now, "queue_position": None} | changes
    return moved(job.after(fact, now, **changes), fact, now, fault=fault, detail=detail)


def moved(
    after: Job,
    fact: Fact,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
) -> Move:
    """A move by a fact, with its line in the timeline."""
    note = Note.UPSTREAM if fault is not None else Note.MOVED
    entry = TimelineEntry(
        at=now,
        note=note,
        what=fact,
        state=after.state,
        detail=detail if fault is None else f"{fault.kind}: {fault.message}",
        http_status=fault.http_status if fault else None,
        status=after.unspoken,
    )
    return Move(after=after, entry=entry, fact=fact)


def told(
    after: Job,
    what: str,
    now: datetime,
    *,
    fault: UpstreamFault | None = None,
    detail: str | None = None,
) -> TimelineEntry:
    """A line in the timeline about something RunComfy said that moved no state."""
    return TimelineEntry(
        at=now,
        note=Note.UPSTREAM,
        what=what,
        state=after.state,
        detail=detail or (fault.message if fault else None),
        http_status=fault.http_status if fault else None,
        status=after.unspoken,
    )
