"""Runs an S3 server on the loopback: moto's, with objects in memory, which fails on request."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from simulator.private_redis import LOOPBACK, free_port

FAULTS_PATH: Final = "/_faults"
PAGE: Final = 10
"""Objects that one call lists; S3 itself lists 1,000."""
TIMEOUT: Final = timedelta(seconds=60)
_POLL: Final = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class S3Faults:
    """How calls fail. `rate`: that part of them is answered with `status`.

    Every second one that fails has been done all the same. `delay_seconds` is before each call.
    """

    rate: float = 0.0
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which obstore finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def create_bucket(self, name: str) -> str:
        """Create an empty bucket; return its URL for a setting of the gateway."""
        self._call("PUT", f"/{name}")
        return f"s3://{name}"

    def fail(self, faults: S3Faults) -> None:
        """Fail as `faults` says from now on; `S3Faults()` ends it."""
        self._call("PUT", FAULTS_PATH, json=asdict(faults))

    def _call(self, method: str, path: str, **request: Any) -> None:  # noqa: ANN401 - httpx's own
        answer = httpx.request(
            method, self.url + path, trust_env=False, timeout=TIMEOUT.total_seconds(), **request
        )
        answer.raise_for_status()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server without buckets."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.s3_process", str(port)]
    environment = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    server = S3Server(port, process)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(server: S3Server) -> None:
    until = time.monotonic() + TIMEOUT.total_seconds()
    while True:
        try:
            server.fail(S3Faults())
        except httpx.TransportError:
            assert server.process.poll() is None, "the S3 server has ended"
            assert time.monotonic() < until, "the S3 server does not answer"
            time.sleep(_POLL.total_seconds())
        else:
            return
