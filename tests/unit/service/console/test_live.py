"""Parts of pages that change while they are open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from starlette.types import Message

from core.tenants.limits import Limits
from service.console.routes.live import INTERVAL
from service.streaming.shared_reads import LONGEST_AGE, MAX_ENTRIES, SharedReads
from tests.support.app import KLING_INPUT, KLING_PATH, MAX_SUBSCRIPTIONS, AppHarness
from tests.support.clock import FakeClock, run_ready_tasks
from tests.support.console import Browser, signed_in_tenant

MANY_STEPS = 40


@dataclass
class Stream:
    """An open live part: its status, and what came."""

    status: int = 0
    chunks: list[bytes] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()


async def run_all_tasks() -> None:
    for _ in range(MANY_STEPS):
        await run_ready_tasks()


@asynccontextmanager
async def opened(app: AppHarness, browser: Browser, path: str) -> AsyncIterator[Stream]:
    """Open a live part, and leave it at the end; httpx would wait for the stream's own end."""
    stream, left = Stream(), asyncio.Event()
    request = browser.http.build_request("GET", f"/console{path}")

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            stream.status = message["status"]
        else:
            stream.chunks.append(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path,
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("192.0.2.1", 1),
        "server": ("gateway.test", 80),
    }
    task = asyncio.ensure_future(app.serve(scope, receive, send))
    await run_all_tasks()
    yield stream
    left.set()
    await task


async def submitted(app: AppHarness, key: str) -> str:
    async with app.client(key) as caller:
        request_id: str = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()["request_id"]
    return request_id


async def test_a_part_is_sent_again_when_it_changes(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    async with opened(app, browser, "/live/requests") as stream:
        assert "No requests." in stream.text
        request_id = await submitted(app, key)
        app.clock.move(INTERVAL)
        await run_all_tasks()
        assert request_id in stream.text


async def test_an_open_page_uses_up_no_calls(app: AppHarness) -> None:
    key = await app.tenant("ape", limits=Limits(calls_per_minute=20))
    request_id = await submitted(app, key)
    browser = await signed_in_tenant(app, key)
    async with (
        opened(app, browser, "/live/home") as home,
        opened(app, browser, f"/live/request/{request_id}") as request,
    ):
        for _ in range(30):
            app.clock.move(INTERVAL / 10)
            await run_all_tasks()
        async with app.client(key) as caller:
            assert (await caller.get("/v1/usage")).status_code == httpx.codes.OK
            left = await caller.get(f"/v1/requests/{request_id}")
            assert left.status_code == httpx.codes.OK
        assert "event: fragment" in home.text
        assert "event: fragment" in request.text


async def test_streams_have_the_limit_of_waiting_callers(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    async with opened(app, browser, "/live/home") as first:
        for _ in range(MAX_SUBSCRIPTIONS - 1):
            assert app.resources.subscriptions.subscribe("", "video-team") is not None
        async with opened(app, browser, "/live/home") as refused:
            pass
    assert (first.status, refused.status) == (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)


async def test_a_stream_that_is_left_holds_no_place(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    for _ in range(MAX_SUBSCRIPTIONS + 1):
        async with opened(app, browser, "/live/home") as stream:
            assert stream.status == httpx.codes.OK
    assert not len(app.resources.subscriptions)


async def test_a_head_request_of_a_stream_ends(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    answer = await browser.http.head("/console/live/home")
    assert answer.status_code == httpx.codes.OK
    assert not len(app.resources.subscriptions)


async def test_a_stream_ends_when_the_process_stops(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    answer = asyncio.ensure_future(browser.http.get("/console/live/home"))
    await run_all_tasks()
    app.resources.subscriptions.close()
    assert "event: fragment" in (await answer).text


async def read_one() -> int:
    return 1


async def test_answers_that_nobody_may_use_are_dropped() -> None:
    clock = FakeClock()
    reads = SharedReads(clock)
    for number in range(10):
        await reads.get(number, read_one)
    clock.move(LONGEST_AGE + timedelta(seconds=1))
    await reads.get("newer", read_one)
    assert len(reads) == 1


async def test_the_number_of_answers_is_bounded() -> None:
    reads = SharedReads(FakeClock())
    for number in range(MAX_ENTRIES + 10):
        await reads.get(number, read_one)
    assert len(reads) == MAX_ENTRIES
