"""A receiver in a process of its own, so that it costs the sender nothing: 200 to every POST."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import uvloop

ROOT: Final = Path(__file__).parents[2]
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_LENGTH: Final = b"content-length:"


class MinimalReceiver(asyncio.Protocol):
    """One connection."""

    _transport: asyncio.Transport
    _buffer: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is of no such class

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            start = self._buffer.lower().index(_LENGTH) + len(_LENGTH)
            end = head + 4 + int(self._buffer[start : self._buffer.index(b"\r\n", start)])
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            self._transport.write(ANSWER)


async def main() -> None:
    """Serve until killed; the port is the only line on stdout."""
    server = await asyncio.get_running_loop().create_server(
        MinimalReceiver, "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def receiver_process() -> Iterator[str]:
    """Its URL."""
    command = [sys.executable, "-m", "tests.bench.minimal_receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/hooks"
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(main())
