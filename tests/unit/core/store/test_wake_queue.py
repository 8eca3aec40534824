"""A wake-up is a message that arq can read, one for each version of a job."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from arq.constants import job_key_prefix
from arq.jobs import deserialize_job

from core.clock import to_ms
from core.jobs.job import JobState
from core.retention import MESSAGE_TTL
from core.store.wake_queue import ANY_VERSION, WAKE_FUNCTION, is_current, wake_message
from tests.support.records import NOW, SECOND, job


def test_arq_reads_the_job_and_its_version_from_it() -> None:
    message = wake_message(job(version=7), NOW)
    read = deserialize_job(message.body, deserializer=orjson.loads)
    assert (read.function, tuple(read.args), read.kwargs) == (WAKE_FUNCTION, ("req_1", 7), {})
    assert to_ms(read.enqueue_time) == to_ms(NOW)


def test_it_lies_where_arq_looks_for_it() -> None:
    message = wake_message(job(version=7), NOW)
    assert message.key == job_key_prefix + message.name


def test_the_same_version_rings_by_the_same_name_and_the_next_by_another() -> None:
    first = wake_message(job(version=1), NOW)
    assert wake_message(job(version=1), NOW + SECOND).name == first.name
    assert wake_message(job(JobState.RUNNING, version=2), NOW).name != first.name
    assert wake_message(job(id="req_2", version=1), NOW).name != first.name


def test_it_lives_an_hour() -> None:
    assert MESSAGE_TTL == 3600 * SECOND


@pytest.mark.parametrize(
    ("version", "changes", "meant"),
    [
        (1, {}, True),
        (2, {}, False),
        (ANY_VERSION, {}, True),
        (ANY_VERSION, {"version": 3}, True),
        (ANY_VERSION, {"state": JobState.SUBMITTING, "lease_holder": "w"}, False),
        (ANY_VERSION, {"lease_holder": "w"}, False),
        (ANY_VERSION, {"state": JobState.RUNNING, "lease_holder": "w"}, False),
    ],
)
def test_a_dispatchers_late_ring_is_not_taken_for_a_workers_death(
    version: int, changes: dict[str, Any], *, meant: bool
) -> None:
    assert is_current(version, replace(job(), **changes)) is meant
