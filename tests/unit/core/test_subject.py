"""Who works on what is known below, and never mixed up."""

from __future__ import annotations

import asyncio

from core.observability.log_context import (
    Subject,
    about,
    delivery_subject,
    job_subject,
    subject,
    within,
)
from core.observability.trace_context import Context, passed_on
from tests.builders import delivery, job
from tests.fakes.traces import KEPT, TRACE, new_spans


def test_nothing_is_known_outside() -> None:
    with about(Subject("acme", "req_1")):
        assert subject() == Subject("acme", "req_1")
    assert subject() is None


async def test_tasks_side_by_side_keep_to_their_own() -> None:
    seen: list[tuple[str, Subject | None]] = []

    async def handle(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append((name, subject()))

    handled = within(lambda name: Subject(name, None), handle)
    await asyncio.gather(handled("a"), handled("b"))
    assert len(seen) == 6
    assert all(present == Subject(name, None) for name, present in seen)
    assert subject() is None


def test_a_step_hangs_on_the_submit() -> None:
    one = job(trace=KEPT)
    assert job_subject(one) == Subject(one.tenant, one.id, KEPT, KEPT)


def test_an_attempt_has_a_span_of_its_own_that_the_receiver_goes_on_from() -> None:
    present = delivery_subject(delivery(trace=KEPT), new_spans())
    assert present.trace is not None
    assert Context.of(present.trace).trace_id == TRACE
    assert (present.trace != KEPT, present.parent) == (True, KEPT)


def test_who_makes_no_spans_passes_the_caller_s_trace_on_to_the_receiver() -> None:
    assert delivery_subject(delivery(trace=KEPT), passed_on).trace == KEPT


def test_a_callback_begins_no_trace() -> None:
    assert delivery_subject(delivery(), new_spans()).trace is None
