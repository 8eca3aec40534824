"""An HTTP proxy that opens tunnels (CONNECT) to one server, whatever name it is told."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from simulator.private_redis import LOOPBACK


class ProxyFault(Enum):
    """What the proxy does in place of opening a tunnel."""

    CLOSE = "closes the connection"
    HANG = "never answers"
    GARBAGE = "answers no HTTP"
    REFUSE = "403"
    UNREACHABLE = "502"


@dataclass
class ConnectProxy:
    """The proxy's port, the credentials that it wants, and the targets that it was asked for."""

    target_port: int
    credentials: str | None = None
    fault: ProxyFault | None = None
    port: int = 0
    targets: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT, then pass bytes on until either side ends."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.targets.append(head.split()[1])
            if self.fault is not None:
                await self._fail(self.fault, reader, writer)
            elif not self._admits(head):
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            else:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _admits(self, head: str) -> bool:
        if self.credentials is None:
            return True
        wanted = b64encode(self.credentials.encode()).decode()
        return f"proxy-authorization: basic {wanted}".lower() in head.lower()

    async def _fail(
        self, fault: ProxyFault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match fault:
            case ProxyFault.HANG:
                await reader.read()
            case ProxyFault.GARBAGE:
                writer.write(b"\x16\x03\x01 not HTTP\r\n\r\n")
            case ProxyFault.REFUSE | ProxyFault.UNREACHABLE:
                writer.write(f"HTTP/1.1 {fault.value} No\r\ncontent-length: 0\r\n\r\n".encode())
            case ProxyFault.CLOSE:
                pass

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection(LOOPBACK, self.target_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, beyond[1]), _copy(beyond[0], writer))
        finally:
            beyond[1].transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def connect_proxy(
    target_port: int, credentials: str | None = None, fault: ProxyFault | None = None
) -> AsyncIterator[ConnectProxy]:
    """Yield a running proxy in front of `target_port` on loopback."""
    proxy = ConnectProxy(target_port, credentials, fault)
    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(_into_task(proxy, tasks), LOOPBACK, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _into_task(
    proxy: ConnectProxy, tasks: set[asyncio.Task[None]]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    return connected
