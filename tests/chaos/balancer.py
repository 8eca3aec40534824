"""HAProxy with the configuration of deploy/proxy in front of a stack's services, without TLS."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from simulator.private_redis import free_port
from tests.support.processes import ROOT

LOOPBACK: Final = "127.0.0.1"
_TIMEOUT: Final = timedelta(seconds=120)
_POLL: Final = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A running HAProxy."""

    url: str
    control: Path
    """Its socket for commands."""

    def wait_until_up(self, servers: int) -> None:
        """Return once its checks have found so many services ready.

        Raises:
            TimeoutError: they were not ready in time.
        """
        deadline = time.monotonic() + _TIMEOUT.total_seconds()
        while self._count_up() < servers:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the balancer does not find {servers} services ready")
            time.sleep(_POLL.total_seconds())

    def _count_up(self) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.control))
            control.sendall(b"show stat\n")
            rows = b"".join(iter(lambda: control.recv(65536), b"")).decode().splitlines()
        heads = rows[0].lstrip("# ").split(",")
        named = [dict(zip(heads, row.split(","), strict=False)) for row in rows[1:] if row]
        return sum(
            row["svname"].startswith("service-") and row["status"].startswith("UP") for row in named
        )


def _configuration(port: int, control: Path, backends: Sequence[str]) -> str:
    text = (ROOT / "deploy/proxy/haproxy.cfg").read_text()
    servers = "\n".join(
        f"    server service-{number} {address} check"
        for number, address in enumerate(backends, start=1)
    )
    for pattern, instead in (
        (r"^    bind :80$", f"    bind {LOOPBACK}:{port}"),
        (r"^    bind :443 .*$", ""),
        (r"^    http-request redirect scheme https .*$", ""),
        (r"^    server service-1 .*$", servers),
        (r"^    log stdout .*$", f"    stats socket {control}"),
    ):
        text, count = re.subn(pattern, instead, text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"haproxy.cfg has no line {pattern}")
    return text


@contextmanager
def running_balancer(folder: Path, services: Sequence[str]) -> Iterator[Balancer]:
    """Run HAProxy in front of services, by their URLs, once it has found them all ready."""
    command = shutil.which("haproxy")
    if command is None:
        raise FileNotFoundError("haproxy is not installed")
    port, control = free_port(), folder / "haproxy.socket"
    config = folder / "haproxy.cfg"
    addresses = [url.removeprefix("http://") for url in services]
    config.write_text(_configuration(port, control, addresses))
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([command, "-db", "-f", config], stdout=log, stderr=log)
    try:
        balancer = Balancer(f"http://{LOOPBACK}:{port}", control)
        deadline = time.monotonic() + _TIMEOUT.total_seconds()
        while not control.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL.total_seconds())
        balancer.wait_until_up(len(services))
        yield balancer
    finally:
        process.terminate()
        process.wait(_TIMEOUT.total_seconds())
