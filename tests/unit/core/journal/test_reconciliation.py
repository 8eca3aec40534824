"""What a store that went back lacks of a job's entries."""

import pytest

from core.jobs.job import BillingStatus, Job, JobState
from core.journal.reconciliation import Difference, compare
from core.journal.records import Attempt, Outcome
from tests.support.records import job

S, V = JobState, Difference
NONE = (Attempt(1),)
ACCEPTED = (Attempt(1, Outcome.ACCEPTED),)
REJECTED = (Attempt(1, Outcome.REJECTED),)
NOT_SENT = (Attempt(1, Outcome.NOT_SENT),)

CASES: dict[str, tuple[Job | None, tuple[Attempt, ...], str | None, Difference]] = {
    "no entry": (job(), (), None, V.AGREES),
    "gone, accepted": (None, ACCEPTED, "up-1", V.RESTORE),
    "gone, no answer": (None, NONE, None, V.RESTORE),
    "gone, refused": (None, REJECTED, None, V.RESTORE),
    "gone, not sent": (None, NOT_SENT, None, V.RESTORE),
    "queued, accepted": (job(S.QUEUED), ACCEPTED, "up-1", V.ATTACH),
    "queued, no answer": (job(S.QUEUED), NONE, None, V.DOUBT),
    "queued, no answer, resend approved": (
        job(S.QUEUED, resends_approved=1),
        NONE,
        None,
        V.AGREES,
    ),
    "queued, an acceptance that cannot be read": (job(S.QUEUED), ACCEPTED, None, V.DOUBT),
    "queued, not sent": (job(S.QUEUED), NOT_SENT, None, V.AGREES),
    "queued, refused": (job(S.QUEUED), REJECTED, None, V.AGREES),
    "submitting, accepted": (job(S.SUBMITTING), ACCEPTED, "up-1", V.ATTACH),
    "submitting, no answer": (job(S.SUBMITTING), NONE, None, V.AGREES),
    "in doubt, accepted": (job(S.IN_DOUBT), ACCEPTED, "up-1", V.ATTACH),
    "in doubt, no answer": (job(S.IN_DOUBT), NONE, None, V.AGREES),
    "running, the same id": (job(S.RUNNING, upstream_id="up-1"), ACCEPTED, "up-1", V.AGREES),
    "running, another id": (
        job(S.RUNNING, upstream_id="up-0"),
        ACCEPTED,
        "up-1",
        V.SECOND_ACCEPTANCE,
    ),
    "running, no answer": (job(S.RUNNING, upstream_id="up-1"), NONE, None, V.AGREES),
    "ended, the same id": (job(S.SUCCEEDED, upstream_id="up-1"), ACCEPTED, "up-1", V.AGREES),
    "ended without an id, accepted": (
        job(S.CANCELLED, upstream_id=None),
        ACCEPTED,
        "up-1",
        V.SECOND_ACCEPTANCE,
    ),
    "ended as free, no answer": (
        job(S.CANCELLED, upstream_id=None, billed=BillingStatus.NO),
        NONE,
        None,
        V.DOUBT,
    ),
    "ended, billed unknown, no answer": (
        job(S.FAILED, upstream_id=None, billed=BillingStatus.UNKNOWN),
        NONE,
        None,
        V.AGREES,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_store_lacks(case: str) -> None:
    record, attempts, accepted_id, expected = CASES[case]
    assert compare(record, attempts, accepted_id) is expected
