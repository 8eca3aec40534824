"""W3C Trace Context: parse, create and pass on a `traceparent`. Pure.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from core.ids import IdSource

SpanNamer = Callable[[str | None], str | None]
"""Maps the `traceparent` of a parent to that of the step's own span."""

# Ids of zeros and version ff are invalid.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_SAMPLED: Final = 1


def parse_traceparent(header: str | None) -> str | None:
    """Return the header if it is well-formed, else None: a malformed one is ignored."""
    return header if header and _TRACEPARENT.fullmatch(header) else None


def pass_through(traceparent: str | None) -> str | None:
    """Return `traceparent` unchanged: the `SpanNamer` of a process that creates no spans."""
    return traceparent


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The parts of a `traceparent`; ids in lower-case hex."""

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def parse(cls, traceparent: str) -> "TraceContext":
        """Parse a well-formed `traceparent`."""
        _, trace_id, span_id, flags = traceparent.split("-")
        return cls(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))

    @property
    def traceparent(self) -> str:
        """The header, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(frozen=True, slots=True)
class RandomSpanNamer:
    """A `SpanNamer` that creates new span ids.

    The starter of a trace decides whether it is sampled: the caller, or, for traces that start
    here, `sample_ratio`.
    """

    ids: IdSource
    rng: Random
    sample_ratio: float

    def __call__(self, traceparent: str | None) -> str:
        """See `SpanNamer`."""
        chance = self.ids.secret()
        span_id = chance[:8].hex()
        if traceparent is None:
            sampled = self.rng.random() < self.sample_ratio
            return TraceContext(chance[8:24].hex(), span_id, sampled).traceparent
        context = TraceContext.parse(traceparent)
        return TraceContext(context.trace_id, span_id, context.sampled).traceparent
