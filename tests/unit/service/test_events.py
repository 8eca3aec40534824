"""The event stream: history, then live, once each, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from core.errors import StoreUnavailable
from core.jobs.job import Fact
from core.observability.events import RequestServed
from core.tenants.api_keys import Scope
from service.streaming.event_stream import FROM_START, HEARTBEAT, last_seen
from tests.fakes.calls import Call
from tests.fakes.clock import settle
from tests.fakes.face import KLING_INPUT, KLING_PATH, Face
from tests.fakes.jobs import MemoryJobStore
from tests.fakes.lives import OUTPUT, only_job, run, step, succeed

if TYPE_CHECKING:
    import httpx

    from core.store.jobs import Depth, JobView
    from core.tenants.api_keys import Credential

HEART = timedelta(seconds=15)
WHOLE = ["request.in_queue", "request.in_progress", "request.completed"]


async def follow(face: Face, key: str, *, method: str = "GET", **headers: str) -> Call:
    path = f"/v1/requests/{only_job(face).id}/events"
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await Call.begin(
        face.serve, path, {"authorization": f"Bearer {key}"} | more, method=method
    )


@pytest.fixture(autouse=True)
async def _submitted(caller: httpx.AsyncClient) -> None:
    await caller.post(KLING_PATH, json=KLING_INPUT)


def names(call: Call) -> list[str]:
    return [event.event for event in call.events]


async def test_history_comes_first_then_what_happens_until_the_end(face: Face, key: str) -> None:
    call = await follow(face, key)
    assert names(call) == WHOLE[:1]
    await run(face)
    await settle()
    assert names(call) == WHOLE[:2]
    await succeed(face)
    await settle()

    assert names(call) == WHOLE
    assert [event.id for event in call.events] == ["0", "3", "5"]
    assert call.ended
    assert len(face.resources.waiters) == 0


async def test_the_answer_is_a_stream_that_no_proxy_holds_back(face: Face, key: str) -> None:
    call = await follow(face, key)

    assert call.status == 200
    assert call.headers["content-type"].startswith("text/event-stream")
    assert call.headers["cache-control"] == "no-store"
    assert call.headers["x-accel-buffering"] == "no"
    assert call.text.startswith("retry: 1000\n\n")
    await call.hang_up()


async def test_the_last_event_is_what_a_callback_carries(face: Face, key: str) -> None:
    await run(face)
    job = await succeed(face)
    call = await follow(face, key)
    event = orjson.loads(call.events[-1].data)

    assert event["type"] == "request.completed"
    assert event["data"]["request_id"] == job.id
    assert event["data"]["output"] == orjson.loads(OUTPUT)
    assert event["data"]["billed"] == "yes"


async def test_a_status_that_is_past_is_told_without_what_came_after(face: Face, key: str) -> None:
    await run(face)
    await succeed(face)
    past = orjson.loads((await follow(face, key)).events[0].data)

    assert past["data"]["status"] == "in_queue"
    assert not {"output", "billed", "finished_at"} & past["data"].keys()


@pytest.mark.parametrize(("seen", "rest"), [("0", WHOLE[1:]), ("3", WHOLE[2:]), ("4", WHOLE[2:])])
async def test_a_caller_that_comes_back_misses_nothing_and_gets_nothing_twice(
    face: Face, key: str, seen: str, rest: list[str]
) -> None:
    await run(face)
    await succeed(face)
    call = await follow(face, key, last_event_id=seen)

    assert names(call) == rest
    assert call.ended


async def test_who_has_seen_all_is_told_not_to_come_again(face: Face, key: str) -> None:
    await run(face)
    await succeed(face)
    call = await follow(face, key, last_event_id="5")

    assert (call.status, call.text) == (204, "")
    assert len(face.resources.waiters) == 0


@pytest.mark.parametrize("header", [None, "", "x", "-1", "\uff11", "9" * 40])
def test_an_id_that_is_none_of_ours_begins_at_the_start(header: str | None) -> None:
    assert last_seen(header) == FROM_START


async def test_changes_that_come_together_are_all_told(face: Face, key: str) -> None:
    call = await follow(face, key)
    call.stop_reading()
    await run(face)
    await step(face, Fact.STILL_RUNNING, upstream_running=False)
    await step(face, Fact.STILL_RUNNING, upstream_running=True)
    call._unread.set()
    await settle()

    assert names(call) == [*WHOLE[:2], *WHOLE[:2]]
    await call.hang_up()


async def test_silence_is_filled_with_heartbeats_that_read_nothing(face: Face, key: str) -> None:
    call = await follow(face, key)
    before = len(call.messages)
    await face.clock.advance(3 * HEART)

    assert [message["body"] for message in call.messages[before:]] == [HEARTBEAT] * 3
    assert len(call.events) == 1
    await call.hang_up()


async def test_who_leaves_leaves_nothing_behind(face: Face, key: str) -> None:
    call = await follow(face, key)
    await face.clock.advance(HEART)
    await call.hang_up()

    assert call.task is not None
    assert call.task.done()
    assert len(face.resources.waiters) == 0
    assert face.clock.sleepers == 0
    served = face.of(RequestServed)[-1]
    assert served.wait_duration == served.duration == HEART


async def test_a_process_that_stops_ends_its_streams(face: Face, key: str) -> None:
    call = await follow(face, key)
    face.resources.waiters.close()
    await settle()

    assert call.ended
    assert names(call) == WHOLE[:1]


async def test_a_full_process_refuses_but_says_what_is_wrong_first(face: Face, key: str) -> None:
    places = [face.resources.waiters.join("other") for _ in range(3)]
    call = await follow(face, key)
    wrong = await Call.begin(
        face.serve, "/v1/requests/req_none/events", {"authorization": f"Bearer {key}"}
    )

    assert len(places) == 3
    assert call.status == 503
    assert orjson.loads(call.text)["code"] == "too_many_waiters"
    assert "retry-after" in call.headers
    assert wrong.status == 404


async def test_another_tenant_s_job_is_not_found(face: Face) -> None:
    call = await follow(face, await face.tenant("others"))

    assert call.status == 404
    assert len(face.resources.waiters) == 0


async def test_a_head_says_what_a_get_would_and_waits_for_nothing(face: Face, key: str) -> None:
    call = await follow(face, key, method="HEAD")

    assert (call.status, call.text, call.ended) == (200, "", True)
    assert call.headers["content-type"].startswith("text/event-stream")


async def test_a_revoked_key_ends_the_stream_at_the_next_news(face: Face, key: str) -> None:
    call = await follow(face, key)
    face.stores.memory.keys.clear()
    await run(face)
    await settle()

    assert call.ended
    assert names(call) == WHOLE[:1]


class AwayJobs(MemoryJobStore):
    """Away to readers while it is told so."""

    away = False

    async def read(
        self, credential: Credential, job_id: str, depth: Depth, scope: Scope = Scope.READ
    ) -> JobView:
        if self.away:
            raise StoreUnavailable
        return await super().read(credential, job_id, depth, scope)


async def test_news_that_could_not_be_read_come_with_a_heartbeat(face: Face, key: str) -> None:
    jobs = AwayJobs(face.stores.memory)
    face.change(jobs=jobs)
    call = await follow(face, key)
    jobs.away = True
    await run(face)
    await settle()
    assert names(call) == WHOLE[:1]
    await face.clock.advance(HEART)
    jobs.away = False
    await face.clock.advance(HEART)

    assert names(call) == WHOLE[:2]
    await call.hang_up()


async def test_an_estimate_goes_with_the_present_event(face: Face, key: str) -> None:
    job = only_job(face)
    face.stores.memory.runs[job.model_id] = [n * 1000 for n in range(20, 120)]
    face.stores.memory.run_counts[job.model_id] = 100
    await face.resources.histories.refresh()
    await run(face)
    call = await follow(face, key)
    first, present = (orjson.loads(event.data)["data"] for event in call.events)

    assert "estimated_finish" not in first
    assert present["estimated_finish"]["p50"] == "2026-03-01T12:01:09Z"
    await call.hang_up()


async def test_a_caller_that_takes_nothing_is_dropped(face: Face, key: str) -> None:
    # Patience is two heartbeats of the event loop's own time.
    heartbeat = timedelta(milliseconds=5)
    face.change(policy=replace(face.resources.policy, heartbeat=heartbeat))
    call = await follow(face, key)
    call.stop_reading()
    await run(face)
    assert call.task is not None
    await asyncio.wait_for(call.task, 5)

    assert not call.ended
    assert len(face.resources.waiters) == 0
    assert face.of(RequestServed)[-1].duration == timedelta()
