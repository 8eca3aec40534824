"""TLS before a server that speaks none: the Redis that comes by a wheel is built without it.

Knows nothing of what passes.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from simulator.private_redis import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


_PIECE: Final = 1 << 16


_WITHIN: Final = 10.0


@contextmanager
def tls_proxy(port: int, *, certificate: Path, key: Path) -> Iterator[int]:
    """End TLS at the port that is yielded, and pass everything on to `port`, both on loopback.

    Runs in a thread of its own, so that a test may use it whatever loop it has.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    front = _TlsProxy(port, context)
    thread = threading.Thread(target=asyncio.run, args=(front.serve(),))
    thread.start()
    try:
        yield front.opened.result(_WITHIN)
    finally:
        front.stop()
        thread.join()


class _TlsProxy:
    """The server, and its two signs: that it is open, and that it is to end."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.opened: Future[int] = Future()
        self._port, self._context = port, context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._meet, LOOPBACK, 0, ssl=self._context)
        self.opened.set_result(server.sockets[0].getsockname()[1])
        await self._ending.wait()
        server.close()

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            await asyncio.gather(_pass_on(reader, beyond[1]), _pass_on(beyond[0], writer))
        finally:
            writer.transport.abort()
            beyond[1].transport.abort()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
    sink.close()


@dataclass(frozen=True)
class CertificateAuthority:
    """A throw-away CA and one server context per set of names."""

    folder: Path

    def run(self, *words: str) -> None:
        subprocess.run(
            ["openssl", *words],  # noqa: S607 - wherever the machine keeps it
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def create(self) -> None:
        self.run(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-subj", "/CN=Test CA", "-days", "2", "-keyout", "ca.key"),
            *("-addext", "keyUsage=critical,keyCertSign", "-out", "ca.pem"),
        )

    def server(self, *names: str) -> ssl.SSLContext:
        stem = "-".join(names).replace(":", "_")
        (self.folder / f"{stem}.ext").write_text(f"subjectAltName={','.join(names)}\n")
        self.run(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=server", "-keyout", f"{stem}.key", "-out", f"{stem}.csr"),
        )
        self.run(
            *("x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", f"{stem}.ext", "-out", f"{stem}.pem"),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return context

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.pem")
