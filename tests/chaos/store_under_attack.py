"""The stack whose store is attacked: its Redis servers, its Sentinel, its journal's bucket."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import redis

from simulator.private_redis import PrivateRedis, free_port
from simulator.stack import Stack, TenantCredentials
from tests.support.s3_server import S3Server
from tests.support.sentinel import SentinelProcess

NO_BUDGET: Final = ("--usd-per-day", "100000", "--usd-per-month", "100000")
FAILOVER_TIMEOUT: Final = timedelta(seconds=120)
_POLL: Final = timedelta(milliseconds=100)


@dataclass(slots=True)
class StoreUnderAttack:
    """The stack, its Redis servers and, for fail-overs, the Sentinel; the tenants as they are."""

    stack: Stack
    servers: list[PrivateRedis]
    """The first one is the master until a fault makes another one the master."""
    tenants: list[TenantCredentials]
    copy_age: timedelta
    """How old the copy is that a fault puts in Redis's place."""
    watcher: SentinelProcess | None = None
    copies: Path = field(default_factory=Path)
    bucket: S3Server | None = None
    """Where the journal is, if it is in a bucket."""
    ending: ExitStack = field(default_factory=ExitStack)
    """Stops what faults start."""
    is_journal_restored: bool = False
    """Whether the journal has forgotten what the store has: then only the workers' logs know it."""

    @property
    def master(self) -> PrivateRedis:
        """The master, as Sentinel sees it; without Sentinel the only server."""
        return self.servers[0]

    async def wait_for_failover(self) -> None:
        """Return when Sentinel names another master, which is then `master`."""
        watcher, replica = self.watcher, self.servers[1]
        if watcher is None:
            raise RuntimeError("without a Sentinel there is no fail-over")
        async with asyncio.timeout(FAILOVER_TIMEOUT.total_seconds()):
            while not await asyncio.to_thread(watcher.is_master, replica.port):
                await sleep(_POLL)
        self.servers.reverse()

    async def wait_for_replica(self) -> None:
        """Return when the other server follows the master, and Sentinel knows it."""
        async with asyncio.timeout(FAILOVER_TIMEOUT.total_seconds()):
            while not await asyncio.to_thread(self._is_followed):
                await sleep(_POLL)

    def _is_followed(self) -> bool:
        with redis.Redis(port=self.master.port) as client:
            replica = client.info("replication").get("slave0", {})
        return bool(replica.get("state") == "online")

    def copy_data(self) -> None:
        """Copy the append-only file of the running server: each of its beginnings is consistent."""
        shutil.rmtree(self.copies, ignore_errors=True)
        shutil.copytree(self.master.directory, self.copies)

    def swap_data(self) -> None:
        """Put the copy in the place of the server's data; it restarts."""
        server = self.master
        server.kill()
        shutil.rmtree(server.directory)
        shutil.copytree(self.copies, server.directory)
        server.start()

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        return self.stack.plan.folder / "journal"

    def new_folder(self, name: str) -> Path:
        """Return the path of a folder that is not there yet: a fault may happen several times."""
        parent = self.stack.plan.folder
        taken = sum(1 for path in parent.iterdir() if path.name.startswith(name))
        return parent / f"{name}-{taken}"

    def copy_journal(self, name: str) -> Path:
        """Copy the journal's folder beside it."""
        copy = self.new_folder(name)
        # What is being written has another name in a moment.
        shutil.copytree(self.journal, copy, ignore=shutil.ignore_patterns(".writing-*"))
        return copy

    def swap_journal(self, new: Path) -> None:
        """Put a folder in the journal's place."""
        self.journal.rename(self.new_folder("replaced-journal"))
        new.rename(self.journal)

    def start_server(self, name: str, *, from_copy: bool) -> PrivateRedis:
        """Start one more server, empty or on the copy; it is stopped at the end."""
        folder = self.new_folder(name)
        if from_copy:
            shutil.copytree(self.copies, folder)
        else:
            folder.mkdir()
        server = PrivateRedis(self.master.binary, folder, free_port(), self.master.fsync)
        server.start()
        self.ending.callback(server.stop)
        return server

    async def recreate_tenants(self) -> None:
        """What an operator does with an empty store: tenants first, then it is the gateway's.

        In the other order jobs that are restored could end before their endpoints are known.
        """
        names = [tenant.name for tenant in self.tenants]
        self.tenants[:] = [
            await asyncio.to_thread(self.stack.create_tenant, name, *NO_BUDGET) for name in names
        ]
        await asyncio.to_thread(self.stack.run_gateway, "store", "init", "--replace")


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    """Stop a process in its tracks for the duration of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def sleep(span: timedelta) -> None:
    """Sleep for real."""
    await asyncio.sleep(span.total_seconds())
