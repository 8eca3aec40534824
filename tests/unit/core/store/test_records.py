"""Records survive the wire unchanged, and older and newer gateways read each other's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.breaker import Breaker, BreakerPolicy
from core.deliveries import Delivery, DeliveryAttempt
from core.jobs import Billed, CancelOutcome, Errand, Job, JobError, JobState, Note, TimelineEntry
from core.reuse import CacheMode, ReusePolicy
from core.store.records import (
    ATTEMPTS,
    BREAKERS,
    DELIVERIES,
    ENTRIES,
    JOBS,
    KEYS,
    TENANTS,
    Codec,
)
from core.tenants import DoubtPolicy, KeyRecord, Scope, Tenant
from tests.builders import NOW, delivery, job

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
SECRETS = ("whsec_one", "whsec_two")
SAMPLES: tuple[tuple[Codec[Any], Any], ...] = (
    (DELIVERIES, delivery()),
    (DELIVERIES, delivery(due_at=None, attempts=12, last_outcome="gone", finished_at=NOW)),
    (ATTEMPTS, DeliveryAttempt(NOW, 3, "timeout", 20_000, None, "ünïcode")),
    (TENANTS, Tenant("ada", NOW, "https://a.test/", SECRETS, doubt=DoubtPolicy.RESEND)),
    (TENANTS, Tenant("bob", NOW, disabled=True)),
    (TENANTS, Tenant("cyd", NOW, reuse=ReusePolicy(CacheMode.USE, timedelta(seconds=90)))),
    (TENANTS, Tenant("dan", NOW, reuse=ReusePolicy(idempotency_required=True, promote=True))),
    (KEYS, KeyRecord("d" * 64, "ada", NOW, frozenset({Scope.READ}), NOW)),
    (KEYS, KeyRecord("d" * 64, "ada", NOW, frozenset())),
    (BREAKERS, Breaker()),
    (BREAKERS, Breaker().refused("402", NOW, BreakerPolicy())),
    (BREAKERS, Breaker().throttled(timedelta(seconds=3), NOW, BreakerPolicy())),
)


@given(st.builds(Job, **JOB_FIELDS))
def test_any_job_is_read_as_it_was_written(written: Job) -> None:
    assert JOBS.read(JOBS.write(written)) == written


@given(ENTRY_VALUES)
def test_any_line_of_a_timeline_is_read_as_it_was_written(written: TimelineEntry) -> None:
    assert ENTRIES.read(ENTRIES.write(written)) == written


@pytest.mark.parametrize(("codec", "value"), SAMPLES)
def test_each_kind_of_record_is_read_as_it_was_written(codec: Codec[Any], value: object) -> None:
    assert codec.read(codec.write(value)) == value


def test_defaults_are_left_out() -> None:
    document = orjson.loads(JOBS.write(job()))
    assert set(document) == {
        "id",
        "tenant",
        "model_id",
        "fingerprint",
        "created_at",
        "updated_at",
    }


def test_a_record_of_an_older_gateway_reads_with_defaults() -> None:
    """Fields that came later are absent in it."""
    bare = orjson.loads(JOBS.write(job(JobState.RUNNING)))
    del bare["billed"]
    assert JOBS.read(orjson.dumps(bare)).billed is Billed.NO


def test_a_record_of_a_newer_gateway_reads_without_what_is_not_known_here() -> None:
    document = orjson.loads(JOBS.write(job())) | {"a_later_field": {"x": [1]}}
    assert JOBS.read(orjson.dumps(document)) == job()


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[]", b'{"id": "req_1"}', JOBS.write(job())[:-1]],
)
def test_what_is_no_record_is_refused(document: bytes) -> None:
    with pytest.raises(ValidationError):
        JOBS.read(document)


def test_a_state_that_nobody_knows_is_refused_and_not_guessed() -> None:
    document = orjson.loads(JOBS.write(job())) | {"state": "dreaming"}
    with pytest.raises(ValidationError, match="state"):
        JOBS.read(orjson.dumps(document))


def test_an_instant_keeps_its_microseconds_and_its_zone() -> None:
    odd = NOW + timedelta(microseconds=1)
    read: Delivery = DELIVERIES.read(DELIVERIES.write(delivery(created_at=odd)))
    assert read.created_at == odd
    assert read.created_at.tzinfo is not None
