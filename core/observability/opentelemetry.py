"""OpenTelemetry spans made from events, sent by OTLP over HTTP.

The only module that knows OpenTelemetry. A span is created when it ends, with the ids that were
passed on while it lasted. The standard variables configure the export
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_BSP_…`).
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
from core.observability.log_context import LogContext, current_log_context
from core.observability.trace_context import SpanNamer, TraceContext

SCOPE: Final = "runcomfy-gateway"
_SERVER_ERROR: Final = 500
_MICROSECOND: Final = timedelta(microseconds=1)
_FAILED_STATES: Final = frozenset({JobState.FAILED, JobState.EXPIRED})
_SUCCESS_OUTCOMES: Final = frozenset({"ok", "delivered"})

Attributes = Mapping[str, str | int | None]


@contextmanager
def open_span_emitter(
    process: str, version: str, span_namer: SpanNamer, clock: Clock
) -> Iterator["SpanEmitter"]:
    """Open an `Emit` that sends spans in the background; on exit it sends the remaining ones."""
    resource = Resource.create({"service.name": f"{SCOPE}-{process}", "service.version": version})
    sending = BatchSpanProcessor(OTLPSpanExporter())
    try:
        yield SpanEmitter(sending, resource, span_namer, clock)
    finally:
        sending.shutdown()  # type: ignore[no-untyped-call]  # the SDK left it untyped


@dataclass(frozen=True, slots=True)
class _SpanData:
    """The span of an event. `trace` is its own `traceparent`, `parent` that of its parent."""

    name: str
    kind: SpanKind
    trace: str
    parent: str | None
    duration: timedelta
    failed: bool
    attributes: Attributes


class SpanEmitter:
    """Creates spans from the events that have one; an `Emit`."""

    def __init__(
        self, processor: SpanProcessor, resource: Resource, span_namer: SpanNamer, clock: Clock
    ) -> None:
        """Pass spans to `processor`; `span_namer` names those that were not passed on."""
        self._processor = processor
        self._resource = resource
        self._span_namer = span_namer
        self._clock = clock
        self._scope = InstrumentationScope(SCOPE)

    def __call__(self, event: Event) -> None:
        """Send the span of `event`, if it has one and its trace is sampled."""
        data = self._span_data(event)
        if data is not None and TraceContext.parse(data.trace).sampled:
            self._processor.on_end(self._span(data))

    def _span_data(self, event: Event) -> _SpanData | None:
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

    def _call(self, event: UpstreamCalled) -> _SpanData | None:
        context = current_log_context()
        trace = self._child_of(context)
        if context is None or trace is None:
            return None
        return _SpanData(
            name=f"runcomfy {event.call}",
            kind=SpanKind.CLIENT,
            trace=trace,
            parent=context.trace,
            duration=event.duration,
            failed=event.outcome not in _SUCCESS_OUTCOMES,
            attributes={
                "gateway.job_id": context.job_id,
                "gateway.tenant": context.tenant,
                "gateway.outcome": event.outcome,
                "http.response.status_code": event.http_status,
            },
        )

    def _job(self, event: JobTransitioned) -> _SpanData | None:
        context = current_log_context()
        trace = self._child_of(context)
        if context is None or trace is None:
            return None
        return _SpanData(
            name="job",
            kind=SpanKind.INTERNAL,
            trace=trace,
            parent=context.trace,
            duration=event.age,
            failed=event.after in _FAILED_STATES,
            attributes={
                "gateway.job_id": event.job_id,
                "gateway.tenant": event.tenant,
                "gateway.model_id": event.model_id,
                "gateway.state": str(event.after),
                "gateway.upstream_id": event.upstream_id,
            },
        )

    def _child_of(self, context: LogContext | None) -> str | None:
        """Return a new `traceparent` in the trace of `context`; None without one."""
        return None if context is None or context.trace is None else self._span_namer(context.trace)

    def _span(self, data: _SpanData) -> ReadableSpan:
        end = round(self._clock.now().timestamp() * 1_000_000) * 1000
        return ReadableSpan(
            name=data.name,
            context=_context(data.trace),
            parent=None if data.parent is None else _context(data.parent, is_remote=True),
            resource=self._resource,
            attributes={k: v for k, v in data.attributes.items() if v is not None},
            kind=data.kind,
            status=Status(StatusCode.ERROR if data.failed else StatusCode.UNSET),
            start_time=end - data.duration // _MICROSECOND * 1000,
            end_time=end,
            instrumentation_scope=self._scope,
        )


def _request(event: RequestServed, trace: str) -> _SpanData:
    return _SpanData(
        name=f"{event.method} {event.route}",
        kind=SpanKind.SERVER,
        trace=trace,
        parent=event.caller_trace,
        duration=event.duration,
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


def _attempt(event: DeliveryAttempted) -> _SpanData | None:
    context = current_log_context()
    if context is None or context.trace is None:
        return None
    return _SpanData(
        name="webhook",
        kind=SpanKind.CLIENT,
        trace=context.trace,
        parent=context.parent,
        duration=event.duration,
        failed=event.outcome not in _SUCCESS_OUTCOMES,
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
    context = TraceContext.parse(traceparent)
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )
