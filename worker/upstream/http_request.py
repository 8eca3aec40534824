"""One HTTP exchange, bounded in time and size, as a value. Knows httpx; knows no URLs, no JSON."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import httpx

from worker.retry_after import read_retry_after
from worker.upstream.error_classification import Oversized

RETRY_AFTER_LIMIT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: as much as there was, and what broke it off, if anything.

    `status` is None when no answer began. `body` may be cut short when `broke` is set.
    """

    status: int | None
    body: bytes = b""
    content_type: str = ""
    retry_after: timedelta | None = None
    broke: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """A 2xx status line arrived."""
        return self.status is not None and HTTPStatus(200) <= self.status < HTTPStatus(300)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `deadline` spans it whole, connect to last byte; `size` bounds the answer."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    deadline: timedelta
    size: int
    content: bytes | None = field(default=None, repr=False)


async def exchange(client: httpx.AsyncClient, ask: Ask, now: datetime) -> Reply:
    """Send `ask` and read its answer within its bounds. Raises nothing but cancellation.

    Redirects are not followed: the token would go with them. `now` dates a Retry-After.
    """
    body = bytearray()
    response: httpx.Response | None = None
    broke: Exception | None = None
    try:
        async with asyncio.timeout(ask.deadline.total_seconds()):
            response = await client.send(_request(client, ask), stream=True, follow_redirects=False)
            await read_bounded(response.aiter_bytes(), body, ask.size)
    except Exception as error:  # noqa: BLE001 - whatever it is, a paid submit may stand behind it
        broke = error
    finally:
        if response is not None:
            with contextlib.suppress(Exception):
                await response.aclose()
    if response is None:
        return Reply(status=None, broke=broke)
    return reply_of(response.status_code, response.headers, bytes(body), broke, now)


def _request(client: httpx.AsyncClient, ask: Ask) -> httpx.Request:
    return client.build_request(ask.method, ask.url, headers=ask.headers, content=ask.content)


async def read_bounded(chunks: AsyncIterable[bytes], body: bytearray, size: int) -> None:
    """Add `chunks` to `body`, which keeps what came before a break. Raises `Oversized`."""
    async for chunk in chunks:
        if len(body) + len(chunk) > size:
            raise Oversized(f"the answer is larger than {size} bytes")
        body += chunk


def reply_of(
    status: int, headers: Mapping[str, str], body: bytes, broke: Exception | None, now: datetime
) -> Reply:
    """An answer that began. `headers` are looked up by their lower-case names, `now` dates them."""
    return Reply(
        status=status,
        body=body,
        content_type=headers.get("content-type", ""),
        retry_after=retry_after(headers.get("retry-after"), now),
        broke=broke,
    )


def retry_after(value: str | None, now: datetime) -> timedelta | None:
    """The span a `Retry-After` header asks for, within 1 hour; None where there is none."""
    asked = read_retry_after(value, now)
    return None if asked is None else min(asked, RETRY_AFTER_LIMIT)
