"""Decides about the archive of a job's outputs: whether it begins, and what an attempt means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from core.archive import (
    GIVE_UP_BEFORE,
    ArchivedOutput,
    ArchiveError,
    ArchiveMode,
    find_outputs,
)
from core.backoff import Backoff
from core.jobs.job import FollowUp, Job, JobRecord, Trigger
from core.retention import RETENTION
from core.tenants.tenant import Tenant
from core.transactions.job_update import Change
from worker.jobs.decisions.transition import annotate, finish, record_transition

ARCHIVED: Final = "archived"
ARCHIVE_DELAYED: Final = "archive_delayed"
ARCHIVE_FAILED: Final = "archive_failed"


@dataclass(frozen=True, slots=True)
class ArchivePolicy:
    """The times of the archive."""

    before_timeout: timedelta = timedelta(minutes=10)
    """How long a job waits for its outputs to be kept before it completes without."""
    backoff: Backoff = Backoff(timedelta(seconds=5), timedelta(minutes=15), jitter=0.2)
    """After an attempt that may succeed later."""
    leader_delay: timedelta = timedelta(seconds=10)
    """When a job checks again whether the job of its result has kept the outputs."""
    cost_delay: timedelta = timedelta(seconds=10)
    """When a cost that was absent is read after a job completed."""
    max_bytes: int = 2**30
    """The largest output that is kept."""


@dataclass(frozen=True, slots=True)
class ArchiveContext:
    """What decisions about the archive need beside the job and the time."""

    policy: ArchivePolicy
    rng: Random


def begin_archive(
    change: Change, output: bytes, mode: ArchiveMode, secret: str, policy: ArchivePolicy
) -> Change:
    """Return a change that brings an output, so that the outputs that it names are kept.

    With `before` a job that RunComfy has just finished does not complete yet. One that has the
    result of another job completes immediately: the outputs are kept already, or after.
    """
    if mode is ArchiveMode.OFF or not find_outputs(output):
        return change
    now = change.after.updated_at
    begun = replace(change.after, archive=mode, archive_due_at=now, link_secret=secret)
    if mode is ArchiveMode.AFTER or change.trigger is not Trigger.COLLECTED:
        return replace(change, after=begun)
    waits_until = now + policy.before_timeout
    if change.before.deadline is not None:
        waits_until = min(waits_until, max(change.before.deadline, now))
    begun = replace(
        begun,
        state=change.before.transition(Trigger.OUTPUT_STORED, now).state,
        finished_at=None,
        next_run_at=waits_until,
    )
    waiting = record_transition(change.before, begun, Trigger.OUTPUT_STORED)
    return replace(waiting, output=output)


def share_outputs(source: Job, now: datetime, tenant: Tenant | None) -> dict[str, Any]:
    """Return the fields of a job that has the outputs of another job of its tenant."""
    return {
        "outputs": source.outputs,
        "link_secret": source.link_secret,
        "archived_at": now,
        "archive_due_at": None,
        "kept_until": kept_until(now, tenant),
    }


def kept_until(now: datetime, tenant: Tenant | None) -> datetime:
    """Return until when outputs that are kept from now on stay at least."""
    if tenant is None:
        return now + RETENTION
    return now + (tenant.keep_outputs or tenant.result_ttl or RETENTION)


def complete_unarchived(record: JobRecord, now: datetime, policy: ArchivePolicy) -> Change:
    """Return the end of a job that has waited long enough: it has RunComfy's links until then."""
    return _complete(record, Trigger.DEADLINE_EXCEEDED, now, policy, {})


def decide_archive(
    record: JobRecord,
    outputs: Sequence[ArchivedOutput],
    now: datetime,
    tenant: Tenant | None,
    context: ArchiveContext,
) -> Change:
    """Decide after an attempt: `outputs` has for each output what became of it."""
    job = record.job
    if not outputs and job.is_final:
        nothing = job.evolve(now, archive=ArchiveMode.OFF, archive_due_at=None)
        return Change(job, nothing)
    settled = all(output.is_settled for output in outputs)
    if not settled and now < job.outputs_deleted_at - GIVE_UP_BEFORE:
        return _try_again(job, outputs, now, context)
    final = tuple(
        output if output.is_settled else replace(output, error=ArchiveError.EXPIRED)
        for output in outputs
    )
    is_kept = any(output.file_id is not None for output in final)
    fields: dict[str, Any] = {"outputs": final, "archive_due_at": None}
    if is_kept:
        fields |= {"archived_at": now, "kept_until": kept_until(now, tenant)}
    if job.is_final:
        event = ARCHIVED if is_kept else ARCHIVE_FAILED
        return annotate(job, event, now, detail=_problems(final), **fields)
    return _complete(record, Trigger.ARCHIVED, now, context.policy, fields)


def decide_fault(record: JobRecord, now: datetime, context: ArchiveContext) -> Change:
    """Decide after an attempt that raised: another follows, as after any other failure."""
    job = record.job
    if now < job.outputs_deleted_at - GIVE_UP_BEFORE:
        return _try_again(job, job.outputs, now, context)
    return decide_archive(record, job.outputs, now, None, context)


def _try_again(
    job: Job, outputs: Sequence[ArchivedOutput], now: datetime, context: ArchiveContext
) -> Change:
    attempts = job.archive_attempts + 1
    delay = context.policy.backoff.delay(attempts, context.rng)
    due_at = min(now + delay, job.outputs_deleted_at - GIVE_UP_BEFORE)
    fields: dict[str, Any] = {
        "outputs": tuple(outputs),
        "archive_attempts": attempts,
        "archive_due_at": due_at,
    }
    # The timeline has a line only where the reason changes: an outage may last for days.
    if _problems(job.outputs) == _problems(outputs):
        return Change(job, job.evolve(now, **fields))
    return annotate(job, ARCHIVE_DELAYED, now, detail=_problems(outputs), **fields)


def _complete(
    record: JobRecord,
    trigger: Trigger,
    now: datetime,
    policy: ArchivePolicy,
    fields: dict[str, Any],
) -> Change:
    job = record.job
    if job.follow_up is FollowUp.READ_COST:
        fields = {"next_run_at": now + policy.cost_delay, **fields}
    problems = _problems(fields.get("outputs", job.outputs))
    done = finish(job, trigger, now, detail=problems, **fields)
    return replace(done, output=record.output)


def _problems(outputs: Sequence[ArchivedOutput]) -> str | None:
    """Return which outputs are not kept, and why."""
    found = [f"{each.field}: {each.error}" for each in outputs if each.error is not None]
    return ", ".join(found) or None
