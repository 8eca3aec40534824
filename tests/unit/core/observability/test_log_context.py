"""The log context is visible in called code and separate for each task."""

import asyncio

from core.observability.log_context import (
    LogContext,
    bind_log_context,
    current_log_context,
    delivery_log_context,
    job_log_context,
    with_log_context,
)
from core.observability.trace_context import TraceContext, pass_through
from tests.support.records import delivery, job
from tests.support.traces import SAMPLED, TRACE, seeded_spans


def test_nothing_is_known_outside() -> None:
    with bind_log_context(LogContext("acme", "req_1")):
        assert current_log_context() == LogContext("acme", "req_1")
    assert current_log_context() is None


async def test_tasks_side_by_side_keep_to_their_own() -> None:
    seen: list[tuple[str, LogContext | None]] = []

    async def handle(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append((name, current_log_context()))

    handled = with_log_context(lambda name: LogContext(name, None), handle)
    await asyncio.gather(handled("a"), handled("b"))
    assert len(seen) == 6
    assert all(present == LogContext(name, None) for name, present in seen)
    assert current_log_context() is None


def test_a_step_hangs_on_the_submit() -> None:
    one = job(trace=SAMPLED)
    assert job_log_context(one) == LogContext(one.tenant, one.id, SAMPLED, SAMPLED)


def test_an_attempt_has_a_span_of_its_own_that_the_receiver_goes_on_from() -> None:
    present = delivery_log_context(delivery(trace=SAMPLED), seeded_spans())
    assert present.trace is not None
    assert TraceContext.parse(present.trace).trace_id == TRACE
    assert (present.trace != SAMPLED, present.parent) == (True, SAMPLED)


def test_who_makes_no_spans_passes_the_caller_s_trace_on_to_the_receiver() -> None:
    assert delivery_log_context(delivery(trace=SAMPLED), pass_through).trace == SAMPLED


def test_a_callback_begins_no_trace() -> None:
    assert delivery_log_context(delivery(), seeded_spans()).trace is None
