"""The event stream: past events, then live ones, each once, and its end."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import httpx
import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Trigger
from core.observability.events import RequestServed
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from service.streaming.event_stream import FROM_START, HEARTBEAT, parse_last_event_id
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.asgi import AsgiCall
from tests.support.clock import run_ready_tasks
from tests.support.job_steps import OUTPUT, apply_trigger, finish_run, only_job, start_run
from tests.support.memory_store.jobs import MemoryJobStore

HEARTBEAT_INTERVAL = timedelta(seconds=15)
WHOLE = ["request.in_queue", "request.in_progress", "request.completed"]


async def follow(app: AppHarness, key: str, *, method: str = "GET", **headers: str) -> AsgiCall:
    path = f"/v1/requests/{only_job(app).id}/events"
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await AsgiCall.begin(
        app.serve, path, {"authorization": f"Bearer {key}"} | more, method=method
    )


@pytest.fixture(autouse=True)
async def _submitted(caller: httpx.AsyncClient) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)


def names(call: AsgiCall) -> list[str]:
    return [event.event for event in call.events]


async def test_history_comes_first_then_what_happens_until_the_end(
    app: AppHarness, key: str
) -> None:
    call = await follow(app, key)
    assert names(call) == WHOLE[:1]
    await start_run(app)
    await run_ready_tasks()
    assert names(call) == WHOLE[:2]
    await finish_run(app)
    await run_ready_tasks()

    assert names(call) == WHOLE
    assert [event.id for event in call.events] == ["0", "3", "5"]
    assert call.ended
    assert len(app.resources.subscriptions) == 0


async def test_the_answer_is_a_stream_that_no_proxy_holds_back(app: AppHarness, key: str) -> None:
    call = await follow(app, key)

    assert call.status == 200
    assert call.headers["content-type"].startswith("text/event-stream")
    assert call.headers["cache-control"] == "no-store, no-transform"
    assert call.headers["x-accel-buffering"] == "no"
    assert call.text.startswith("retry: 1000\n\n")
    await call.disconnect()


async def test_the_last_event_is_what_a_callback_carries(app: AppHarness, key: str) -> None:
    await start_run(app)
    job = await finish_run(app)
    call = await follow(app, key)
    event = orjson.loads(call.events[-1].data)

    assert event["type"] == "request.completed"
    assert event["data"]["request_id"] == job.id
    assert event["data"]["output"] == orjson.loads(OUTPUT)
    assert event["data"]["billed"] == "yes"


async def test_a_status_that_is_past_is_told_without_what_came_after(
    app: AppHarness, key: str
) -> None:
    await start_run(app)
    await finish_run(app)
    past = orjson.loads((await follow(app, key)).events[0].data)

    assert past["data"]["status"] == "in_queue"
    assert not {"output", "billed", "finished_at"} & past["data"].keys()


@pytest.mark.parametrize(("seen", "rest"), [("0", WHOLE[1:]), ("3", WHOLE[2:]), ("4", WHOLE[2:])])
async def test_a_caller_that_comes_back_misses_nothing_and_gets_nothing_twice(
    app: AppHarness, key: str, seen: str, rest: list[str]
) -> None:
    await start_run(app)
    await finish_run(app)
    call = await follow(app, key, last_event_id=seen)

    assert names(call) == rest
    assert call.ended


async def test_who_has_seen_all_is_told_not_to_come_again(app: AppHarness, key: str) -> None:
    await start_run(app)
    await finish_run(app)
    call = await follow(app, key, last_event_id="5")

    assert (call.status, call.text) == (204, "")
    assert len(app.resources.subscriptions) == 0


@pytest.mark.parametrize("header", [None, "", "x", "-1", "\uff11", "9" * 40])
def test_an_id_that_is_none_of_ours_begins_at_the_start(header: str | None) -> None:
    assert parse_last_event_id(header) == FROM_START


async def test_changes_that_come_together_are_all_told(app: AppHarness, key: str) -> None:
    call = await follow(app, key)
    call.stop_reading()
    await start_run(app)
    await apply_trigger(app, Trigger.STILL_RUNNING, upstream_running=False)
    await apply_trigger(app, Trigger.STILL_RUNNING, upstream_running=True)
    call._unread.set()
    await run_ready_tasks()

    assert names(call) == [*WHOLE[:2], *WHOLE[:2]]
    await call.disconnect()


async def test_silence_is_filled_with_heartbeats_that_read_nothing(
    app: AppHarness, key: str
) -> None:
    call = await follow(app, key)
    before = len(call.messages)
    await app.clock.advance(3 * HEARTBEAT_INTERVAL)

    assert [message["body"] for message in call.messages[before:]] == [HEARTBEAT] * 3
    assert len(call.events) == 1
    await call.disconnect()


async def test_who_leaves_leaves_nothing_behind(app: AppHarness, key: str) -> None:
    call = await follow(app, key)
    await app.clock.advance(HEARTBEAT_INTERVAL)
    await call.disconnect()

    assert call.task is not None
    assert call.task.done()
    assert len(app.resources.subscriptions) == 0
    assert app.clock.sleepers == 0
    served = app.events_of(RequestServed)[-1]
    assert served.wait_duration == served.duration == HEARTBEAT_INTERVAL


async def test_a_process_that_stops_ends_its_streams(app: AppHarness, key: str) -> None:
    call = await follow(app, key)
    app.resources.subscriptions.close()
    await run_ready_tasks()

    assert call.ended
    assert names(call) == WHOLE[:1]


async def test_a_full_process_refuses_but_says_what_is_wrong_first(
    app: AppHarness, key: str
) -> None:
    places = [app.resources.subscriptions.subscribe("other", "t") for _ in range(3)]
    call = await follow(app, key)
    wrong = await AsgiCall.begin(
        app.serve, "/v1/requests/req_none/events", {"authorization": f"Bearer {key}"}
    )

    assert len(places) == 3
    assert call.status == 503
    assert orjson.loads(call.text)["code"] == "too_many_waiters"
    assert "retry-after" in call.headers
    assert wrong.status == 404


async def test_another_tenant_s_job_is_not_found(app: AppHarness) -> None:
    call = await follow(app, await app.tenant("others"))

    assert call.status == 404
    assert len(app.resources.subscriptions) == 0


async def test_a_head_says_what_a_get_would_and_waits_for_nothing(
    app: AppHarness, key: str
) -> None:
    call = await follow(app, key, method="HEAD")

    assert (call.status, call.text, call.ended) == (200, "", True)
    assert call.headers["content-type"].startswith("text/event-stream")


async def test_a_revoked_key_ends_the_stream_at_the_next_news(app: AppHarness, key: str) -> None:
    call = await follow(app, key)
    app.stores.memory.keys.clear()
    await start_run(app)
    await run_ready_tasks()

    assert call.ended
    assert names(call) == WHOLE[:1]


class UnreadableJobStore(MemoryJobStore):
    """Unavailable to readers while `away` is set."""

    unavailable = False

    async def read(
        self, credential: Credential, job_id: str, projection: Projection, scope: Scope = Scope.READ
    ) -> JobView:
        if self.unavailable:
            raise StoreUnavailable
        return await super().read(credential, job_id, projection, scope)


async def test_news_that_could_not_be_read_come_with_a_heartbeat(app: AppHarness, key: str) -> None:
    jobs = UnreadableJobStore(app.stores.memory)
    app.replace_stores(jobs=jobs)
    call = await follow(app, key)
    jobs.unavailable = True
    await start_run(app)
    await run_ready_tasks()
    assert names(call) == WHOLE[:1]
    await app.clock.advance(HEARTBEAT_INTERVAL)
    jobs.unavailable = False
    await app.clock.advance(HEARTBEAT_INTERVAL)

    assert names(call) == WHOLE[:2]
    await call.disconnect()


async def test_an_estimate_goes_with_the_present_event(app: AppHarness, key: str) -> None:
    job = only_job(app)
    app.stores.memory.run_times[job.model_id] = [n * 1000 for n in range(20, 120)]
    app.stores.memory.run_counts[job.model_id] = 100
    await app.resources.run_times.refresh()
    await start_run(app)
    call = await follow(app, key)
    first, present = (orjson.loads(event.data)["data"] for event in call.events)

    assert "estimated_finish" not in first
    assert present["estimated_finish"]["p50"] == "2026-03-01T12:01:09Z"
    await call.disconnect()


async def test_a_caller_that_takes_nothing_is_dropped(app: AppHarness, key: str) -> None:
    # Patience is two heartbeats of the event loop's own time.
    heartbeat = timedelta(milliseconds=5)
    app.replace_resources(policy=replace(app.resources.policy, heartbeat=heartbeat))
    call = await follow(app, key)
    call.stop_reading()
    await start_run(app)
    assert call.task is not None
    await asyncio.wait_for(call.task, 5)

    assert not call.ended
    assert len(app.resources.subscriptions) == 0
    assert app.events_of(RequestServed)[-1].duration == timedelta()
