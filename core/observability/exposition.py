"""Serves metrics to Prometheus as a small ASGI application, on a listener of its own."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import timedelta
from typing import Any, Final

from core.clock import Clock
from core.observability.prometheus import CONTENT_TYPE

MAX_AGE: Final = timedelta(seconds=1)
"""How long a rendering is served again: it costs milliseconds, and no scraper needs it twice."""

Render = Callable[[], Awaitable[bytes]]
_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]


class MetricsExposition:
    """`GET /metrics`, and `GET /healthz` for orchestrators, which need no token."""

    def __init__(self, render: Render, clock: Clock, token: str | None = None) -> None:
        """`render` returns the metrics in Prometheus' text format; `token` None: anybody may read.

        The listener is on loopback by default.
        """
        self._render = render
        self._clock = clock
        self._token = token
        self._rendered = b""
        self._rendered_at: timedelta | None = None
        self._lock = asyncio.Lock()

    async def __call__(
        self, scope: _Message, _: Callable[[], Awaitable[_Message]], send: _Send
    ) -> None:
        """Serve one request."""
        if scope["path"] == "/healthz":
            await _respond(send, 200, b"ok\n")
        elif scope["path"] != "/metrics" or scope["method"] != "GET":
            await _respond(send, 404, b"There is nothing at this address.\n")
        elif not self._is_permitted(scope["headers"]):
            await _respond(send, 401, b"The metrics token is needed: Authorization: Bearer ...\n")
        else:
            await _respond(send, 200, await self._metrics(), CONTENT_TYPE)

    def _is_permitted(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        if self._token is None:
            return True
        presented = [value for name, value in headers if name == b"authorization"]
        return len(presented) == 1 and hmac.compare_digest(
            presented[0], f"Bearer {self._token}".encode()
        )

    async def _metrics(self) -> bytes:
        async with self._lock:
            now = self._clock.monotonic()
            if self._rendered_at is None or now - self._rendered_at >= MAX_AGE:
                self._rendered = await self._render()
                self._rendered_at = now
            return self._rendered


async def _respond(
    send: _Send, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:  # noqa: PLR2004 - RFC 9110, 11.6.1
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
