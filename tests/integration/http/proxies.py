"""The examples of deploy/proxy as they are, run in front of a real service."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from simulator.private_redis import free_port
from tests.support.processes import ROOT
from tests.support.tls import CertificateAuthority

HOST: Final = "gateway.example.com"
READY_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class Example:
    """One of the examples: its file, its program, and where in it the backends are."""

    file: str
    program: str
    options: tuple[str, ...]
    backend: Callable[[int, int], str]
    replaced: tuple[tuple[str, str], ...] = ()
    """Further texts of the file, and what they become."""

    def written(self, folder: Path, port: int, backends: tuple[int, ...]) -> Path:
        """Return the example with this port, these backends and the folder's certificate."""
        text = (ROOT / "deploy/proxy" / self.file).read_text()
        pattern = re.escape(self.backend(0, 8000))
        lines = "\n".join(self.backend(index, each) for index, each in enumerate(backends))
        text, count = re.subn(pattern, lines, text)
        assert count == 1
        for before, after in (
            ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("bind :80", f"bind 127.0.0.1:{free_port()}"),
            ("bind :443 ", f"bind 127.0.0.1:{port} "),
            ("/run/nginx.pid", str(folder / "nginx.pid")),
            ("/dev/stderr", str(folder / "error.log")),
            ("/dev/stdout", str(folder / "access.log")),
            ("/etc/nginx/", f"{folder}/"),
            ("/etc/haproxy/", f"{folder}/"),
            *self.replaced,
        ):
            text = text.replace(before, after)
        path = folder / self.file
        path.write_text(text)
        return path


NGINX: Final = Example(
    "nginx.conf",
    "nginx",
    ("-g", "daemon off;", "-c"),
    lambda _, port: f"server 127.0.0.1:{port};",
)
HAPROXY: Final = Example(
    "haproxy.cfg",
    "haproxy",
    ("-db", "-f"),
    lambda index, port: f"    server service-{index + 1} 127.0.0.1:{port} check",
)


@contextmanager
def running_proxy(
    example: Example, folder: Path, certificates: CertificateAuthority, *backends: int
) -> Iterator[str]:
    """Run the example in front of the backends, and yield its URL."""
    stem = certificates.folder / f"DNS_{HOST}-IP_127.0.0.1"
    certificate, key = stem.with_name(stem.name + ".pem"), stem.with_name(stem.name + ".key")
    chain = certificate.read_text() + (key.read_text() if example is HAPROXY else "")
    (folder / "gateway.pem").write_text(chain)
    (folder / "gateway.key").write_text(key.read_text())
    port = free_port()
    config = example.written(folder, port, backends)
    log = folder / "proxy.log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [example.program, *example.options, str(config)], stdout=lines, stderr=lines
        )
    try:
        until = time.monotonic() + READY_TIMEOUT
        while not _is_listening(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(READY_TIMEOUT)


def _is_listening(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True


@contextmanager
def client(url: str, certificates: CertificateAuthority, **headers: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=url,
        headers={"host": HOST, **headers},
        verify=certificates.trusted(),
        trust_env=False,
        timeout=READY_TIMEOUT,
    ) as caller:
        yield caller
