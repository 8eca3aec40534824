"""Traces that a test can foresee."""

from __future__ import annotations

from random import Random
from typing import Final

from core.observability.trace_context import NewSpans
from tests.fakes.ids import SeededIds

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
SPAN: Final = "b7ad6b7169203331"
KEPT: Final = f"00-{TRACE}-{SPAN}-01"
DROPPED: Final = f"00-{TRACE}-{SPAN}-00"


def new_spans(share: float = 1.0) -> NewSpans:
    """Names from a seed."""
    return NewSpans(SeededIds(Random(1)), Random(1), share)
