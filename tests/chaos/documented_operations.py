"""What an operator does to Redis: the commands of `docs/redis.md`, run as the page has them.

`redis-cli` is read, not called: the tests need no more than a server's binary.
"""

import asyncio
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import redis

from simulator.private_redis import LOOPBACK, URL_VARIABLE, PrivateRedis
from simulator.stack import ROOT, stop_all
from tests.chaos.store_faults import StoreFault
from tests.chaos.store_under_attack import StoreUnderAttack, sleep

PAGE: Final = ROOT / "docs" / "redis.md"
DATA_FOLDER: Final = "/var/lib/redis"
SENTINEL_PORT: Final = "26379"
TIMEOUT: Final = timedelta(seconds=120)
_POLL: Final = timedelta(milliseconds=200)


def commands_of(section: str) -> list[str]:
    """Return the lines of a section's first block of commands."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = rf"^## {re.escape(section)}\n.*?^```sh\n(.*?)^```"
    found = re.search(pattern, page, re.DOTALL | re.MULTILINE)
    assert found is not None, section
    return found[1].splitlines()


@dataclass(slots=True)
class Operator:
    """Runs the page's lines, with the names of servers and folders in place of the page's."""

    store: StoreUnderAttack
    hosts: Mapping[str, PrivateRedis] = field(default_factory=dict)
    journal_copy: Path | None = None
    copied_at: str = ""

    def run(self, section: str) -> None:
        """Run a section from beginning to end."""
        for line in commands_of(section):
            command, _, until = line.partition("#")
            if command:
                self._command(shlex.split(command.partition("|")[0]), until)
            else:
                self._step(until)

    def _command(self, words: list[str], until: str) -> None:
        store = self.store
        match words:
            case ["redis-cli", "-p", port, *command] if port == SENTINEL_PORT:
                self._sentinel(command)
            case ["redis-cli", "-h", host, *command]:
                self._redis(self.hosts[host], self._with_ports(command), until)
            case ["redis-cli", "shutdown"]:
                store.master.stop()
            case ["redis-cli", *command]:
                self._redis(store.master, command, until)
            case ["redis-server", _]:
                store.master.start()
            case ["gateway", *command]:
                store.stack.run_gateway(*self._with_time(command))
            case _:
                folder = str(store.master.directory)
                command = [word.replace(DATA_FOLDER, folder) for word in words]
                done = subprocess.run(command, cwd=store.stack.plan.folder, check=False)
                # Redis appends while tar reads: the page says so.
                assert done.returncode == 0 or "expected" in until, command
                if "journal's copy" in until and self.journal_copy is not None:
                    store.swap_journal(self.journal_copy)

    def _with_time(self, command: list[str]) -> list[str]:
        pairs = pairwise(["", *command])
        return [self.copied_at if before == "--at" else word for before, word in pairs]

    def _with_ports(self, command: list[str]) -> list[str]:
        if command[:2] == ["replicaof", "OLD"]:
            return ["replicaof", LOOPBACK, str(self.hosts["OLD"].port)]
        return command

    def _redis(self, server: PrivateRedis, command: list[str], until: str) -> None:
        if command == ["shutdown"]:
            server.stop()
            return
        with redis.Redis(port=server.port) as client:
            if "master_link_status" in until:
                _wait(lambda: client.info("replication").get("master_link_status") == "up")
            elif "offset" in until:
                _wait(lambda: _is_in_step(client.info("replication")))
            else:
                client.execute_command(*command)

    def _sentinel(self, command: list[str]) -> None:
        watcher = self.store.watcher
        assert watcher is not None
        with redis.Redis(port=watcher.port) as client:
            client.execute_command(*command)
        if command[:2] == ["sentinel", "get-master-addr-by-name"]:
            _wait(lambda: watcher.is_master(self.store.servers[1].port))

    def _step(self, step: str) -> None:
        stack = self.store.stack
        children = [*stack.services, *stack.workers]
        if "stop services and workers" in step:
            stop_all(children)
        if "start services and workers" in step:
            moved = self._moved() if "NEW" in step else {}
            stack.environment = {**stack.environment, **moved}
            for child in children:
                child.environment = {**child.environment, **moved}
                child.start()
            for child in children:
                child.wait_until_ready()

    def _moved(self) -> Mapping[str, str]:
        """Let the new server be the master; return what processes need for it."""
        self.store.servers[0] = self.hosts["NEW"]
        return {URL_VARIABLE: self.hosts["NEW"].url}


async def _planned_failover(store: StoreUnderAttack) -> None:
    operator = Operator(store, {"OLD": store.master})
    await asyncio.to_thread(operator.run, "Planned fail-over")
    store.servers.reverse()
    await store.wait_for_replica()


async def _move(store: StoreUnderAttack) -> None:
    new = store.start_server("moved", from_copy=False)
    await asyncio.to_thread(
        Operator(store, {"OLD": store.master, "NEW": new}).run, "Move to another Redis"
    )


async def _backup_and_restore(store: StoreUnderAttack) -> None:
    operator = Operator(store)
    await asyncio.to_thread(operator.run, "Backup")
    await sleep(store.copy_age)
    await asyncio.to_thread(operator.run, "Restore")


async def _backup_and_restore_with_the_journal(store: StoreUnderAttack) -> None:
    operator = Operator(store)
    await asyncio.to_thread(operator.run, "Backup")
    operator.journal_copy = await asyncio.to_thread(store.copy_journal, "journal-backup")
    operator.copied_at = datetime.now(UTC).isoformat()
    await sleep(store.copy_age)
    await asyncio.to_thread(operator.run, "Redis and journal from one backup")
    store.is_journal_restored = True


def _is_in_step(replication: Mapping[str, Any]) -> bool:
    replica = replication.get("slave0", {})
    return bool(replica.get("offset") == replication["master_repl_offset"])


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT.total_seconds()
    while not condition():
        assert time.monotonic() < until
        time.sleep(_POLL.total_seconds())


DOCUMENTED_FAILOVER: Final[Mapping[str, StoreFault]] = {
    "planned fail-over as documented": _planned_failover,
}
DOCUMENTED_OPERATIONS: Final[Mapping[str, StoreFault]] = {
    "move to another Redis as documented": _move,
    "backup and restore as documented": _backup_and_restore,
    "backup and restore with the journal as documented": _backup_and_restore_with_the_journal,
}
