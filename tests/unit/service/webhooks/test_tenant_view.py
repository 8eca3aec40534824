"""A tenant reads one word for every target that was not reached."""

import pytest

from core.jobs.job import JobState
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.observability.outcomes import DELIVERED, FailureKind
from core.webhooks.circuit_breaker import EndpointCircuit
from core.webhooks.delivery import DeliveryAttempt
from core.webhooks.endpoint import Endpoint
from service.webhooks.tenant_view import (
    UNREACHABLE,
    deliveries_for_tenant,
    endpoints_for_tenant,
    timeline_for_tenant,
)
from tests.support.records import NOW, delivery

HIDDEN = {FailureKind.DNS_ERROR, FailureKind.BLOCKED_TARGET, FailureKind.CONNECT_ERROR}


@pytest.mark.parametrize("kind", [*FailureKind, DELIVERED])
def test_what_says_whether_a_name_exists_inside_is_hidden(kind: str) -> None:
    attempt = DeliveryAttempt(NOW, 1, kind, 5, response_excerpt="10.0.0.1 is private")
    ((after, (seen,)),) = deliveries_for_tenant([(delivery(last_outcome=kind), [attempt])])
    (entry,) = timeline_for_tenant(
        [TimelineEntry(NOW, TimelineKind.DELIVERY, kind, JobState.SUCCEEDED)]
    )
    expected = UNREACHABLE if kind in HIDDEN else kind
    assert (after.last_outcome, seen.outcome, entry.code) == (expected, expected, expected)
    assert seen.response_excerpt == (None if kind in HIDDEN else attempt.response_excerpt)


@pytest.mark.parametrize("kind", FailureKind)
def test_the_last_failure_of_an_endpoint_is_the_same_word(kind: str) -> None:
    endpoint = Endpoint("default", "https://hooks.example.com/", NOW)
    rows = [(endpoint, EndpointCircuit(last_failure=kind)), (endpoint, EndpointCircuit())]
    expected = [UNREACHABLE if kind in HIDDEN else kind, None]
    assert [state.last_failure for _, state in endpoints_for_tenant(rows)] == expected


def test_other_entries_of_a_timeline_stay_as_they_are() -> None:
    entry = TimelineEntry(NOW, TimelineKind.UPSTREAM, "connect_error", JobState.RUNNING)
    assert timeline_for_tenant([entry]) == (entry,)
