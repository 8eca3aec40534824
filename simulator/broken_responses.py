"""Broken responses: closed or reset connection, no response, a late one, an endless body.

Each is an ASGI response; closing and resetting need the connection of ``simulator.server``.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from simulator.clock import SimulatorClock

CONNECTION_EXTENSION = "simulator.connection"
_CHUNK = 64 * 1024
# Closing a socket that lingers for zero seconds makes the kernel send RST in place of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


def connection_extension(transport: asyncio.Transport) -> dict[str, dict[object, object]]:
    """Return the ASGI extension by which a response can break its own connection."""
    return {CONNECTION_EXTENSION: {"transport": transport}}


class HangingResponse(Response):
    """No response; ends when the client disconnects."""

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI's signature
        receive: Receive,
        send: Send,  # noqa: ARG002 - ASGI's signature
    ) -> None:
        """Wait for the disconnect."""
        while (await receive())["type"] != "http.disconnect":
            pass


class ClosedConnection(HangingResponse):
    """Closes the connection before the first byte of a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close, then wait for the disconnect, so that the server writes no response either."""
        _transport(scope).abort()
        await super().__call__(scope, receive, send)


class ResetConnection(ClosedConnection):
    """Resets the connection (TCP RST) in place of closing it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the socket option for RST, then close."""
        connection = _transport(scope).get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        await super().__call__(scope, receive, send)


class DelayedResponse(Response):
    """Another response, after a delay."""

    def __init__(self, response: Response, delay: timedelta, clock: SimulatorClock) -> None:
        super().__init__()
        self._response = response
        self._delay = delay
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then respond."""
        await self._clock.sleep(self._delay)
        await self._response(scope, receive, send)


def huge_response(size: int, status: int = 200) -> Response:
    """Return an unterminated JSON string of ``size`` bytes, streamed at the reader's speed."""
    return StreamingResponse(_filler(size), status_code=status, media_type="application/json")


async def _filler(size: int) -> AsyncIterator[bytes]:
    yield b'{"request_id":"'
    for start in range(0, size, _CHUNK):
        yield b"x" * min(_CHUNK, size - start)


def _transport(scope: Scope) -> asyncio.Transport:
    extension = scope.get("extensions", {}).get(CONNECTION_EXTENSION)
    if extension is None:
        text = "a connection can only be broken behind simulator.server"
        raise RuntimeError(text)
    return cast("asyncio.Transport", extension["transport"])
