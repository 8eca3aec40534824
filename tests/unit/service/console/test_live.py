"""Parts of pages that change while they are open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import httpx
from starlette.types import Message

from core.jobs.job import Job
from core.jobs.query import Cursor, JobQuery
from core.page import Page
from core.store.interfaces import JobIndexRepository, JobRepository
from core.tenants.api_keys import Credential
from core.tenants.limits import Limits
from service.console.routes.live import INTERVAL
from service.streaming.shared_reads import LONGEST_AGE, MAX_ENTRIES, SharedReads
from service.streaming.subscriptions import Subscriptions
from service.tenants.known_keys import KnownKeys
from tests.support.app import KLING_INPUT, KLING_PATH, MAX_SUBSCRIPTIONS, AppHarness
from tests.support.clock import FakeClock, run_ready_tasks
from tests.support.console import Browser, signed_in_tenant

MANY_STEPS = 15
MANY_CONSOLES = 30


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


@dataclass
class CountingIndex:
    """An index of jobs that counts the lists that are read."""

    index: JobIndexRepository
    reads: int = 0

    async def list_page(self, credential: Credential, query: JobQuery) -> Page[Job, Cursor]:
        self.reads += 1
        return await self.index.list_page(credential, query)


@dataclass
class CountingKeys:
    """Keys in a store that takes a moment, which counts the checks."""

    jobs: JobRepository
    checks: int = 0

    async def authenticate(self, *call: Any) -> None:  # noqa: ANN401 - as the store's
        self.checks += 1
        await run_ready_tasks(3)
        await self.jobs.authenticate(*call)


async def test_many_open_consoles_cost_one_read_a_second(app: AppHarness, key: str) -> None:
    counting = CountingIndex(app.stores.job_index)
    app.replace_stores(job_index=counting)
    subscriptions = Subscriptions(app.clock, MANY_CONSOLES, MANY_CONSOLES)
    keys = CountingKeys(app.stores.jobs)
    known_keys = KnownKeys(cast("Any", keys), app.clock)
    app.replace_resources(subscriptions=subscriptions, known_keys=known_keys)
    browser = await signed_in_tenant(app, key)
    async with AsyncExitStack() as stack:
        for _ in range(MANY_CONSOLES):
            await stack.enter_async_context(opened(app, browser, "/live/requests"))
            app.clock.move(INTERVAL / MANY_CONSOLES)  # they are opened at any time
        assert len(subscriptions) == MANY_CONSOLES
        counting.reads = keys.checks = 0
        seconds = 10
        for _ in range(seconds * 10):
            app.clock.move(timedelta(seconds=0.1))
            await run_ready_tasks()
        assert 0 < counting.reads <= seconds
        assert 0 < keys.checks <= seconds


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
