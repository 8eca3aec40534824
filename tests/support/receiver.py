"""A webhook receiver and a sender for tests."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from core.clock import SystemClock
from core.webhooks.secrets import encode_webhook_secret
from core.webhooks.url_policy import Address, AllowedTargets, TargetPolicy
from worker.webhooks.receiver_tls import ReceiverTls
from worker.webhooks.sender import AttemptRequest, Sender, SenderPolicy, open_sender

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


SECRET: Final = encode_webhook_secret(bytes(range(32)))


BODY: Final = '{"type":"request.completed","data":{"prompt":"perché"}}'.encode()


POLICY: Final = SenderPolicy(
    targets=TargetPolicy(allowed=AllowedTargets.parse(["127.0.0.0/8"])),
    connect_timeout=timedelta(seconds=30),
    total_timeout=timedelta(seconds=60),
)
"""Timeouts that a busy machine does not reach."""


IMPATIENT: Final = replace(POLICY, total_timeout=timedelta(seconds=1))
"""For receivers that never answer."""


OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\n\r\nok"


class Loopback:
    """A resolver for which every name is 127.0.0.1."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        assert host
        return (ip_address("127.0.0.1"),)


@dataclass
class RecordingReceiver:
    """Keeps what a server received: heads, bodies, and the SNI of each connection."""

    port: int = 0
    connections: int = 0
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    def headers(self) -> dict[str, str]:
        """The first request's headers, names in lower case."""
        lines = [line.split(": ", 1) for line in self.heads[0].split("\r\n")[1:] if line]
        return {name.lower(): value for name, value in lines}


def answer_with(answer: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


async def serve(
    receiver: RecordingReceiver,
    behavior: Behaviour,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Record each request of one connection, then behave."""
    receiver.connections += 1
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"(?i)content-length: (\d+)", head)
            receiver.heads.append(head)
            receiver.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
            await behavior(writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def running_receiver(
    behavior: Behaviour, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RecordingReceiver]:
    """Run a receiver on loopback."""
    receiver = RecordingReceiver()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(serve(receiver, behavior, reader, writer)))

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_attempt(url: str, number: int = 1, queue: str = "") -> AttemptRequest:
    return AttemptRequest("msg_1", url, BODY, (SECRET,), number, queue=queue)


@asynccontextmanager
async def open_test_sender(
    tls: ssl.SSLContext | None = None, policy: SenderPolicy = POLICY
) -> AsyncIterator[Sender]:
    contexts = None if tls is None else ReceiverTls(tls)
    async with open_sender(policy, SystemClock(), resolver=Loopback(), tls=contexts) as sender:
        yield sender
