"""Predictable trace and span ids."""

from random import Random
from typing import Final

from core.observability.trace_context import RandomSpanNamer
from tests.support.ids import SeededIds

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
SAMPLED: Final = f"00-{TRACE}-{SPAN}-01"
NOT_SAMPLED: Final = f"00-{TRACE}-{SPAN}-00"


def seeded_spans(share: float = 1.0) -> RandomSpanNamer:
    """Ids from a seed."""
    return RandomSpanNamer(SeededIds(Random(1)), Random(1), share)
