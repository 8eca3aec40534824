"""Bodies of 60 MiB, one and forty at once: some are accepted, all are answered, small ones pass."""

import json
import select
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import run_gateway, running_service

MIB: Final = 2**20
PATH: Final = "/v1/models/some/large-inputs"
SENDERS: Final = 40
CHUNK: Final = 256 * 1024
TIMEOUT: Final = 300.0
MAX_GROWTH_MIB: Final = 600
"""The budget of bodies is 128 MiB; one body is parsed, hashed and sent to Redis at a time, which
takes several times its size."""


def large_body(size: int = 60 * MIB) -> bytes:
    """An input as RunComfy's ComfyUI nodes send it: a picture as a `data:` URI."""
    start, end = b'{"image":"data:image/png;base64,', b'"}'
    return start + b"A" * (size - len(start) - len(end)) + end


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers of an answer; status 0: the connection ended without one."""

    status: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service with its default limits, and the key of a tenant."""

    pid: int
    port: int
    key: str

    def send(self, body: bytes) -> Answer:
        """Submit a large body, and stop sending when the answer comes."""
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        address = ("127.0.0.1", self.port)
        with closing(socket.create_connection(address, timeout=TIMEOUT)) as connection:
            connection.sendall(head.encode())
            rest = memoryview(body)
            with suppress(ConnectionError):
                while rest and not select.select([connection], [], [], 0)[0]:
                    rest = rest[connection.send(rest[:CHUNK]) :]
            return read_answer(connection)

    def submit_small(self) -> int:
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"http://127.0.0.1:{self.port}{KLING_PATH}"
        with httpx.Client(trust_env=False, timeout=TIMEOUT) as caller:
            return caller.post(url, json=KLING_INPUT, headers=headers).status_code

    def peak_memory_mib(self) -> int:
        """The largest resident memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024


def read_answer(connection: socket.socket) -> Answer:
    received = b""
    with suppress(ConnectionError):
        while b"\r\n\r\n" not in received and (data := connection.recv(65_536)):
            received += data
    if b"\r\n\r\n" not in received:
        return Answer(0, {})
    first, *lines = received.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers)


@pytest.fixture
def service(redis_flushed: str, tmp_path: Path) -> Iterator[Service]:
    """One service process."""
    made = run_gateway(redis_flushed, "tenant", "create", "large", "--json")
    more = {"GATEWAY_MODELS__UNLISTED": "forward", "GATEWAY_BODY_TIMEOUT": "240"}
    with running_service(redis_flushed, tmp_path / "log", **more) as (process, port):
        yield Service(process.pid, port, json.loads(made.stdout)["key"])


def test_forty_at_once_exhaust_no_memory_and_stop_nobody(service: Service) -> None:
    assert service.submit_small() == 202
    body, before = large_body(), service.peak_memory_mib()
    assert service.send(body).status == 202
    after_one = service.peak_memory_mib()
    with ThreadPoolExecutor(SENDERS) as pool:
        sent = [pool.submit(service.send, body) for _ in range(SENDERS)]
        small = [service.submit_small() for _ in range(20)]
        answers = [one.result() for one in sent]
    grown = service.peak_memory_mib() - before
    statuses = Counter(answer.status for answer in answers)
    print(f"one: +{after_one - before} MiB; {SENDERS} at once: +{grown} MiB, {dict(statuses)}")
    assert small == [202] * 20
    assert set(statuses) <= {202, 503}
    assert statuses[202] >= 1
    assert all(int(one.headers["retry-after"]) > 0 for one in answers if one.status == 503)
    assert grown < MAX_GROWTH_MIB
    # Those that were refused come again, and are taken in one after the other.
    assert [service.send(body).status for _ in range(3)] == [202] * 3


def test_one_that_is_larger_than_the_limit_is_refused(service: Service) -> None:
    answer = service.send(large_body(64 * MIB + 1))
    assert answer.status == 413
    assert service.submit_small() == 202
