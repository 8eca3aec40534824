from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.jobs.job import Billed, CancelOutcome, Errand, Job, JobError, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.store.codecs import ENTRIES, JOBS

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
    "due_at": MAYBE_INSTANT,
    "start_by": MAYBE_INSTANT,
    "finish_by": MAYBE_INSTANT,
    "reference": MAYBE_TEXT,
    "webhook": MAYBE_TEXT,
    "webhook_intermediate": st.booleans(),
    "estimate": st.none() | COUNTS,
    "attempts": COUNTS,
    "upstream_id": MAYBE_TEXT,
    "trouble": MAYBE_TEXT,
    "cancel_outcome": st.none() | st.sampled_from(CancelOutcome),
    "error": st.none() | st.builds(JobError, TEXT, TEXT, MAYBE_TEXT),
    "billed": st.sampled_from(Billed),
    "cost": st.none() | COUNTS,
    "errand": st.none() | st.sampled_from(Errand),
}

ENTRY_VALUES = st.builds(
    TimelineEntry,
    at=INSTANTS,
    note=st.sampled_from(Note),
    what=TEXT,
    state=st.sampled_from(JobState),
    detail=MAYBE_TEXT,
    http_status=st.none() | st.integers(100, 599),
    count=st.none() | COUNTS,
)


@given(st.builds(Job, **JOB_FIELDS))
def test_any_job_is_read_as_it_was_written(written: Job) -> None:
    assert JOBS.read(JOBS.write(written)) == written


@given(ENTRY_VALUES)
def test_any_line_of_a_timeline_is_read_as_it_was_written(written: TimelineEntry) -> None:
    assert ENTRIES.read(ENTRIES.write(written)) == written
