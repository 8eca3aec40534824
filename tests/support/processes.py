"""Starts single processes of the gateway, and finds those that a test left behind."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from simulator.private_redis import free_port
from simulator.stack import without_settings

ROOT = Path(__file__).parents[2]


GATEWAY = [sys.executable, "-m", "cli.main"]


READY_TIMEOUT = 60.0


def environment(redis_url: str, port: int, **more: str) -> dict[str, str]:
    """The variables of a gateway process, on top of this process's own."""
    own = {
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_PORT": str(port),
        "GATEWAY_SERVICE_METRICS_PORT": "0",
    }
    return {**os.environ, **own, **more}


def run_gateway(redis_url: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the CLI to its end."""
    return subprocess.run(
        [*GATEWAY, *arguments],
        cwd=ROOT,
        env=environment(redis_url, 0, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def running_service(
    redis_url: str, log: Path, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A front end that answers, and its port; `more` are variables of its environment."""
    port = free_port()
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*GATEWAY, "serve"], cwd=ROOT, env=environment(redis_url, port, **more), stderr=lines
        )
    try:
        until = time.monotonic() + READY_TIMEOUT
        while not is_answering(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def is_answering(url: str) -> bool:
    """Whether the front end at `url` answers its liveness check."""
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


MARK_VARIABLE: Final = "PROCESS_MARK"


class MarkedProcesses:
    """Processes with one mark in their environment: those of a test, and all that they started."""

    def __init__(self, mark: str) -> None:
        self._entry = f"{MARK_VARIABLE}={mark}".encode()
        self.environment = {**without_settings(os.environ), MARK_VARIABLE: mark}

    def running(self) -> dict[int, str]:
        """Command lines by process id. Needs /proc: empty on other systems."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._entry in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = command.decode(errors="replace")
            except OSError:
                continue  # it has ended, or belongs to another user
        return found

    def wait_until_gone(self, within_seconds: float = 60) -> bool:
        """Whether all have ended within the time."""
        deadline = time.monotonic() + within_seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.running()

    def kill(self) -> None:
        """Kill those that still run."""
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def marked_processes() -> Iterator[MarkedProcesses]:
    """A new mark; processes that still carry it after the block are killed."""
    marked = MarkedProcesses(secrets.token_hex(8))
    try:
        yield marked
    finally:
        marked.kill()
