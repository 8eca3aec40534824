"""`Prefer: wait=N`: the result if it arrives in time, otherwise the current state; no polling."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import BillingStatus, JobError, Trigger
from core.observability.events import RequestServed
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import Admission, AdmissionResult
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.asgi import AsgiCall
from tests.support.clock import run_ready_tasks
from tests.support.job_steps import OUTPUT, apply_trigger, finish_run, only_job, start_run
from tests.support.memory_store.jobs import MemoryJobStore

WAIT_10 = {"prefer": "wait=10"}
TEN = timedelta(seconds=10)


class ReadCountingJobStore(MemoryJobStore):
    """Counts its readers; unavailable to them while `away`."""

    reads = 0
    unavailable = False

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        self.reads += 1
        if self.unavailable:
            raise StoreUnavailable
        return await super().read(credential, job_id, projection, scope)


@pytest.fixture
def jobs(app: AppHarness) -> ReadCountingJobStore:
    store = ReadCountingJobStore(app.stores.memory)
    app.replace_stores(jobs=store)
    return store


async def submit_and_wait(call: Any) -> asyncio.Task[httpx.Response]:  # noqa: ANN401 - httpx's coroutine
    task = asyncio.create_task(call)
    await run_ready_tasks()
    return task


async def submit_job(caller: httpx.AsyncClient) -> asyncio.Task[httpx.Response]:
    return await submit_and_wait(caller.post(KLING_PATH, json=KLING_INPUT, headers=WAIT_10))


async def test_a_job_that_ends_in_time_is_answered_with_its_result(
    app: AppHarness, caller: httpx.AsyncClient, jobs: ReadCountingJobStore
) -> None:
    task = await submit_job(caller)
    await start_run(app)
    await app.clock.advance(timedelta(seconds=9))
    assert not task.done()
    await finish_run(app)
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["output"] == orjson.loads(OUTPUT)
    assert answer.json()["gateway_status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=10"
    assert answer.headers["location"].endswith(f"/{only_job(app).id}/status")
    assert jobs.reads == 1
    assert len(app.resources.subscriptions) == 0
    assert app.clock.sleepers == 0


async def test_time_that_runs_out_is_the_usual_202_with_the_present_status(
    app: AppHarness, caller: httpx.AsyncClient, jobs: ReadCountingJobStore
) -> None:
    task = await submit_job(caller)
    await start_run(app)
    await app.clock.advance(TEN)
    answer = await task

    assert answer.status_code == 202
    assert answer.json()["status"] == "in_progress"
    assert "output" not in answer.json()
    assert answer.headers["preference-applied"] == "wait=10"
    assert jobs.reads == 1


async def test_a_job_that_failed_for_good_is_a_200_that_says_so(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    task = await submit_job(caller)
    await start_run(app)
    error = JobError("upstream_failed", "No.")
    await apply_trigger(
        app, Trigger.RUN_FAILED, finished_at=app.clock.now(), error=error, billed=BillingStatus.NO
    )
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["code"] == "upstream_failed"


async def test_a_job_that_ended_although_its_news_was_lost_is_found_at_the_end_of_the_wait(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    task = await submit_job(caller)
    app.stores.memory.on_job_change = lambda *_, **__: None
    await start_run(app)
    await finish_run(app)
    await app.clock.advance(TEN)

    assert (await task).status_code == 200


async def test_a_store_that_went_away_takes_nothing_back(
    app: AppHarness, caller: httpx.AsyncClient, jobs: ReadCountingJobStore
) -> None:
    task = await submit_job(caller)
    jobs.unavailable = True
    app.resources.subscriptions.invalidate_all()
    await app.clock.advance(TEN)
    answer = await task

    assert answer.status_code == 202
    assert answer.json()["status"] == "in_queue"


async def test_a_key_that_may_not_read_is_told_no_result(app: AppHarness) -> None:
    key = await app.tenant("writers", scopes=frozenset({Scope.SUBMIT}))
    async with app.client(key) as caller:
        task = await submit_job(caller)
        await start_run(app)
        await finish_run(app)
        await app.clock.advance(TEN)
        answer = await task

    assert answer.status_code == 202
    assert "output" not in answer.json()


async def test_without_prefer_nothing_is_read_and_nobody_waits(
    app: AppHarness, caller: httpx.AsyncClient, jobs: ReadCountingJobStore
) -> None:
    answer = await caller.post(KLING_PATH, json=KLING_INPUT)

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert (jobs.reads, app.clock.sleepers) == (0, 0)


async def test_a_full_process_takes_the_job_and_does_not_wait(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    places = [app.resources.subscriptions.subscribe("other", "t") for _ in range(3)]
    answer = await caller.post(KLING_PATH, json=KLING_INPUT, headers=WAIT_10)

    assert len(places) == 3
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_a_process_that_stops_answers_at_once(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    task = await submit_job(caller)
    app.resources.subscriptions.close()

    assert (await task).status_code == 202


async def test_the_wait_is_no_part_of_our_own_time(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    task = await submit_job(caller)
    await app.clock.advance(TEN)
    await task

    (served,) = app.events_of(RequestServed)
    assert (served.duration, served.wait_duration) == (TEN, TEN)


async def test_who_hangs_up_is_waited_for_no_longer_and_cancels_nothing(
    app: AppHarness, key: str
) -> None:
    headers = {"authorization": f"Bearer {key}", "prefer": "wait=10", "host": "gateway.test"}
    body = orjson.dumps(KLING_INPUT)
    call = await AsgiCall.begin(app.serve, KLING_PATH, headers, method="POST", body=body)
    assert len(app.resources.subscriptions) == 1
    await call.disconnect()

    assert call.messages == []
    assert len(app.resources.subscriptions) == 0
    assert app.events_of(RequestServed)[0].status == 499
    assert only_job(app).cancel_requested_at is None


@pytest.mark.parametrize("what", ["status", "result"])
async def test_reads_wait_for_the_end_too(
    app: AppHarness, caller: httpx.AsyncClient, jobs: ReadCountingJobStore, what: str
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    path = f"/v1/requests/{only_job(app).id}/{what}"
    task = await submit_and_wait(caller.get(path, headers=WAIT_10))
    await start_run(app)
    await finish_run(app)
    answer = await task

    assert answer.status_code == 200
    assert answer.json()["gateway_status"] == "completed"
    assert answer.headers["preference-applied"] == "wait=10"
    assert jobs.reads == 2
    again = await caller.get(path, headers=WAIT_10)  # it has ended: nobody waits
    assert again.json() == answer.json()


async def test_a_read_whose_wait_runs_out_says_where_the_job_stands(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    task = await submit_and_wait(
        caller.get(f"/v1/requests/{only_job(app).id}/result", headers={"prefer": "wait=3600"})
    )
    await app.clock.advance(app.resources.policy.max_wait)
    answer = await task

    assert answer.json()["status"] == "in_queue"
    assert answer.headers["preference-applied"] == "wait=60"


async def test_a_read_of_what_is_not_there_does_not_wait(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    answer = await caller.get("/v1/requests/req_none/result", headers=WAIT_10)

    assert answer.status_code == 404
    assert len(app.resources.subscriptions) == 0


async def test_status_hints_and_foretells_from_the_model_s_own_history(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    job = await start_run(app)
    path = f"/v1/requests/{job.id}/status"
    before = await caller.get(path)
    app.stores.memory.run_times[job.model_id] = [n * 1000 for n in range(20, 120)]
    app.stores.memory.run_counts[job.model_id] = 100
    await app.resources.run_times.refresh()
    app.clock.move(timedelta(seconds=5))
    after = await caller.get(path)

    assert before.headers["retry-after"] == "2"
    assert "estimated_finish" not in before.json()
    assert after.headers["retry-after"] == "24"
    assert after.json()["estimated_finish"] == {
        "p50": "2026-03-01T12:01:09Z",
        "p90": "2026-03-01T12:01:49Z",
    }


async def test_a_success_enters_its_model_s_history(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)
    job = await start_run(app)
    app.clock.move(timedelta(seconds=42))
    await finish_run(app)
    await app.resources.run_times.refresh()

    assert app.resources.run_times.get(job.model_id).times == (timedelta(seconds=42),)


async def test_a_longer_wait_may_be_granted(app: AppHarness, caller: httpx.AsyncClient) -> None:
    policy = replace(app.resources.policy, max_wait=timedelta(minutes=5))
    app.replace_resources(policy=policy)
    task = await submit_and_wait(
        caller.post(KLING_PATH, json=KLING_INPUT, headers={"prefer": "wait=3600"})
    )
    await app.clock.advance(timedelta(minutes=5))

    assert (await task).headers["preference-applied"] == "wait=300"


@pytest.mark.parametrize("admission", [9, 30])
async def test_a_slow_admission_is_part_of_the_wait(
    app: AppHarness, caller: httpx.AsyncClient, admission: int
) -> None:
    stores = app.stores.jobs

    class Slow:
        """The jobs' store, which takes its time to admit."""

        def __getattr__(self, name: str) -> object:
            return getattr(stores, name)

        async def admit(self, admitted: Admission) -> AdmissionResult:
            await app.clock.sleep(timedelta(seconds=admission))
            return await stores.admit(admitted)

    app.replace_stores(jobs=Slow())
    task = await submit_job(caller)
    await app.clock.advance(timedelta(seconds=admission))
    await app.clock.advance(timedelta(seconds=1))
    assert (await task).status_code == 202
