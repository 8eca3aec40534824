"""Events -> OpenTelemetry spans, sent by OTLP over HTTP. The only module that knows OpenTelemetry.

A span is made when it is over, under the ids that were passed on while it lasted. Where to send
them, the standard variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_BSP_…`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.clock import Clock
from core.jobs.job import FINAL_STATES, JobState
from core.observability.events import (
    DeliveryAttempted,
    Event,
    JobTransitioned,
    RequestServed,
    UpstreamCalled,
)
from core.observability.log_context import Subject, subject
from core.observability.trace_context import Context, SpanOf

SCOPE: Final = "runcomfy-gateway"
_SERVER_ERROR: Final = 500
_MICROSECOND: Final = timedelta(microseconds=1)
_FAILED: Final = frozenset({JobState.FAILED, JobState.EXPIRED})
_WELL: Final = frozenset({"ok", "delivered"})

Attributes = Mapping[str, str | int | None]


@contextmanager
def open_spans(process: str, version: str, span_of: SpanOf, clock: Clock) -> Iterator["Spans"]:
    """An `Emit` that sends spans in the background; at the end it sends the rest."""
    resource = Resource.create({"service.name": f"{SCOPE}-{process}", "service.version": version})
    sending = BatchSpanProcessor(OTLPSpanExporter())
    try:
        yield Spans(sending, resource, span_of, clock)
    finally:
        sending.shutdown()  # type: ignore[no-untyped-call]  # the SDK left it untyped


@dataclass(frozen=True, slots=True)
class _Told:
    """A span as an event tells it. `trace` is its own `traceparent`."""

    name: str
    kind: SpanKind
    trace: str
    parent: str | None
    took: timedelta
    failed: bool
    attributes: Attributes


class Spans:
    """Makes a span of each event that is one; an `Emit`."""

    def __init__(
        self, sending: SpanProcessor, resource: Resource, span_of: SpanOf, clock: Clock
    ) -> None:
        """Hand spans to `sending`; `span_of` names those that nobody was told of."""
        self._sending = sending
        self._resource = resource
        self._span_of = span_of
        self._clock = clock
        self._scope = InstrumentationScope(SCOPE)

    def __call__(self, event: Event) -> None:
        """Tell of `event`, unless its trace is not kept."""
        told = self._told(event)
        if told is not None and Context.of(told.trace).sampled:
            self._sending.on_end(self._span(told))

    def _told(self, event: Event) -> _Told | None:
        match event:
            case RequestServed(trace=str(trace)):
                return _request(event, trace)
            case UpstreamCalled():
                return self._call(event)
            case DeliveryAttempted():
                return _attempt(event)
            case JobTransitioned(after=after) if after in FINAL_STATES:
                return self._job(event)
            case _:
                return None

    def _call(self, event: UpstreamCalled) -> _Told | None:
        present = subject()
        trace = self._below(present)
        if present is None or trace is None:
            return None
        return _Told(
            name=f"runcomfy {event.call}",
            kind=SpanKind.CLIENT,
            trace=trace,
            parent=present.trace,
            took=event.duration,
            failed=event.outcome not in _WELL,
            attributes={
                "gateway.job_id": present.job_id,
                "gateway.tenant": present.tenant,
                "gateway.outcome": event.outcome,
                "http.response.status_code": event.http_status,
            },
        )

    def _job(self, event: JobTransitioned) -> _Told | None:
        present = subject()
        trace = self._below(present)
        if present is None or trace is None:
            return None
        return _Told(
            name="job",
            kind=SpanKind.INTERNAL,
            trace=trace,
            parent=present.trace,
            took=event.age,
            failed=event.after in _FAILED,
            attributes={
                "gateway.job_id": event.job_id,
                "gateway.tenant": event.tenant,
                "gateway.model_id": event.model_id,
                "gateway.state": str(event.after),
                "gateway.upstream_id": event.upstream_id,
            },
        )

    def _below(self, present: Subject | None) -> str | None:
        """A new span of the trace that is passed on; None where there is none."""
        return None if present is None or present.trace is None else self._span_of(present.trace)

    def _span(self, told: _Told) -> ReadableSpan:
        end = round(self._clock.now().timestamp() * 1_000_000) * 1000
        return ReadableSpan(
            name=told.name,
            context=_context(told.trace),
            parent=None if told.parent is None else _context(told.parent, is_remote=True),
            resource=self._resource,
            attributes={k: v for k, v in told.attributes.items() if v is not None},
            kind=told.kind,
            status=Status(StatusCode.ERROR if told.failed else StatusCode.UNSET),
            start_time=end - told.took // _MICROSECOND * 1000,
            end_time=end,
            instrumentation_scope=self._scope,
        )


def _request(event: RequestServed, trace: str) -> _Told:
    return _Told(
        name=f"{event.method} {event.route}",
        kind=SpanKind.SERVER,
        trace=trace,
        parent=event.caller_trace,
        took=event.duration,
        failed=event.status >= _SERVER_ERROR,
        attributes={
            "http.request.method": event.method,
            "http.route": event.route,
            "http.response.status_code": event.status,
            "gateway.request_id": event.request_id,
            "gateway.tenant": event.tenant,
            "gateway.job_id": event.job_id,
            "error.type": event.code,
        },
    )


def _attempt(event: DeliveryAttempted) -> _Told | None:
    present = subject()
    if present is None or present.trace is None:
        return None
    return _Told(
        name="callback",
        kind=SpanKind.CLIENT,
        trace=present.trace,
        parent=present.parent,
        took=event.duration,
        failed=event.outcome not in _WELL,
        attributes={
            "gateway.delivery_id": event.delivery_id,
            "gateway.job_id": event.job_id,
            "gateway.tenant": event.tenant,
            "gateway.attempt": event.attempt,
            "gateway.outcome": event.outcome,
            "http.response.status_code": event.http_status,
        },
    )


def _context(traceparent: str, *, is_remote: bool = False) -> SpanContext:
    context = Context.of(traceparent)
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )
