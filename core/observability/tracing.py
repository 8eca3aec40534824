"""Opens tracing for a process. OpenTelemetry, an extra, is imported only if tracing is enabled.

Only the compositions call it.
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
class TracingPolicy:
    """Whether and how to trace. `sample_ratio` is the sampled share of the traces started here."""

    enabled: bool
    sample_ratio: float
    process: str
    version: str


@contextmanager
def open_tracing(
    policy: TracingPolicy, clock: Clock, ids: IdSource
) -> Iterator[tuple[SpanNamer, Emit]]:
    """Yield what names spans, and what takes the events to create them from.

    On exit the remaining spans are sent.
    """
    if not policy.enabled:
        yield pass_through, _ignore_event
        return
    from core.observability.opentelemetry import open_span_emitter  # noqa: PLC0415 - an extra, and heavy: only when on

    span_of = RandomSpanNamer(ids, SystemRandom(), policy.sample_ratio)
    with open_span_emitter(policy.process, policy.version, span_of, clock) as spans:
        yield span_of, spans
