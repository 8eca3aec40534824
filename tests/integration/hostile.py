"""Receivers that mean harm, in a process of their own: each manner answers one request its way.

Blocking sockets and threads: what a receiver sends must be bounded by who reads, not by us.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).parents[2]
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_RESET: Final = struct.pack("ii", 1, 0)
_BLOCK: Final = 64 * 1024
_SETTINGS: Final = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING: Final = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)


def _endlessly(line: socket.socket, piece: bytes) -> None:
    block = piece * max(_BLOCK // len(piece), 1)
    while True:
        line.sendall(block)


def _drips(line: socket.socket, piece: bytes) -> None:
    while True:
        line.sendall(piece)
        time.sleep(0.02)


def _reset(line: socket.socket) -> None:
    time.sleep(0.1)  # what was sent is to be read first
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    line.close()


def _manner(start: bytes, then: Callable[..., None], *more: bytes) -> Callable[..., None]:
    def behave(line: socket.socket) -> None:
        line.sendall(start)
        then(line, *more)

    return behave


_HEAD: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNKED: Final = _HEAD + b"transfer-encoding: chunked\r\n\r\n"
MANNERS: Final[dict[str, Callable[[socket.socket], None]]] = {
    "endless status line": _manner(b"HTTP/1.1 200 ", _endlessly, b"x"),
    "endless header": _manner(_HEAD + b"x: ", _endlessly, b"y"),
    "endless headers": _manner(_HEAD, _endlessly, b"x: y\r\n"),
    "large headers": _manner(_HEAD, _endlessly, b"x: " + b"y" * 8000 + b"\r\n"),
    "folded header": _manner(_HEAD + b"x: y\r\n", _endlessly, b" y\r\n"),
    "dripping header": _manner(_HEAD, _drips, b"x: y\r\n"),
    "dripping status": _manner(b"", _drips, b"H"),
    "endless nothing": _manner(b"", _endlessly, b"\r\n"),
    "interim storm": _manner(b"", _endlessly, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim storm with headers": _manner(
        b"", _endlessly, b"HTTP/1.1 103 Early Hints\r\nlink: " + b"y" * 4000 + b"\r\n\r\n"
    ),
    "dripping interims": _manner(b"", _drips, b"HTTP/1.1 102 Processing\r\n\r\n"),
    "other protocol": _manner(b"HTTP/1.1 101 Go\r\nupgrade: x\r\n\r\n", _endlessly, b"garbage"),
    "http/2": _manner(_SETTINGS, _endlessly, _PING),
    "noise": _manner(b"", _endlessly, bytes(range(256))),
    "endless body": _manner(_HEAD + b"content-length: 99999999999\r\n\r\n", _endlessly, b"x"),
    "body until the end": _manner(_HEAD + b"\r\n", _endlessly, b"x"),
    "dripping body": _manner(_HEAD + b"content-length: 9999\r\n\r\n", _drips, b"x"),
    "endless chunks": _manner(_CHUNKED, _endlessly, b"4\r\nabcd\r\n"),
    "tiny chunks": _manner(_CHUNKED, _endlessly, b"1\r\na\r\n"),
    "huge chunk": _manner(_CHUNKED + b"fffffffffffffff\r\n", _endlessly, b"x"),
    "endless chunk extension": _manner(_CHUNKED + b"4;", _endlessly, b"x"),
    "endless trailer": _manner(_CHUNKED + b"0\r\n", _endlessly, b"x: y\r\n"),
    "endless gzip": _manner(
        _HEAD + b"content-encoding: gzip\r\ncontent-length: 99999999\r\n\r\n",
        _endlessly,
        b"\x1f\x8b",
    ),
    "reset after the head": _manner(_HEAD + b"content-length: 10\r\n\r\n", _reset),
    "reset in the body": _manner(_HEAD + b"content-length: 10\r\n\r\nhalf", _reset),
    "answers unasked": _manner(OK, _endlessly, OK),
    "noise after the answer": _manner(OK, _endlessly, b"noise"),
    "body of a 204": _manner(b"HTTP/1.1 204 No\r\n\r\n", _endlessly, b"x"),
}


def _serve(line: socket.socket) -> None:
    with line, suppress(OSError):
        held = b""
        while b"\r\n\r\n" not in held:
            held += line.recv(_BLOCK)
        name = held.split(b" ", 2)[1].decode().lstrip("/").replace("_", " ")
        MANNERS[name.replace("%20", " ")](line)


def main() -> None:
    """Serve until killed; the port is the only line on stdout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            line, _ = server.accept()
            threading.Thread(target=_serve, args=(line,), daemon=True).start()


@contextmanager
def hostile_process() -> Iterator[int]:
    """Its port; the first word of a path is a manner, blanks written `_`."""
    command = [sys.executable, "-m", "tests.integration.hostile"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    main()
