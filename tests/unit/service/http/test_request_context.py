"""The caller's trace is stored with the job, under the gateway's own span if there is one."""

from core.jobs.job import Job
from core.observability.events import RequestServed
from core.observability.trace_context import TraceContext
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.traces import SAMPLED, TRACE, seeded_spans


async def submit_job(app: AppHarness, key: str, traceparent: str | None) -> Job:
    """Submit with this header and return the job."""
    headers = {} if traceparent is None else {"traceparent": traceparent}
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)
    record = await app.stores.jobs.load(answer.json()["request_id"])
    assert record is not None
    return record.job


async def test_without_spans_of_ours_the_caller_s_trace_is_the_job_s(
    app: AppHarness, key: str
) -> None:
    assert (await submit_job(app, key, SAMPLED)).trace == SAMPLED
    assert (await submit_job(app, key, None)).trace is None
    assert (await submit_job(app, key, "nonsense")).trace is None


async def test_with_spans_the_job_hangs_on_our_own(app: AppHarness, key: str) -> None:
    app.replace_resources(span_of=seeded_spans())
    trace = (await submit_job(app, key, SAMPLED)).trace
    assert trace is not None
    assert trace != SAMPLED
    assert TraceContext.parse(trace).trace_id == TRACE
    served = app.events_of(RequestServed)[-1]
    assert (served.trace, served.caller_trace) == (trace, SAMPLED)


async def test_with_spans_a_job_without_a_trace_begins_one(app: AppHarness, key: str) -> None:
    app.replace_resources(span_of=seeded_spans())
    assert (await submit_job(app, key, None)).trace is not None
