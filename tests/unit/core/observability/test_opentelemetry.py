"""Spans made from events: ids, parents, times, and none for events that are not traced."""

from datetime import timedelta

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from core.jobs.job import JobState, Trigger
from core.observability.events import (
    DeliveryAttempted,
    Event,
    JobTransitioned,
    OperationalWarning,
    RequestServed,
    UpstreamCalled,
)
from core.observability.log_context import LogContext, bind_log_context
from core.observability.opentelemetry import SpanEmitter
from core.observability.trace_context import TraceContext
from tests.support.clock import START, FakeClock
from tests.support.traces import NOT_SAMPLED, SAMPLED, SPAN, TRACE, seeded_spans

DURATION = timedelta(milliseconds=250)
CURRENT_CONTEXT = LogContext("acme", "req_1", SAMPLED, SAMPLED)


class RecordingProcessor(SpanProcessor):
    """Records the spans that end."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def spans_of(event: Event, present: LogContext | None = CURRENT_CONTEXT) -> list[ReadableSpan]:
    """The spans of an event that is emitted in the context `present`."""
    sent = RecordingProcessor()
    tell = SpanEmitter(sent, Resource({}), seeded_spans(), FakeClock())
    if present is None:
        tell(event)
    else:
        with bind_log_context(present):
            tell(event)
    return sent.spans


def served(trace: str | None, caller: str | None = None, status: int = 202) -> RequestServed:
    """The event of a served submit."""
    return RequestServed("x_1", "POST", "/v1", status, DURATION, trace=trace, caller_trace=caller)


def test_an_exchange_is_a_span_under_the_caller_s() -> None:
    ours = seeded_spans()(SAMPLED)
    (span,) = spans_of(served(ours, SAMPLED), None)
    assert (span.name, span.kind) == ("POST /v1", SpanKind.SERVER)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.context.span_id:016x}" == TraceContext.parse(ours).span_id
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (SPAN, True)
    assert span.end_time == START.timestamp() * 1e9
    assert span.end_time - (span.start_time or 0) == 250_000_000
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 202
    assert "gateway.tenant" not in span.attributes


def test_only_our_own_faults_are_errors() -> None:
    codes = [spans_of(served(SAMPLED, status=status))[0].status for status in (202, 422, 503)]
    assert [code.status_code for code in codes] == [
        StatusCode.UNSET,
        StatusCode.UNSET,
        StatusCode.ERROR,
    ]


def test_a_call_of_a_job_hangs_on_the_job_s_submit() -> None:
    (span,) = spans_of(UpstreamCalled("submit", "timeout", None, DURATION))
    assert (span.name, span.kind) == ("runcomfy submit", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.ERROR
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.attributes is not None
    assert span.attributes["gateway.job_id"] == "req_1"


def test_a_call_for_no_job_is_no_span() -> None:
    called = UpstreamCalled("catalogue", "ok", 200, DURATION)
    assert spans_of(called, None) == []
    assert spans_of(called, LogContext("acme", "req_1")) == []


def test_an_attempt_is_the_span_that_the_receiver_was_told_of() -> None:
    told = seeded_spans()(SAMPLED)
    attempted = DeliveryAttempted("msg_1", "req_1", "acme", 1, "delivered", 200, DURATION)
    (span,) = spans_of(attempted, LogContext("acme", "req_1", told, SAMPLED))
    assert span.context is not None
    assert f"{span.context.span_id:016x}" == TraceContext.parse(told).span_id
    assert span.status.status_code is StatusCode.UNSET
    assert spans_of(attempted, None) == []


def moved(after: JobState) -> JobTransitioned:
    """The event of a job's transition."""
    return JobTransitioned(
        "req_1", "acme", "a/b", Trigger.COLLECTED, JobState.COLLECTING, after, DURATION
    )


def test_a_job_s_end_is_a_span_of_its_whole_life() -> None:
    (span,) = spans_of(moved(JobState.FAILED))
    assert (span.name, span.status.status_code) == ("job", StatusCode.ERROR)
    assert spans_of(moved(JobState.SUCCEEDED))[0].status.status_code is StatusCode.UNSET
    assert spans_of(moved(JobState.RUNNING)) == []
    assert spans_of(moved(JobState.FAILED), None) == []


def test_what_is_not_kept_or_has_no_trace_is_not_sent() -> None:
    assert spans_of(served(NOT_SAMPLED)) == []
    assert spans_of(served(None)) == []
    assert (
        spans_of(UpstreamCalled("status", "ok", 200, DURATION), LogContext("a", "b", NOT_SAMPLED))
        == []
    )
    assert spans_of(OperationalWarning("code", "detail")) == []
