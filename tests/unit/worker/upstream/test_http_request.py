import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import pytest

from worker.upstream.error_classification import ResponseTooLarge
from worker.upstream.http_request import HttpRequest, parse_capped_retry_after
from worker.upstream.transports import HttpxPoster

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _ask(**changes: object) -> HttpRequest:
    given = {
        "method": "GET",
        "url": "https://runcomfy.test/x",
        "headers": {},
        "deadline": timedelta(seconds=30),
        "max_bytes": 100,
    }
    return HttpRequest(**{**given, **changes})  # type: ignore[arg-type] # test shorthand


def _poster(answer: Callable[[httpx.Request], httpx.Response]) -> HttpxPoster:
    return HttpxPoster(httpx.MockTransport(answer), timedelta(seconds=5))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2099 11:00:00 GMT", 3600),
    ],
)
def test_retry_after_is_bounded(value: str, seconds: int) -> None:
    assert parse_capped_retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-5", "1.5", "1, 2", "Mon, 99 Foo 2026", "1 Jan 99999999999999"]
)
def test_what_is_no_retry_after(value: str | None) -> None:
    assert parse_capped_retry_after(value, NOW) is None


async def test_a_reply_is_read_whole() -> None:
    headers = {"Retry-After": "5", "Content-Type": "text/plain"}
    poster = _poster(lambda _: httpx.Response(503, headers=headers, content=b"x" * 100))

    reply = await poster.send_request(_ask(), NOW)

    assert (reply.status, reply.body, reply.content_type) == (503, b"x" * 100, "text/plain")
    assert (reply.retry_after, reply.error) == (timedelta(seconds=5), None)


async def test_reading_stops_at_the_bound() -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(40)
            yield b"x" * 40

    poster = _poster(lambda _: httpx.Response(200, content=endless()))

    reply = await poster.send_request(_ask(), NOW)

    assert isinstance(reply.error, ResponseTooLarge)
    assert (reply.status, len(reply.body), len(sent)) == (200, 80, 3)


async def test_a_drip_ends_at_the_deadline_with_what_there_was() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    poster = _poster(lambda _: httpx.Response(200, content=drip()))

    reply = await poster.send_request(_ask(deadline=timedelta(milliseconds=20)), NOW)

    assert isinstance(reply.error, TimeoutError)
    assert (reply.status, reply.body) == (200, b"first")


async def test_whatever_breaks_becomes_a_value() -> None:
    def explode(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    reply = await _poster(explode).send_request(_ask(), NOW)

    assert (reply.status, type(reply.error)) == (None, ZeroDivisionError)


async def test_a_url_that_cannot_be_becomes_a_value() -> None:
    poster = _poster(lambda _: httpx.Response(200))

    reply = await poster.send_request(_ask(url="https://x:port/"), NOW)

    assert isinstance(reply.error, httpx.InvalidURL)


async def test_cancellation_passes_through() -> None:
    began = asyncio.Event()

    async def hang() -> AsyncIterator[bytes]:
        began.set()
        await asyncio.Event().wait()
        yield b""

    poster = _poster(lambda _: httpx.Response(200, content=hang()))
    task = asyncio.create_task(poster.send_request(_ask(), NOW))
    await began.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_ask_shows_no_header_and_no_body() -> None:
    shown = repr(_ask(headers={"Authorization": "Bearer tok"}, content=b"prompt"))

    assert "tok" not in shown
    assert "prompt" not in shown
