"""The basis of every scenario: a private Redis, processes on their cores, a tenant with a key.

Uses commands and environment as an operator does; writes to the store only what a run needs.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from redis import Redis

from core.clock import SystemClock
from core.money import MicroUsd
from core.store.client import RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from core.tenants.api_keys import ApiKey, api_key_digest, build_api_key
from core.tenants.limits import Limits
from core.tenants.tenant import Tenant
from core.webhooks.config import initial_config
from core.webhooks.secrets import encode_webhook_secret
from simulator.private_redis import LOOPBACK, PrivateRedis, free_port
from simulator.stack import ManagedProcess, gateway_command, without_settings
from tests.bench.load import Loader, LoadRequest, LoadResult
from tests.support.redis import redis_client

REDIS_TIMEOUT: Final = timedelta(seconds=30)
TENANT: Final = "bench"
KEY: Final = build_api_key(TENANT, b"k" * 32)
MODEL: Final = "kling/kling-3.0/standard/image-to-video"
UNREACHABLE_LIMIT: Final = 10**9
LIMITS: Final = Limits(
    requests_per_minute=UNREACHABLE_LIMIT,
    running=UNREACHABLE_LIMIT,
    waiting=UNREACHABLE_LIMIT,
    jobs_per_day=UNREACHABLE_LIMIT,
    jobs_per_month=UNREACHABLE_LIMIT,
    usd_per_request=MicroUsd(UNREACHABLE_LIMIT),
    usd_per_day=MicroUsd(10**15),
    usd_per_month=MicroUsd(10**15),
    models=("flux/*", "kling/*"),
)
"""Every limit is set, and none is reached."""
ONE_CORE: Final = (0,)
OTHER_CORE: Final = (1,)


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    jobs: int
    open_jobs: int
    watch_seconds: float
    deliveries: int
    waiting: int
    starts: int
    members: tuple[int, ...]
    """Numbers of services and workers."""
    booked_jobs: int
    timed: bool = True
    """Whether figures are compared with their targets."""


FULL: Final = Scale(
    rounds=3,
    seconds=2,
    connections=(1, 32, 256),
    jobs=2000,
    open_jobs=10_000,
    watch_seconds=20,
    deliveries=3000,
    waiting=100_000,
    starts=3,
    members=(1, 2, 4),
    booked_jobs=20_000,
)
SMOKE: Final = Scale(
    rounds=1,
    seconds=0.2,
    connections=(4,),
    jobs=20,
    open_jobs=50,
    watch_seconds=1.5,
    deliveries=20,
    waiting=200,
    starts=1,
    members=(2,),
    booked_jobs=300,
    timed=False,
)


@dataclass(slots=True)
class Bench:
    """The environment of one run."""

    scale: Scale
    folder: Path
    redis: PrivateRedis
    loader: Loader
    environment: dict[str, str] = field(default_factory=lambda: without_settings(os.environ))

    @contextmanager
    def service(
        self, members: int = 1, cores: tuple[int, ...] = ONE_CORE
    ) -> Iterator[ManagedProcess]:
        """Start a front end and wait until it is ready."""
        port = free_port()
        own = {
            "GATEWAY_HOST": LOOPBACK,
            "GATEWAY_PORT": str(port),
            "GATEWAY_SERVICE_METRICS_PORT": str(free_port()),
        }
        command = (str(gateway_command()), "serve", "--processes", str(members))
        with self.running(f"service-{port}", command, own, port, cores) as child:
            yield child

    @contextmanager
    def worker(
        self, upstream: ManagedProcess, settings: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[ManagedProcess]:
        """Start a worker for this RunComfy and wait until it is ready."""
        port = free_port()
        own = {
            "GATEWAY_RUNCOMFY_TOKEN": "simulated-token",
            "GATEWAY_RUNCOMFY_URL": upstream.url,
            "GATEWAY_WORKER_METRICS_PORT": str(port),
            "GATEWAY_JOURNAL__URL": f"file://{self.folder.resolve()}/journal",
            "GATEWAY_WEBHOOKS__ALLOWED_TARGETS": '["127.0.0.0/8"]',
            **settings,
        }
        command = (str(gateway_command()), "work")
        with self.running(f"worker-{port}", command, own, port, ONE_CORE, "/healthz") as child:
            yield child

    @contextmanager
    def baseline(self, name: str, cores: tuple[int, ...] = ONE_CORE) -> Iterator[ManagedProcess]:
        """Start a baseline, with uvicorn as the gateway uses it."""
        port = free_port()
        command = (
            *(sys.executable, "-m", "uvicorn", f"tests.bench.baselines.{name}:app"),
            *("--host", LOOPBACK, "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "warning"),
        )
        own = {"BENCH_REDIS_URL": self.redis.url}
        with self.running(f"floor-{name}-{port}", command, own, port, cores) as child:
            yield child

    @contextmanager
    def external_server(self, kind: str, *flags: str) -> Iterator[ManagedProcess]:
        """Start the fast RunComfy (`upstream`) or the fast receiver (`webhook_receiver`)."""
        port = free_port()
        command = (sys.executable, "-m", f"tests.bench.{kind}", "--port", str(port), *flags)
        with self.running(f"{kind}-{port}", command, {}, port, OTHER_CORE) as child:
            yield child

    @contextmanager
    def running(
        self,
        name: str,
        command: tuple[str, ...],
        own: dict[str, str],
        port: int,
        cores: tuple[int, ...],
        ready: str = "/healthz",
    ) -> Iterator[ManagedProcess]:
        """Start a process on its cores and wait until it is ready."""
        child = ManagedProcess(
            name=name,
            command=(*pin_command(cores), *command),
            environment={**self.environment, "GATEWAY_REDIS_URL": self.redis.url, **own},
            log=self.folder / f"{name}.log",
            url=f"http://{LOOPBACK}:{port}",
            ready_path=ready,
        )
        try:
            child.start()
            child.wait_until_ready()
            yield child
        finally:
            child.stop()

    def load(
        self, child: ManagedProcess, ask: LoadRequest, connections: int, seconds: float
    ) -> LoadResult:
        """Load one process."""
        return self.loader.load(port_of(child), ask, connections, seconds)

    def reset(self, limits: Limits = LIMITS, webhook: str | None = None) -> None:
        """An empty Redis with the tenant in it, and an empty journal: they belong together."""
        self.redis.flush()
        shutil.rmtree(self.folder / "journal", ignore_errors=True)
        self.with_store(lambda wire: _create_tenant(wire, limits, webhook))

    def with_store(self, do: Callable[[RedisClient], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what `do` returns
        """Call `do` with a Redis client."""

        async def acted() -> Any:  # noqa: ANN401 - what `do` returns
            async with redis_client(self.redis.url, REDIS_TIMEOUT) as wire:
                return await do(wire)

        return asyncio.run(acted())

    def commands(self) -> dict[str, tuple[int, float]]:
        """Calls of each Redis command since the last reset, and the microseconds they took."""
        with Redis.from_url(self.redis.url) as client:
            stats = client.info("commandstats")
        return {
            name.removeprefix("cmdstat_"): (int(row["calls"]), float(row["usec"]))
            for name, row in stats.items()
        }

    def reset_commands(self) -> None:
        """Reset the counts."""
        with Redis.from_url(self.redis.url) as client:
            client.config_resetstat()


def pin_command(cores: tuple[int, ...]) -> tuple[str, ...]:
    """The prefix of a command that pins it to these cores; empty where that is not possible."""
    taskset, known = shutil.which("taskset"), os.cpu_count() or 1
    wanted = [str(core) for core in cores if core < known]
    return (taskset, "-c", ",".join(wanted)) if taskset and wanted and known > 1 else ()


def leave_first_core_to_server(redis: PrivateRedis) -> None:
    """Pin Redis, this process and its load to another core than that of the measured process."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        for pid in (0, redis.pid or 0):
            os.sched_setaffinity(pid, OTHER_CORE)


def port_of(child: ManagedProcess) -> int:
    """The port on which the process listens."""
    return int(child.url.rpartition(":")[2])


def bearer() -> dict[str, str]:
    """The header of the tenant's key."""
    return {"authorization": f"Bearer {KEY}"}


async def _create_tenant(wire: RedisClient, limits: Limits, webhook: str | None) -> None:
    clock = SystemClock()
    now = clock.now()
    config = initial_config(TENANT, webhook, encode_webhook_secret(b"s" * 32), now)
    store = open_stores(wire, LuaScripts(wire, load_scripts()), clock).tenants
    key = ApiKey(api_key_digest(KEY), TENANT, now)
    await store.create(Tenant(TENANT, now, limits=limits), key, config)
