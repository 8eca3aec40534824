"""The caller's trace goes into the job, under our own span when we make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.observability.events import RequestServed
from core.observability.trace_context import Context
from tests.fakes.face import KLING_INPUT, KLING_PATH
from tests.fakes.traces import KEPT, TRACE, new_spans

if TYPE_CHECKING:
    from core.jobs.job import Job
    from tests.fakes.face import Face


async def submitted(face: Face, key: str, traceparent: str | None) -> Job:
    """A job, submitted with this header."""
    headers = {} if traceparent is None else {"traceparent": traceparent}
    async with face.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)
    record = await face.stores.jobs.load(answer.json()["request_id"])
    assert record is not None
    return record.job


async def test_without_spans_of_ours_the_caller_s_trace_is_the_job_s(face: Face, key: str) -> None:
    assert (await submitted(face, key, KEPT)).trace == KEPT
    assert (await submitted(face, key, None)).trace is None
    assert (await submitted(face, key, "nonsense")).trace is None


async def test_with_spans_the_job_hangs_on_our_own(face: Face, key: str) -> None:
    face.change(span_of=new_spans())
    trace = (await submitted(face, key, KEPT)).trace
    assert trace is not None
    assert trace != KEPT
    assert Context.of(trace).trace_id == TRACE
    served = face.of(RequestServed)[-1]
    assert (served.trace, served.caller_trace) == (trace, KEPT)


async def test_with_spans_a_job_without_a_trace_begins_one(face: Face, key: str) -> None:
    face.change(span_of=new_spans())
    assert (await submitted(face, key, None)).trace is not None
