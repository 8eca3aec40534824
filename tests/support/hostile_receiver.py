"""Hostile receivers in a process of their own: each behavior answers one request in its way.

Blocking sockets and threads: the amount that is sent must be bounded by the reader.
"""

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_RESET: Final = struct.pack("ii", 1, 0)
_BLOCK: Final = 64 * 1024
_SETTINGS: Final = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_PING: Final = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)


def _send_endlessly(line: socket.socket, piece: bytes) -> None:
    block = piece * max(_BLOCK // len(piece), 1)
    while True:
        line.sendall(block)


def _send_slowly(line: socket.socket, piece: bytes) -> None:
    while True:
        line.sendall(piece)
        time.sleep(0.02)


def _reset(line: socket.socket) -> None:
    time.sleep(0.1)  # so that what was sent is read first
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    line.close()


def _behavior(start: bytes, then: Callable[..., None], *more: bytes) -> Callable[..., None]:
    def behave(line: socket.socket) -> None:
        line.sendall(start)
        then(line, *more)

    return behave


_HEAD: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNKED: Final = _HEAD + b"transfer-encoding: chunked\r\n\r\n"
BEHAVIORS: Final[dict[str, Callable[[socket.socket], None]]] = {
    "endless status line": _behavior(b"HTTP/1.1 200 ", _send_endlessly, b"x"),
    "endless header": _behavior(_HEAD + b"x: ", _send_endlessly, b"y"),
    "endless headers": _behavior(_HEAD, _send_endlessly, b"x: y\r\n"),
    "large headers": _behavior(_HEAD, _send_endlessly, b"x: " + b"y" * 8000 + b"\r\n"),
    "folded header": _behavior(_HEAD + b"x: y\r\n", _send_endlessly, b" y\r\n"),
    "dripping header": _behavior(_HEAD, _send_slowly, b"x: y\r\n"),
    "dripping status": _behavior(b"", _send_slowly, b"H"),
    "endless nothing": _behavior(b"", _send_endlessly, b"\r\n"),
    "interim storm": _behavior(b"", _send_endlessly, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim storm with headers": _behavior(
        b"", _send_endlessly, b"HTTP/1.1 103 Early Hints\r\nlink: " + b"y" * 4000 + b"\r\n\r\n"
    ),
    "dripping interims": _behavior(b"", _send_slowly, b"HTTP/1.1 102 Processing\r\n\r\n"),
    "other protocol": _behavior(
        b"HTTP/1.1 101 Go\r\nupgrade: x\r\n\r\n", _send_endlessly, b"garbage"
    ),
    "http/2": _behavior(_SETTINGS, _send_endlessly, _PING),
    "noise": _behavior(b"", _send_endlessly, bytes(range(256))),
    "endless body": _behavior(
        _HEAD + b"content-length: 99999999999\r\n\r\n", _send_endlessly, b"x"
    ),
    "body until the end": _behavior(_HEAD + b"\r\n", _send_endlessly, b"x"),
    "dripping body": _behavior(_HEAD + b"content-length: 9999\r\n\r\n", _send_slowly, b"x"),
    "endless chunks": _behavior(_CHUNKED, _send_endlessly, b"4\r\nabcd\r\n"),
    "tiny chunks": _behavior(_CHUNKED, _send_endlessly, b"1\r\na\r\n"),
    "huge chunk": _behavior(_CHUNKED + b"fffffffffffffff\r\n", _send_endlessly, b"x"),
    "endless chunk extension": _behavior(_CHUNKED + b"4;", _send_endlessly, b"x"),
    "endless trailer": _behavior(_CHUNKED + b"0\r\n", _send_endlessly, b"x: y\r\n"),
    "endless gzip": _behavior(
        _HEAD + b"content-encoding: gzip\r\ncontent-length: 99999999\r\n\r\n",
        _send_endlessly,
        b"\x1f\x8b",
    ),
    "reset after the head": _behavior(_HEAD + b"content-length: 10\r\n\r\n", _reset),
    "reset in the body": _behavior(_HEAD + b"content-length: 10\r\n\r\nhalf", _reset),
    "answers unasked": _behavior(OK, _send_endlessly, OK),
    "noise after the answer": _behavior(OK, _send_endlessly, b"noise"),
    "body of a 204": _behavior(b"HTTP/1.1 204 No\r\n\r\n", _send_endlessly, b"x"),
}


def _serve(line: socket.socket) -> None:
    with line, suppress(OSError):
        held = b""
        while b"\r\n\r\n" not in held:
            held += line.recv(_BLOCK)
        name = held.split(b" ", 2)[1].decode().lstrip("/").replace("_", " ")
        BEHAVIORS[name.replace("%20", " ")](line)


def main() -> None:
    """Serve until killed; the port is the only line on stdout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            line, _ = server.accept()
            threading.Thread(target=_serve, args=(line,), daemon=True).start()


@contextmanager
def hostile_receiver() -> Iterator[int]:
    """Run the receivers and yield their port; a URL's path names the behavior (`_` for a space)."""
    command = [sys.executable, "-m", "tests.support.hostile_receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    main()
