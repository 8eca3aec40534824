"""`Prefer: wait=N`: the result if it comes in time, the usual answer if not, and nothing polled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Billed, Fact, JobError
from core.observability.events import RequestServed
from core.tenants.api_keys import Scope
from tests.fakes.calls import Call
from tests.fakes.clock import settle
from tests.fakes.face import KLING_INPUT, KLING_PATH, Face
from tests.fakes.jobs import MemoryJobStore
from tests.fakes.lives import OUTPUT, only_job, run, step, succeed

if TYPE_CHECKING:
    import httpx

    from core.store.jobs import Depth, JobView
    from core.tenants.api_keys import Credential

WAIT_10 = {"prefer": "wait=10"}
TEN = timedelta(seconds=10)


class CountingJobs(MemoryJobStore):
    """Counts its readers; unavailable to them while `away`."""

    reads = 0
    away = False

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        self.reads += 1
        if self.away:
            raise StoreUnavailable
        return await super().read(credential, job_id, depth, scope)


@pytest.fixture
def jobs(face: Face) -> CountingJobs:
    store = CountingJobs(face.stores.memory)
    face.change(jobs=store)
    return store


async def asked(call: Any) -> asyncio.Task[httpx.Response]:  # noqa: ANN401 - httpx's coroutine
    task = asyncio.create_task(call)
    await settle()
    return task


async def submitted(caller: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    return await asked(caller.post(KLING_PATH, json=KLING_INPUT, headers=WAIT_10))


async def test_a_job_that_ends_in_time_is_answered_with_its_result(
    face: Face, caller: httpx.AsyncClient, jobs: CountingJobs
) -> None:
    task = await submitted(caller)
    await run(face)
    await face.clock.advance(timedelta(seconds=9))
    assert not task.done()
    await succeed(face)
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["output"] == orjson.loads(OUTPUT)
    assert answer.json()["status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.headers["location"].endswith(f"/{only_job(face).id}/status")
    assert jobs.reads == 1
    assert len(face.resources.waiters) == 0
    assert face.clock.sleepers == 0


async def test_time_that_runs_out_is_the_usual_202_with_the_present_status(
    face: Face, caller: httpx.AsyncClient, jobs: CountingJobs
) -> None:
    task = await submitted(caller)
    await run(face)
    await face.clock.advance(TEN)
    answer = await task

    assert answer.status_code == 202
    assert answer.json()["status"] == "in_progress"
    assert "output" not in answer.json()
    assert answer.headers["preference-applied"] == "wait=10"
    assert jobs.reads == 1


async def test_a_job_that_failed_for_good_is_a_200_that_says_so(
    face: Face, caller: httpx.AsyncClient
) -> None:
    task = await submitted(caller)
    await run(face)
    error = JobError("upstream_failed", "No.")
    await step(face, Fact.BROKE, finished_at=face.clock.now(), error=error, billed=Billed.NO)
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["code"] == "upstream_failed"


async def test_a_job_that_ended_although_its_news_was_lost_is_found_at_the_end_of_the_wait(
    face: Face, caller: httpx.AsyncClient
) -> None:
    task = await submitted(caller)
    face.stores.memory.told = lambda *_, **__: None
    await run(face)
    await succeed(face)
    await face.clock.advance(TEN)

    assert (await task).status_code == 200


async def test_a_store_that_went_away_takes_nothing_back(
    face: Face, caller: httpx.AsyncClient, jobs: CountingJobs
) -> None:
    task = await submitted(caller)
    jobs.away = True
    face.resources.waiters.missed()
    await face.clock.advance(TEN)
    answer = await task

    assert answer.status_code == 202
    assert answer.json()["status"] == "in_queue"


async def test_a_key_that_may_not_read_is_told_no_result(face: Face) -> None:
    key = await face.tenant("writers", scopes=frozenset({Scope.SUBMIT}))
    async with face.client(key) as caller:
        task = await submitted(caller)
        await run(face)
        await succeed(face)
        await face.clock.advance(TEN)
        answer = await task

    assert answer.status_code == 202
    assert "output" not in answer.json()


async def test_without_prefer_nothing_is_read_and_nobody_waits(
    face: Face, caller: httpx.AsyncClient, jobs: CountingJobs
) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert (jobs.reads, face.clock.sleepers) == (0, 0)


async def test_a_full_process_takes_the_job_and_does_not_wait(
    face: Face, caller: httpx.AsyncClient
) -> None:
    places = [face.resources.waiters.join("other") for _ in range(3)]
    answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=WAIT_10)

    assert len(places) == 3
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_a_process_that_stops_answers_at_once(face: Face, caller: httpx.AsyncClient) -> None:
    task = await submitted(caller)
    face.resources.waiters.close()

    assert (await task).status_code == 202


async def test_the_wait_is_no_part_of_our_own_time(face: Face, caller: httpx.AsyncClient) -> None:
    task = await submitted(caller)
    await face.clock.advance(TEN)
    await task

    (served,) = face.of(RequestServed)
    assert (served.duration, served.wait_duration) == (TEN, TEN)


async def test_who_hangs_up_is_waited_for_no_longer_and_cancels_nothing(
    face: Face, key: str
) -> None:
    headers = {"authorization": f"Bearer {key}", "prefer": "wait=10", "host": "gateway.test"}
    body = orjson.dumps(KLING_INPUT)
    call = await Call.begin(face.serve, KLING_PATH, headers, method="POST", body=body)
    assert len(face.resources.waiters) == 1
    await call.hang_up()

    assert call.messages == []
    assert len(face.resources.waiters) == 0
    assert face.of(RequestServed)[0].status == 499
    assert only_job(face).cancel_asked_at is None


@pytest.mark.parametrize("what", ["status", "result"])
async def test_reads_wait_for_the_end_too(
    face: Face, caller: httpx.AsyncClient, jobs: CountingJobs, what: str
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    path = f"/v1/requests/{only_job(face).id}/{what}"
    task = await asked(caller.get(path, headers=WAIT_10))
    await run(face)
    await succeed(face)
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=10"
    assert jobs.reads == 2
    again = await caller.get(path, headers=WAIT_10)  # it has ended: nobody waits
    assert again.json() == answer.json()


async def test_a_read_whose_wait_runs_out_says_where_the_job_stands(
    face: Face, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    task = await asked(
        caller.get(f"/v1/requests/{only_job(face).id}/result", headers={"prefer": "wait=3600"})
    )
    await face.clock.advance(face.resources.policy.longest_wait)
    answer = await task

    assert answer.json()["status"] == "in_queue"
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_read_of_what_is_not_there_does_not_wait(
    face: Face, caller: httpx.AsyncClient
) -> None:
    answer = await caller.get("/v1/requests/req_none/result", headers=WAIT_10)

    assert answer.status_code == 404
    assert len(face.resources.waiters) == 0


async def test_status_hints_and_foretells_from_the_model_s_own_history(
    face: Face, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    job = await run(face)
    path = f"/v1/requests/{job.id}/status"
    before = await caller.get(path)
    face.stores.memory.runs[job.model_id] = [n * 1000 for n in range(20, 120)]
    face.stores.memory.run_counts[job.model_id] = 100
    await face.resources.histories.refresh()
    face.clock.move(timedelta(seconds=5))
    after = await caller.get(path)

    assert before.headers["retry-after"] == "2"
    assert "estimated_finish" not in before.json()
    assert after.headers["retry-after"] == "24"
    assert after.json()["estimated_finish"] == {
        "p50": "2026-03-01T12:01:09Z",
        "p90": "2026-03-01T12:01:49Z",
    }


async def test_a_success_enters_its_model_s_history(face: Face, caller: httpx.AsyncClient) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    job = await run(face)
    face.clock.move(timedelta(seconds=42))
    await succeed(face)
    await face.resources.histories.refresh()

    assert face.resources.histories.of(job.model_id).times == (timedelta(seconds=42),)


async def test_a_longer_wait_may_be_granted(face: Face, caller: httpx.AsyncClient) -> None:
    policy = replace(face.resources.policy, longest_wait=timedelta(minutes=5))
    face.change(policy=policy)
    task = await asked(caller.post(KLING_PATH, json=KLING_INPUT, headers={"prefer": "wait=3600"}))
    await face.clock.advance(timedelta(minutes=5))

    assert (await task).headers["preference-applied"] == "wait=300"
