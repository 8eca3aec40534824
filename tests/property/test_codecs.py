from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.jobs.job import BillingStatus, CancelOutcome, FollowUp, Job, JobError, JobState
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.store.codecs import JOB_CODEC, TIMELINE_ENTRY_CODEC

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

INSTANTS = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 - Hypothesis wants naive bounds
    datetime(2100, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)

COUNTS = st.integers(0, 2**53)

MAYBE_TEXT, MAYBE_INSTANT = st.none() | TEXT, st.none() | INSTANTS

JOB_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": TEXT,
    "tenant": TEXT,
    "model_id": TEXT,
    "fingerprint": TEXT,
    "created_at": INSTANTS,
    "updated_at": INSTANTS,
    "state": st.sampled_from(JobState),
    "version": st.integers(1, 2**40),
    "next_run_at": MAYBE_INSTANT,
    "start_deadline": MAYBE_INSTANT,
    "deadline": MAYBE_INSTANT,
    "reference": MAYBE_TEXT,
    "webhook": MAYBE_TEXT,
    "webhook_intermediate": st.booleans(),
    "estimate": st.none() | COUNTS,
    "attempts": COUNTS,
    "upstream_id": MAYBE_TEXT,
    "upstream_error": MAYBE_TEXT,
    "cancel_outcome": st.none() | st.sampled_from(CancelOutcome),
    "error": st.none() | st.builds(JobError, TEXT, TEXT, MAYBE_TEXT),
    "billed": st.sampled_from(BillingStatus),
    "cost": st.none() | COUNTS,
    "follow_up": st.none() | st.sampled_from(FollowUp),
}

ENTRY_VALUES = st.builds(
    TimelineEntry,
    at=INSTANTS,
    kind=st.sampled_from(TimelineKind),
    code=TEXT,
    state=st.sampled_from(JobState),
    detail=MAYBE_TEXT,
    http_status=st.none() | st.integers(100, 599),
    count=st.none() | COUNTS,
)


@given(st.builds(Job, **JOB_FIELDS))
def test_any_job_is_read_as_it_was_written(written: Job) -> None:
    assert JOB_CODEC.decode(JOB_CODEC.encode(written)) == written


@given(ENTRY_VALUES)
def test_any_line_of_a_timeline_is_read_as_it_was_written(written: TimelineEntry) -> None:
    assert TIMELINE_ENTRY_CODEC.decode(TIMELINE_ENTRY_CODEC.encode(written)) == written
