"""Whether this process makes spans, and by what. The OpenTelemetry extra is loaded only if it does.

Called by the composition alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import SystemRandom

from core.clock import Clock
from core.ids import IdSource
from core.observability.events import Emit, Event
from core.observability.trace_context import NewSpans, SpanOf, passed_on


def _untold(_: Event) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Tracing:
    """What names spans, and what is told of events to make them of."""

    span_of: SpanOf = passed_on
    emit: Emit = _untold


@dataclass(frozen=True, slots=True)
class TracePolicy:
    """Who tells (`process`, of which `version`), and the share of own traces that is kept."""

    on: bool
    share: float
    process: str
    version: str


@contextmanager
def open_tracing(policy: TracePolicy, clock: Clock, ids: IdSource) -> Iterator[Tracing]:
    """The tracing that `policy` asks for. At the end what is not sent yet is sent."""
    if not policy.on:
        yield Tracing()
        return
    from core.observability.opentelemetry import open_spans  # noqa: PLC0415 - an extra, and heavy: only when on

    span_of = NewSpans(ids, SystemRandom(), policy.share)
    with open_spans(policy.process, policy.version, span_of, clock) as spans:
        yield Tracing(span_of, spans)
