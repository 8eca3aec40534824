"""Decides what a store that went back must learn from the journal. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.jobs.job import BillingStatus, Job, JobState, Trigger
from core.journal.records import Attempt, Outcome
from core.store.identity import KEPT_CLAIMS, claim_time, claimed_job, is_of_restored


class Difference(StrEnum):
    """What the store lacks of one job's entries."""

    AGREES = "agrees"
    """Nothing; or what it lacks is found when the job is claimed, before anything is sent."""
    ATTACH = "attach"
    """RunComfy has accepted a submit that the record does not know of."""
    SECOND_ACCEPTANCE = "second_acceptance"
    """As `ATTACH`, and the record has another RunComfy id, or has ended."""
    DOUBT = "doubt"
    """A submit without an answer, for a record by which nothing was paid for."""
    RESTORE = "restore"
    """The job, or that it no longer follows another: it was promoted, and submitted."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Claims that a store has not forgotten: if their job is gone, it was deleted or has expired.

    `jobs`: those of its log. `until`: the log no longer covers what was claimed before; what a
    store that goes back forgets is later. None: it covers all, or only jobs that were restored.
    """

    jobs: Collection[str]
    until: datetime | None = None

    def includes(self, job_id: str, claimed_at: datetime | None) -> bool:
        """Return whether a claim is one of them; `claimed_at` is None if that is unknown."""
        if job_id in self.jobs:
            return True
        return claimed_at is not None and self.until is not None and claimed_at < self.until


def remembered(claims: Sequence[str]) -> Remembered:
    """Return what a store with this log of claims has not forgotten."""
    own = [claim_time(claim) for claim in claims if not is_of_restored(claim)]
    is_full = len(claims) >= KEPT_CLAIMS
    # Thousands may be restored, in any order: what is still missing may be older than these.
    return Remembered(set(map(claimed_job, claims)), min(own) if is_full and own else None)


def compare(job: Job | None, attempts: Sequence[Attempt], accepted_id: str | None) -> Difference:
    """Compare a job's record (None: it is gone) with its entries.

    `accepted_id` is RunComfy's id of the last accepted submit. A refusal needs no change of the
    record: a queued job finds it when it is claimed.
    """
    if job is None:
        return Difference.RESTORE if attempts else Difference.AGREES
    if job.state is JobState.FOLLOWING:
        return Difference.RESTORE if may_be_paid(attempts) else Difference.AGREES
    if accepted_id is None:
        is_unknown = _is_free_by_record(job, attempts)
        return Difference.DOUBT if is_unknown else Difference.AGREES
    if job.upstream_id == accepted_id:
        return Difference.AGREES
    return Difference.ATTACH if job.can(Trigger.ACCEPTED) else Difference.SECOND_ACCEPTANCE


def _is_free_by_record(job: Job, attempts: Sequence[Attempt]) -> bool:
    """Return whether a submit may have been paid for that neither state nor bill show.

    A submitting job finds it when its lease ends. One that is queued may be cancelled before it is
    claimed, and would end as free. An acceptance that cannot be read has no answer either.
    """
    if len(may_be_paid(attempts)) <= job.resends_approved:
        return False
    is_free = job.billed is BillingStatus.NO and job.upstream_id is None
    return job.state is JobState.QUEUED or (job.is_final and is_free)


def may_be_paid(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Return the submits that were accepted, or got no answer."""
    return [each for each in attempts if each.outcome in {None, Outcome.ACCEPTED}]


def last_accepted(attempts: Sequence[Attempt]) -> int | None:
    """Return the number of the last accepted submit."""
    accepted = [each.number for each in attempts if each.outcome is Outcome.ACCEPTED]
    return accepted[-1] if accepted else None
