"""Which incoming trace is continued, and with which ids."""

import pytest

from core.observability.trace_context import TraceContext, parse_traceparent, pass_through
from tests.support.traces import NOT_SAMPLED, SAMPLED, SPAN, TRACE, seeded_spans


@pytest.mark.parametrize("theirs", [SAMPLED, NOT_SAMPLED])
def test_a_trace_that_came_in_goes_on_under_a_new_span(theirs: str) -> None:
    ours = seeded_spans(share=0.5)(theirs)
    assert parse_traceparent(ours) == ours
    came, goes = TraceContext.parse(theirs), TraceContext.parse(ours)
    assert (goes.trace_id, goes.sampled) == (came.trace_id, came.sampled)
    assert goes.span_id != came.span_id


def test_without_one_a_trace_begins_here() -> None:
    spans = seeded_spans()
    first, second = spans(None), spans(None)
    assert parse_traceparent(first) == first
    assert TraceContext.parse(first).trace_id != TraceContext.parse(second).trace_id


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (1.0, 200), (0.25, 50)])
def test_of_our_own_traces_a_share_is_kept(share: float, kept: int) -> None:
    spans = seeded_spans(share)
    sampled = sum(TraceContext.parse(spans(None)).sampled for _ in range(200))
    assert abs(sampled - kept) <= 20 * (share not in {0.0, 1.0})


def test_a_context_is_written_as_it_was_read() -> None:
    assert TraceContext.parse(SAMPLED).traceparent == SAMPLED
    assert TraceContext.parse(NOT_SAMPLED).traceparent == NOT_SAMPLED
    assert TraceContext.parse(f"cc-{TRACE}-{SPAN}-03").traceparent == SAMPLED


def test_who_makes_no_spans_passes_on_what_came() -> None:
    assert (pass_through(SAMPLED), pass_through(None)) == (SAMPLED, None)
