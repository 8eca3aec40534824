"""Puts load on an HTTP server: with `wrk` where it is installed, else with an asyncio loop."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from simulator.private_redis import LOOPBACK
from tests.bench.results import percentile

NUMBER: Final = "@n@"
"""A placeholder for a number that is unique in the run."""
_SCRIPT: Final = Path(__file__).with_name("wrk_request.lua")
_APART: Final = 10_000_000
"""The distance between the first numbers of two loads."""


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One kind of request; `NUMBER` in body and headers is replaced each time."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a load. `errors`: answers other than 2xx and 3xx, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        """Answered requests per second."""
        return self.requests / self.seconds


class Loader(Protocol):
    """Puts load on a port of this machine."""

    @property
    def name(self) -> str:
        """For the report."""
        ...

    def load(self, port: int, ask: LoadRequest, connections: int, seconds: float) -> LoadResult:
        """Send requests over so many connections, each as fast as it is answered."""
        ...


def open_loader() -> Loader:
    """The best loader of this machine."""
    found = shutil.which("wrk")
    return OwnLoader() if found is None else Wrk(found)


def _first_numbers() -> Iterator[int]:
    return count(time.time_ns() // 1_000_000_000 * 1_000_000_000 % 10**15, _APART)


@dataclass(slots=True)
class Wrk:
    """`wrk`, one thread."""

    command: str
    _numbers: Iterator[int] = field(default_factory=_first_numbers)

    @property
    def name(self) -> str:
        """See `Loader.name`."""
        return "wrk"

    def load(self, port: int, ask: LoadRequest, connections: int, seconds: float) -> LoadResult:
        """See `Loader.load`. wrk counts whole seconds: less than one is made one."""
        with tempfile.NamedTemporaryFile() as body:
            body.write(ask.body.encode())
            body.flush()
            own = [
                *(self.command, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
                *("--timeout", "10s", "-s", str(_SCRIPT), f"http://{LOOPBACK}:{port}"),
                *("--", ask.method, ask.path, body.name, str(next(self._numbers))),
                *(f"{name}: {value}" for name, value in _with_headers(ask).items()),
            ]
            done = subprocess.run(own, capture_output=True, text=True, check=True)
        return LoadResult(**json.loads(done.stdout.strip().splitlines()[-1]))


@dataclass(slots=True)
class OwnLoader:
    """An asyncio loop; it is limited by one core of Python, so that ratios are flatter."""

    _numbers: Iterator[int] = field(default_factory=_first_numbers)

    @property
    def name(self) -> str:
        """See `Loader.name`."""
        return "own asyncio loop"

    def load(self, port: int, ask: LoadRequest, connections: int, seconds: float) -> LoadResult:
        """See `Loader.load`."""
        return asyncio.run(self._load(port, ask, connections, seconds))

    async def _load(
        self, port: int, ask: LoadRequest, connections: int, seconds: float
    ) -> LoadResult:
        took: list[float] = []
        numbers = count(next(self._numbers))
        began = time.monotonic()
        until = began + seconds
        callers = (_call(port, ask, numbers, until, took) for _ in range(connections))
        errors = sum(await asyncio.gather(*callers))
        return LoadResult(
            requests=len(took),
            seconds=time.monotonic() - began,
            p50_ms=percentile(took, 0.5) * 1000,
            p99_ms=percentile(took, 0.99) * 1000,
            errors=errors,
        )


async def _call(
    port: int, ask: LoadRequest, numbers: Iterator[int], until: float, took: list[float]
) -> int:
    errors = 0
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        while (began := time.monotonic()) < until:
            writer.write(request_bytes(ask, next(numbers)))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(content_length(head))
            took.append(time.monotonic() - began)
            errors += head[9:10] not in b"23"
    finally:
        writer.close()
    return errors


def request_bytes(ask: LoadRequest, number: int) -> bytes:
    """The request's bytes."""
    body = ask.body.replace(NUMBER, str(number))
    own = {**_with_headers(ask), "content-length": str(len(body.encode()))}
    lines = [f"{ask.method} {ask.path} HTTP/1.1", f"host: {LOOPBACK}"]
    lines += [f"{name}: {value}" for name, value in own.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").replace(NUMBER, str(number)).encode() + body.encode()


def content_length(head: bytes) -> int:
    """The length of the body that follows; 0 without a `content-length`."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0


def _with_headers(ask: LoadRequest) -> dict[str, str]:
    kind = {"content-type": "application/json"} if ask.body else {}
    return {**kind, **ask.headers}


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of its living children (Linux)."""
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(sum(map(int, _stat(one)[11:13])) for one in process_tree(pid)) / ticks


def memory_mb(pid: int) -> float:
    """Resident memory of a process and of its children, in MB (Linux)."""
    pages = sum(int(_stat(one)[21]) for one in process_tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def process_tree(pid: int) -> list[int]:
    """A process and its children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [pid, *map(int, text.split())]


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
