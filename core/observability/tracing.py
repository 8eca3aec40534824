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
from core.observability.trace_context import RandomSpanNamer, SpanNamer, pass_through


def _ignore_event(_: Event) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Tracing:
    """What names spans, and what is told of events to make them of."""

    span_namer: SpanNamer = pass_through
    emit: Emit = _ignore_event


@dataclass(frozen=True, slots=True)
class TracingPolicy:
    """Who tells (`process`, of which `version`), and the share of own traces that is kept."""

    enabled: bool
    sample_ratio: float
    process: str
    version: str


@contextmanager
def open_tracing(policy: TracingPolicy, clock: Clock, ids: IdSource) -> Iterator[Tracing]:
    """The tracing that `policy` asks for. At the end what is not sent yet is sent."""
    if not policy.enabled:
        yield Tracing()
        return
    from core.observability.opentelemetry import open_span_emitter  # noqa: PLC0415 - an extra, and heavy: only when on

    span_of = RandomSpanNamer(ids, SystemRandom(), policy.sample_ratio)
    with open_span_emitter(policy.process, policy.version, span_of, clock) as spans:
        yield Tracing(span_of, spans)
