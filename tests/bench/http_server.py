"""A small HTTP/1.1 server for the simulated RunComfy and receiver: a function gives each answer.

As fast as Python allows, because it shares the machine with the gateway that is measured.
"""

import argparse
import asyncio
import signal
from collections.abc import Callable
from typing import Final

import httptools
import uvloop

from simulator.private_redis import LOOPBACK

Answer = Callable[[str, str, bytes, dict[str, str]], bytes]


_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class BenchHttpConnection(asyncio.Protocol):
    """One connection. `answer` gets method, path, body and headers, and gives a JSON body."""

    def __init__(self, answer: Answer) -> None:
        """Call `answer` for each request."""
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path = ""
        self._body = b""
        self._headers: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """The path, with its query."""
        self._path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer, and prepare for the next request."""
        method = self._parser.get_method().decode()
        body = self._answer(method, self._path, self._body, self._headers)
        self._path, self._body, self._headers = "", b"", {}
        if self._transport is not None:
            self._transport.write(_HEAD % len(body) + body)


def serve(answer: Answer, port: int) -> None:
    """Serve until SIGTERM."""
    uvloop.run(_serve(answer, port))


async def _serve(answer: Answer, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(
        lambda: BenchHttpConnection(answer), LOOPBACK, port, backlog=2048, reuse_address=True
    )
    await stopped.wait()
    server.close()


def arguments(about: str | None, *more: str) -> dict[str, float]:
    """`--port` and these numbers from the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True)
    for name in more:
        parser.add_argument(f"--{name}", type=float, default=0.0)
    return dict(vars(parser.parse_args()))
