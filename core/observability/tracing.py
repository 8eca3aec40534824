"""Opens tracing for a process. OpenTelemetry, an extra, is imported only if tracing is enabled.

Only the compositions call it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import SystemRandom

from core.clock import Clock
from core.ids import IdSource
from core.observability.events import Emit, Event
from core.observability.trace_context import RandomSpanNamer, SpanNamer, pass_through


def _ignore_event(_: Event) -> None:
    return None


@contextmanager
def open_tracing(
    process: str, version: str, sample_ratio: float | None, clock: Clock, ids: IdSource
) -> Iterator[tuple[SpanNamer, Emit]]:
    """Yield what names spans, and what takes the events to create them from.

    `sample_ratio` is the sampled share of the traces that start here; None: there is no tracing.
    On exit the remaining spans are sent.
    """
    if sample_ratio is None:
        yield pass_through, _ignore_event
        return
    from core.observability.opentelemetry import open_span_emitter  # noqa: PLC0415 - an extra, and heavy: only when on

    span_of = RandomSpanNamer(ids, SystemRandom(), sample_ratio)
    with open_span_emitter(process, version, span_of, clock) as spans:
        yield span_of, spans
