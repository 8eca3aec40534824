"""Teaches a store that went back what the journal knows, job by job.

What a job's entries mean is decided in `core.journal.reconciliation`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from core.clock import Clock
from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.journal.journal import Journal
from core.journal.reconciliation import (
    Difference,
    Remembered,
    compare,
    last_accepted,
    may_be_paid,
    remembered,
)
from core.journal.records import Attempt, JournalAnswer, JournalEntry, Outcome, job_id_of
from core.store.stores import Stores
from core.transactions.restoration import Restoration
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.decisions import submit
from worker.jobs.decisions.transition import cap_at_deadline
from worker.jobs.paid_submit import UNANSWERED
from worker.ports import Accepted, UpstreamFault

COMPARED_TOGETHER: Final = 32
"""So many jobs are compared at a time: to read an answer from a bucket takes tens of milliseconds,
and no submit leaves before thousands were read."""
RESTORED: Final = "restored"
"""The timeline's word for a job that was stored again."""


FORGOTTEN: Final = UpstreamFault(
    "store_restored",
    "Redis was restored from a copy, and no journal is as new: it may have been sent and billed.",
)


_Submits: TypeAlias = tuple[str, tuple[Attempt, ...]]
"""A job's submits, by `attempts_prefix`."""


class StoreUnmarked(Exception):
    """A store that is not marked as gone back has forgotten something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the store lacked of one job, or lacks still after a dry run."""

    job_id: str
    difference: Difference
    detail: str
    is_resolved: bool = True
    """False: nothing can be done, because the entry cannot be read."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a comparison depends on: claims that are not forgotten, and as in `Reconciler.run`."""

    held: Remembered
    dry_run: bool
    is_copy: bool


class Reconciler:
    """Compares the journal with the store. Repeating it changes nothing."""

    def __init__(
        self,
        stores: Stores,
        journal: Journal,
        answers: AnswerWriter,
        clock: Clock,
        doubt_hold: timedelta,
    ) -> None:
        """`answers` applies the answers that the journal has.

        A restored job in doubt waits for an operator for `doubt_hold`.
        """
        self._jobs = stores.jobs
        self._batches = stores.batches
        self._identity = stores.identity
        self._journal = journal
        self._answers = answers
        self._clock = clock
        self._doubt_hold = doubt_hold

    async def run(
        self,
        since: datetime,
        doubt_until: datetime | None = None,
        *,
        dry_run: bool = False,
        is_copy: bool = False,
    ) -> Sequence[Finding]:
        """Compare all entries that were written since then. Returns what the store lacked.

        `since`: as `compare_since` returns it. A job that is queued then, and was admitted until
        `doubt_until`, may have been submitted without an entry: it is in doubt. `is_copy`: the
        journal was restored from a copy, and may lack later submits of a job that is stored again.
        Raises `JournalUnavailable`, `StoreUnavailable`, and `StoreUnmarked`; then some jobs were
        not compared.
        """
        found, listed = [], await self._journal.list_jobs_since(since)
        claims = await self._identity.list_claims()
        rules = _Rules(remembered(claims), dry_run, is_copy)
        # First what may be paid: of a request and its repetition it is the one that is kept.
        ordered = sorted(listed.items(), key=lambda each: not may_be_paid(each[1]))
        for prefix, attempts in await self._different(ordered):
            finding = await self._reconcile(prefix, attempts, rules)
            if finding is not None:
                found.append(finding)
        if doubt_until is not None:
            found += await self._doubt_queued(doubt_until, dry_run=dry_run)
        if claims and not dry_run and claims[-1] not in await self._identity.list_claims():
            raise StoreUnmarked  # it went back since: what it had is not what it has
        return found

    async def has_forgotten(self, since: datetime) -> bool:
        """Return whether the store lacks a job that was admitted and submitted since then.

        `since`: as `compare_since` returns it. Changes nothing. Raises `JournalUnavailable` and
        `StoreUnavailable`.
        """
        listed = await self._journal.list_jobs_since(since, timedelta(0))
        held = remembered(await self._identity.list_claims())
        unknown = [each for each in listed.items() if not held.includes(job_id_of(each[0]), None)]
        for first in range(0, len(unknown), COMPARED_TOGETHER):
            part = unknown[first : first + COMPARED_TOGETHER]
            if any(await asyncio.gather(*(self._is_forgotten(*each, held) for each in part))):
                return True
        return False

    async def _is_forgotten(
        self, prefix: str, attempts: Sequence[Attempt], held: Remembered
    ) -> bool:
        """Return whether a submitted job is forgotten, or that it no longer follows another."""
        record = await self._jobs.load(job_id_of(prefix))
        if record is not None and record.job.state is not JobState.FOLLOWING:
            return False
        entry = await self._journal.read_entry(prefix, attempts[-1].number)
        return not held.includes(job_id_of(prefix), None if entry is None else entry.job.sent_at)

    async def _doubt_queued(self, until: datetime, *, dry_run: bool) -> Sequence[Finding]:
        found, listed = [], await self._jobs.list_unsubmitted()
        for job in listed:
            if job.state is not JobState.QUEUED or job.created_at > until:
                continue
            if job.resends_approved and await self._is_resent(job, until):
                continue
            if not dry_run:
                await self._answers.record_unanswered(job, FORGOTTEN)
            found.append(Finding(job.id, Difference.DOUBT, job.state))
        return found

    async def _is_resent(self, job: Job, until: datetime) -> bool:
        """Return whether the doubt of a job was resolved already: by a resend, since `until`."""
        view = await self._jobs.load_view(job.id)
        lines = () if view is None else view.timeline
        return any(line.code == Trigger.RESEND_APPROVED and line.at > until for line in lines)

    async def _different(self, jobs: Sequence[_Submits]) -> Sequence[_Submits]:
        """Return those jobs of which the store lacks something."""
        found: list[_Submits] = []
        for first in range(0, len(jobs), COMPARED_TOGETHER):
            part = jobs[first : first + COMPARED_TOGETHER]
            compared = await asyncio.gather(*(self._compare(*each) for each in part))
            differences = [difference for _, _, difference in compared]
            found += [
                job
                for job, difference in zip(part, differences, strict=True)
                if difference is not Difference.AGREES
            ]
        return found

    async def _compare(
        self, prefix: str, attempts: Sequence[Attempt]
    ) -> tuple[Job | None, str | None, Difference]:
        """Return the job, RunComfy's id of its last accepted submit, and how they differ."""
        record, answer = (
            await self._jobs.load(job_id_of(prefix)),
            await self._accepted(prefix, attempts),
        )
        job = None if record is None else record.job
        accepted_id = None if answer is None else answer.upstream_id
        return job, accepted_id, compare(job, attempts, accepted_id)

    async def _reconcile(
        self, prefix: str, attempts: Sequence[Attempt], rules: _Rules
    ) -> Finding | None:
        job_id = job_id_of(prefix)
        job, accepted_id, difference = await self._compare(prefix, attempts)
        match difference:
            case Difference.AGREES:
                return None
            case Difference.RESTORE:
                return await self._restore(prefix, attempts, accepted_id, job, rules)
            case Difference.DOUBT if job is not None:
                return await self._doubt(job, dry_run=rules.dry_run)
            case Difference.SECOND_ACCEPTANCE if await self._is_noted(job_id, accepted_id):
                return None
        if job is not None and accepted_id is not None and not rules.dry_run:
            await self._answers.apply(job, Accepted(accepted_id))
        return Finding(job_id, difference, accepted_id or "")

    async def _doubt(self, job: Job, *, dry_run: bool) -> Finding | None:
        # The answer may have been written after the entries were listed, but before the record.
        attempts = await self._journal.list_attempts(job)
        if compare(job, attempts, None) is not Difference.DOUBT:
            return None
        if not dry_run:
            await self._answers.record_unanswered(job, UNANSWERED)
        return Finding(job.id, Difference.DOUBT, job.state)

    async def _accepted(self, prefix: str, attempts: Sequence[Attempt]) -> JournalAnswer | None:
        number = last_accepted(attempts)
        if number is None:
            return None
        return await self._journal.read_answer(prefix, number, Outcome.ACCEPTED)

    async def _is_noted(self, job_id: str, upstream_id: str | None) -> bool:
        """Return whether the job's timeline has the id already."""
        view = await self._jobs.load_view(job_id)
        lines = () if view is None else view.timeline
        return any(upstream_id in (line.detail or "").split() for line in lines)

    async def _restore(
        self,
        prefix: str,
        attempts: Sequence[Attempt],
        accepted_id: str | None,
        follower: Job | None,
        rules: _Rules,
    ) -> Finding | None:
        job_id = job_id_of(prefix)
        entry = await self._journal.read_entry(prefix, attempts[-1].number)
        claimed_at = None if entry is None else entry.job.sent_at
        if follower is None and rules.held.includes(job_id, claimed_at):
            return None
        if entry is None:
            return Finding(
                job_id, Difference.RESTORE, "the entry cannot be read", is_resolved=False
            )
        is_unclear = _is_unclear(attempts, is_copy=rules.is_copy)
        now, hold = self._clock.now(), self._doubt_hold
        restoration = restored(entry, accepted_id, now, hold, is_unclear=is_unclear)
        if follower is not None:
            job = replace(restoration.job, batch=follower.batch)
            restoration = replace(restoration, job=job, follower=follower)
        is_free = not may_be_paid(attempts)
        if not rules.dry_run and not await self._store(restoration, is_free=is_free):
            return None
        return Finding(job_id, Difference.RESTORE, restoration.job.state)

    async def _store(self, restoration: Restoration, *, is_free: bool) -> bool:
        """Store a job again; a repetition of its request is not submitted beside it.

        Callers repeat requests as soon as the store is back, which has forgotten their keys. No
        submit leaves before the comparison has ended, but from a worker that had not seen what was
        forgotten: returns False for a job that is free if its repetition was submitted.
        """
        first = restoration.job
        while (again := await self._restore_or_repetition(restoration)) is not None:
            job = submit.repetition_of(first, await self._jobs_of(again))
            if is_free and (job is None or may_be_paid(await self._journal.list_attempts(job))):
                return False
            if job is not None:
                await self._end_repetition(job, first.id)
            ended = () if job is None else (job.id,)
            restoration = replace(restoration, settled_repetition=again, settled_jobs=ended)
        return True

    async def _restore_or_repetition(self, restoration: Restoration) -> str | None:
        result = await self._jobs.restore(restoration)
        if not result.is_marked:
            raise StoreUnmarked
        return result.repetition

    async def _jobs_of(self, admitted: str) -> Sequence[Job]:
        """Return the job of this id, or the jobs of the batch."""
        record = await self._jobs.load(admitted)
        return await self._batches.list_jobs(admitted) if record is None else [record.job]

    async def _end_repetition(self, job: Job, first: str) -> None:
        while job.state in submit.UNSENT and not await self._answers.end_repetition(job, first):
            record = await self._jobs.load(job.id)
            if record is None:
                return
            job = record.job


def _is_unclear(attempts: Sequence[Attempt], *, is_copy: bool) -> bool:
    """Return whether a job without an accepted submit may have been paid for.

    Of one without an answer it is not known; a copy of the journal may lack a later one.
    """
    may_lack_submit = is_copy and attempts[-1].outcome is Outcome.NOT_SENT
    return may_lack_submit or any(attempt.outcome is None for attempt in attempts)


def restored(
    entry: JournalEntry,
    accepted_id: str | None,
    now: datetime,
    doubt_hold: timedelta,
    *,
    is_unclear: bool,
) -> Restoration:
    """Return the job of an entry as the store gets it again.

    Accepted: it is polled. Unclear: it is in doubt. Otherwise it is queued: its claim finds
    RunComfy's refusal in the journal, or sends it again.
    """
    claimed = entry.job
    if accepted_id is not None:
        job = claimed.accept(accepted_id, now, now)
    elif is_unclear:
        job = claimed.evolve(
            now,
            state=JobState.IN_DOUBT,
            in_doubt_since=now,
            next_run_at=cap_at_deadline(claimed, now + doubt_hold),
            billed=BillingStatus.UNKNOWN,
        )
    else:
        job = claimed.evolve(
            now, state=JobState.QUEUED, attempts=claimed.attempts - 1, sent_at=None, next_run_at=now
        )
    # What shared its result, or counted it, is forgotten: a leader, followers, its batch.
    job = replace(job, leader=None, batch=None)
    line = TimelineEntry(
        at=now,
        kind=TimelineKind.TRANSITION,
        code=RESTORED,
        state=job.state,
        detail=accepted_id,
        status=job.status_override,
    )
    return Restoration(job, line, entry.submission, claimed.batch)
