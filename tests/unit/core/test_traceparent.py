"""Which trace goes on, and under which name."""

from __future__ import annotations

import pytest

from core.observability.trace_context import Context, passed_on, read_traceparent
from tests.fakes.traces import DROPPED, KEPT, SPAN, TRACE, new_spans


@pytest.mark.parametrize("theirs", [KEPT, DROPPED])
def test_a_trace_that_came_in_goes_on_under_a_new_span(theirs: str) -> None:
    ours = new_spans(share=0.5)(theirs)
    assert read_traceparent(ours) == ours
    came, goes = Context.of(theirs), Context.of(ours)
    assert (goes.trace_id, goes.sampled) == (came.trace_id, came.sampled)
    assert goes.span_id != came.span_id


def test_without_one_a_trace_begins_here() -> None:
    spans = new_spans()
    first, second = spans(None), spans(None)
    assert read_traceparent(first) == first
    assert Context.of(first).trace_id != Context.of(second).trace_id


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (1.0, 200), (0.25, 50)])
def test_of_our_own_traces_a_share_is_kept(share: float, kept: int) -> None:
    spans = new_spans(share)
    sampled = sum(Context.of(spans(None)).sampled for _ in range(200))
    assert abs(sampled - kept) <= 20 * (share not in {0.0, 1.0})


def test_a_context_is_written_as_it_was_read() -> None:
    assert Context.of(KEPT).traceparent == KEPT
    assert Context.of(DROPPED).traceparent == DROPPED
    assert Context.of(f"cc-{TRACE}-{SPAN}-03").traceparent == KEPT


def test_who_makes_no_spans_passes_on_what_came() -> None:
    assert (passed_on(KEPT), passed_on(None)) == (KEPT, None)
