"""Which step of a job calls for a callback, and to whom."""

from __future__ import annotations

from random import Random

import pytest

from core.deliveries import DeliveryState, EventType
from core.jobs import Job, JobState
from core.notices import may_notify, notices
from tests.builders import NOW, SECOND, job
from tests.fakes.ids import SeededIds

S = JobState
LATER = NOW + SECOND
OWN, DEFAULT = "https://own.example/", "https://default.example/"
QUEUED, RUNNING = job(S.QUEUED), job(S.RUNNING, upstream_running=True)

STEPS: dict[str, tuple[Job, Job, bool, EventType | None]] = {
    "an end": (RUNNING, job(S.SUCCEEDED), False, EventType.COMPLETED),
    "a failure": (RUNNING, job(S.FAILED), False, EventType.FAILED),
    "out of time": (QUEUED, job(S.EXPIRED), False, EventType.FAILED),
    "a cancel": (QUEUED, job(S.CANCELLED), False, EventType.CANCELLED),
    "an end, when all are asked for": (RUNNING, job(S.SUCCEEDED), True, EventType.COMPLETED),
    "it runs": (job(S.RUNNING), RUNNING, True, EventType.IN_PROGRESS),
    "it runs, not asked for": (job(S.RUNNING), RUNNING, False, None),
    "back in RunComfy's queue": (RUNNING, job(S.RUNNING), True, EventType.IN_QUEUE),
    "a step that callers do not see": (QUEUED, job(S.SUBMITTING), True, None),
    "another such": (job(S.SUBMITTING), job(S.IN_DOUBT), True, None),
    "a cost read after the end": (job(S.SUCCEEDED), job(S.SUCCEEDED), True, None),
    "a late result": (job(S.EXPIRED), job(S.EXPIRED), False, None),
}


@pytest.mark.parametrize(("before", "after", "asked", "event"), STEPS.values(), ids=STEPS.keys())
def test_what_calls_for_a_callback(
    before: Job, after: Job, *, asked: bool, event: EventType | None
) -> None:
    after = job(after.state, upstream_running=after.upstream_running, webhook_intermediate=asked)
    found = notices(before, after, DEFAULT, SeededIds(Random(1)), LATER)
    assert [notice.event for notice in found] == ([event] if event else [])
    assert may_notify(before, after) is bool(found)


@pytest.mark.parametrize(
    ("own", "default", "url"),
    [(OWN, DEFAULT, OWN), (OWN, None, OWN), (None, DEFAULT, DEFAULT), (None, None, None)],
)
def test_the_jobs_own_address_goes_before_the_tenants(
    own: str | None, default: str | None, url: str | None
) -> None:
    after = job(S.SUCCEEDED, webhook=own)
    found = notices(RUNNING, after, default, SeededIds(Random(1)), LATER)
    assert [notice.url for notice in found] == ([url] if url else [])
    assert may_notify(RUNNING, after) is (own is None)


def test_a_notice_is_due_at_once_and_new() -> None:
    (notice,) = notices(RUNNING, job(S.SUCCEEDED), DEFAULT, SeededIds(Random(1)), LATER)
    assert (notice.created_at, notice.due_at) == (LATER, LATER)
    assert (notice.state, notice.attempts, notice.version) == (DeliveryState.PENDING, 0, 1)
    assert (notice.job_id, notice.tenant) == ("req_1", "video-team")
    assert notice.id.startswith("msg_")
