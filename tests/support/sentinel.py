"""A Redis Sentinel over private servers: fail-overs on request."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from core.settings.definitions import ProcessSettings
from simulator.private_redis import LOOPBACK, PrivateRedis, find_server, free_port, private_redis

MASTER: Final = "house"
TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class SentinelProcess:
    """A running Sentinel."""

    port: int
    pid: int
    password: str | None = None

    def wait_for_replicas(self, count: int) -> None:
        """Return when it knows the master and `count` replicas."""
        _wait(lambda: self._master().get("num-slaves") == count)

    def fail_over(self) -> None:
        """Start a planned fail-over."""
        with redis.Redis(port=self.port, password=self.password) as client:
            client.execute_command("SENTINEL", "FAILOVER", MASTER)

    def is_master(self, port: int) -> bool:
        """Whether it names the server at `port` as the master, with no fail-over in progress."""
        master = self._master()
        return master.get("port") == port and "failover_in_progress" not in master["flags"]

    def _master(self) -> dict[str, Any]:
        try:
            with redis.Redis(
                port=self.port, password=self.password, decode_responses=True
            ) as client:
                masters: dict[str, dict[str, Any]] = client.sentinel_masters()
        except redis.ConnectionError:
            return {}
        return masters.get(MASTER, {})


@contextmanager
def sentinel(
    folder: Path, master_port: int, *, password: str | None = None
) -> Iterator[SentinelProcess]:
    """Run a Sentinel that watches one master."""
    port, configuration = free_port(), folder / "sentinel.conf"
    login = f"requirepass {password}\n" if password else ""
    configuration.write_text(
        f"port {port}\nbind {LOOPBACK}\ndir {folder}\n{login}"
        f"sentinel monitor {MASTER} {LOOPBACK} {master_port} 1\n"
        f"sentinel down-after-milliseconds {MASTER} 3000\n"
        # Not before twice this time does it replace a master again.
        f"sentinel failover-timeout {MASTER} 5000\n",
        encoding="utf-8",
    )
    command = [str(find_server()), str(configuration), "--sentinel"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield SentinelProcess(port, process.pid, password)
    finally:
        process.terminate()
        process.wait(timeout=TIMEOUT)


@contextmanager
def replicated_redis(folder: Path) -> Iterator[tuple[PrivateRedis, PrivateRedis, SentinelProcess]]:
    """Run a master, a replica in step with it, and a Sentinel that knows both."""
    with private_redis(directory=folder / "a") as master:
        follow = ("--replicaof", LOOPBACK, str(master.port))
        with (
            private_redis(directory=folder / "b", options=follow) as replica,
            sentinel(folder, master.port) as watcher,
        ):
            watcher.wait_for_replicas(1)
            with redis.Redis(port=replica.port) as client:
                _wait(lambda: client.info("replication").get("master_link_status") == "up")
            yield master, replica, watcher


def settings_of(watcher: SentinelProcess, **more: Any) -> ProcessSettings:  # noqa: ANN401 - any setting
    """The settings of a process that finds its Redis through `watcher`."""
    address = f"{LOOPBACK}:{watcher.port}"
    return ProcessSettings(redis_sentinels=(address,), redis_master=MASTER, **more)


def _wait(condition: Any) -> None:  # noqa: ANN401 - a function without arguments
    until = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
