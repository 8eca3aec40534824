"""A small HTTP client: one connection, bytes as they are, from an address of loopback."""

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self

from simulator.private_redis import LOOPBACK

TIMEOUT_SECONDS: Final = 60.0
"""For one answer: far beyond what any of them takes, however slow the machine."""


class Answer(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


def head(method: str, path: str, key: str, *more: str) -> bytes:
    """The head of a request; `more` are header lines."""
    lines = (f"{method} {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {key}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def request(method: str, path: str, key: str, body: object = None, *more: str) -> bytes:
    """A whole request with a JSON body; `more` are header lines."""
    content = b"" if body is None else json.dumps(body).encode()
    return head(method, path, key, f"Content-Length: {len(content)}", *more) + content


class Connection:
    """An open connection. Use it as a context manager."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, address: str) -> Self:
        """Connect from `address`. Raises `OSError`."""
        opening = asyncio.open_connection(LOOPBACK, port, local_addr=(address, 0), limit=2**20)
        return cls(*await asyncio.wait_for(opening, TIMEOUT_SECONDS))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write, and wait while too much is unread. Raises `OSError`."""
        self.writer.write(data)
        await self.writer.drain()

    async def exchange(self, data: bytes) -> Answer:
        """Send a request and return its answer. Raises `OSError`, `EOFError`, `TimeoutError`."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self.send(data)
            return await self.read_answer()

    async def read_answer(self) -> Answer:
        """Read the next answer, which has a length or chunks."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(_split, lines[1:])}
        return Answer(int(lines[0].split()[1]), await self._read_body(headers))

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return body


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")
