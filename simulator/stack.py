"""Runs the real processes together: Redis, a RunComfy, a receiver, services and workers.

Processes are started as an operator does, by command and environment.
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from simulator.child_process import signal_and_wait, spawn
from simulator.private_redis import LOOPBACK, URL_VARIABLE, Fsync, free_port, open_redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from simulator.private_redis import PrivateRedis

ROOT: Final = Path(__file__).parents[1]
SETTING_PREFIXES: Final = ("GATEWAY_", "RUNCOMFY_")
JOURNAL_VARIABLE: Final = "GATEWAY_JOURNAL__URL"
OBJECTS_VARIABLE: Final = "GATEWAY_OBJECTS__URL"
ARCHIVE_VARIABLE: Final = "GATEWAY_ARCHIVE__MODE"
SIMULATED_VARIABLE: Final = "GATEWAY_SIMULATED"
_RUNCOMFY_URL: Final = "GATEWAY_RUNCOMFY_URL"
_ACCOUNT_URL: Final = "GATEWAY_RUNCOMFY_ACCOUNT_URL"
_RUNCOMFY_TOKEN: Final = "GATEWAY_RUNCOMFY_TOKEN"
_ADMIN_TOKEN: Final = "GATEWAY_ADMIN_TOKEN"
# The service cannot spend money: it gets neither the token nor RunComfy's URL.
WORKER_ONLY_SETTINGS: Final = frozenset(
    {_RUNCOMFY_URL, _RUNCOMFY_TOKEN, "RUNCOMFY_API_TOKEN", "RUNCOMFY_TOKEN"}
)

EXTERNAL_SETTINGS: Final = (
    "GATEWAY_ENV_FILE",
    "GATEWAY_ENCRYPTION_KEYS",
    "GATEWAY_JOURNAL",
    "GATEWAY_OBJECTS",
    "GATEWAY_OPERATOR_",
    "GATEWAY_REDIS_",
    "GATEWAY_RUNCOMFY",
    "GATEWAY_SINKS",
    "RUNCOMFY_",
)
"""Beginnings of the names of settings that lead to an operator's own store, journal, account,
receivers or secrets. A simulated stack must never reach them."""

_READY_TIMEOUT: Final = timedelta(seconds=120)
_POLL_INTERVAL: Final = timedelta(milliseconds=25)
# Longer than the 35 s in which a worker drains.
_STOP_TIMEOUT: Final = timedelta(seconds=45)


class StackFailed(RuntimeError):
    """A process ended, did not become ready or failed; `log` has its last lines."""

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)
        self.add_note("\n".join(log))


@dataclass(slots=True)
class ManagedProcess:
    """One process that can be started, stopped, killed and started again.

    It is ready when a GET of `ready_path` at its `url` answers 200.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    url: str
    ready_path: str
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, else None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of its last run; negative for a signal, None while it runs or never ran."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it unless it runs. It can be used after `wait_until_ready`."""
        if self.pid is None:
            self._process = spawn(
                self.command, log=self.log, environment=self.environment, folder=ROOT
            )

    def wait_until_ready(self, path: str | None = None) -> None:
        """Return once `path`, by default `ready_path`, answers with 200.

        Raises:
            StackFailed: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + _READY_TIMEOUT.total_seconds()
        while not _is_responding(self.url + (path or self.ready_path)):
            if self.pid is None:
                raise StackFailed(f"{self.name} ended with {self.exit_code}", self.tail())
            if time.monotonic() > deadline:
                raise StackFailed(f"{self.name} did not become ready", self.tail())
            time.sleep(_POLL_INTERVAL.total_seconds())

    def terminate(self) -> None:
        """Send SIGTERM and return immediately."""
        if self.pid is not None and self._process is not None:
            self._process.terminate()

    def stop(self, timeout: timedelta = _STOP_TIMEOUT) -> int | None:
        """Stop it by SIGTERM, kill it after the timeout, and return its exit code."""
        self._signal_and_wait(signal.SIGTERM, timeout)
        return self.exit_code

    def kill(self) -> None:
        """Kill it like a crash (SIGKILL)."""
        self._signal_and_wait(signal.SIGKILL, _STOP_TIMEOUT)

    def restart(self) -> None:
        """Stop it if it runs, start it, and return once it is ready."""
        self.stop()
        self.start()
        self.wait_until_ready()

    def tail(self, lines: int = 20) -> list[str]:
        """Return its last log lines."""
        return (
            self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        )

    def _signal_and_wait(self, signum: signal.Signals, timeout: timedelta) -> None:
        if self.pid is not None and self._process is not None:
            signal_and_wait(self._process, signum, timeout_seconds=timeout.total_seconds())


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What to run. Ports left out are free ones, so that several stacks can run."""

    folder: Path
    """Folder for the logs, one file per process, and for Redis's data."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables. A `GATEWAY_REDIS_URL` replaces the private Redis."""
    services: int = 1
    workers: int = 1
    runcomfy_options: tuple[str, ...] = ()
    """Further arguments of the simulated RunComfy."""
    real_token: str | None = None
    """A RunComfy token: no simulator is started, and submits cost money."""
    port: int | None = None
    """Port of the first service."""
    metrics_port: int | None = None
    """Metrics port of the first worker."""
    service_metrics_port: int | None = None
    """Metrics port of the first service."""
    fsync: Fsync = "everysec"
    keeps_outputs: bool = False
    """Whether outputs are kept, unless the environment has its own mode."""


@dataclass(frozen=True, slots=True)
class TenantCredentials:
    """What `gateway tenant create` returns."""

    name: str
    key: str
    webhook_secret: str

    @property
    def auth_header(self) -> dict[str, str]:
        """The header that a caller sends."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(slots=True)
class Stack:
    """The running processes."""

    plan: StackPlan
    redis_url: str
    redis: PrivateRedis | None
    environment: Mapping[str, str]
    """Environment of services and `gateway` commands, without a RunComfy token."""
    runcomfy: ManagedProcess | None
    receiver: ManagedProcess
    services: list[ManagedProcess] = field(default_factory=list)
    service_metrics_urls: list[str] = field(default_factory=list)
    """Where each service's metrics are."""
    workers: list[ManagedProcess] = field(default_factory=list)

    @property
    def processes(self) -> list[ManagedProcess]:
        """Every process but Redis."""
        outside = [self.receiver] if self.runcomfy is None else [self.runcomfy, self.receiver]
        return [*outside, *self.services, *self.workers]

    @property
    def url(self) -> str:
        """URL of the first service."""
        return self.services[0].url

    @property
    def runcomfy_url(self) -> str:
        """URL of the simulated RunComfy.

        Raises:
            StackFailed: this stack uses the real one.
        """
        if self.runcomfy is None:
            raise StackFailed("no simulated RunComfy in this stack")
        return self.runcomfy.url

    @property
    def metrics_urls(self) -> list[str]:
        """Where the metrics of every service and worker are."""
        return [*self.service_metrics_urls, *(f"{worker.url}/metrics" for worker in self.workers)]

    def webhook_url(self, name: str) -> str:
        """Return the receiver's webhook URL for a name."""
        return f"{self.receiver.url}/hooks/{name}"

    def add_service(
        self, port: int | None = None, metrics_port: int | None = None
    ) -> ManagedProcess:
        """Start one more `gateway serve`, not yet ready."""
        port, metrics_port = port or free_port(), metrics_port or free_port()
        self.service_metrics_urls.append(f"http://{LOOPBACK}:{metrics_port}/metrics")
        url = f"http://{LOOPBACK}:{port}"
        public = self.services[0].url if self.services else url
        settings = {
            "GATEWAY_HOST": LOOPBACK,
            "GATEWAY_PORT": str(port),
            "GATEWAY_PUBLIC_URL": public,
            "GATEWAY_SERVICE_METRICS_PORT": str(metrics_port),
        }
        child = self._start_product(
            "service", len(self.services), "serve", settings, url, "/healthz"
        )
        self.services.append(child)
        return child

    def add_worker(self, port: int | None = None) -> ManagedProcess:
        """Start one more `gateway work`, not yet ready."""
        port = port or free_port()
        settings = {
            **self._runcomfy_settings(),
            "GATEWAY_WORKER_METRICS_PORT": str(port),
        }
        url = f"http://{LOOPBACK}:{port}"
        child = self._start_product("worker", len(self.workers), "work", settings, url, "/healthz")
        self.workers.append(child)
        return child

    def run_gateway(self, *arguments: str) -> str:
        """Run a `gateway` command, with the first service's settings; return its stdout.

        Raises:
            StackFailed: it exited other than 0.
        """
        environment = self.services[0].environment if self.services else self.environment
        done = subprocess.run(
            [str(gateway_command()), *arguments],
            env=dict(environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_READY_TIMEOUT.total_seconds(),
        )
        if done.returncode:
            output = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            raise StackFailed(f"gateway {arguments[0]} exited {done.returncode}", output[-20:])
        return done.stdout

    def create_tenant(self, name: str, *flags: str) -> TenantCredentials:
        """Create a tenant with the receiver as webhook, and give the receiver its secret.

        Args:
            name: of the tenant and of its webhook path.
            flags: further flags of `gateway tenant create`.

        Raises:
            StackFailed: the command failed.
        """
        created = json.loads(
            self.run_gateway(
                "tenant", "create", name, "--webhook", self.webhook_url(name), "--json", *flags
            )
        )
        tenant = TenantCredentials(created["tenant"], created["key"], created["webhook_secret"])
        document = {"name": name, "secret": tenant.webhook_secret}
        httpx.post(f"{self.receiver.url}/_recv/secret", json=document, trust_env=False)
        return tenant

    def create_console_link(self, *words: str) -> str:
        """Return a link that signs in to the console once, by a command of `gateway console`.

        Raises:
            StackFailed: the command failed.
        """
        link: str = json.loads(self.run_gateway("console", *words, "--json"))["link"]
        return link

    def _runcomfy_settings(self) -> dict[str, str]:
        if self.runcomfy is None:
            url = self.plan.environment.get(_RUNCOMFY_URL)
            token = {_RUNCOMFY_TOKEN: self.plan.real_token or ""}
            return token if url is None else {**token, _RUNCOMFY_URL: url}
        return {
            _RUNCOMFY_TOKEN: "simulated-token",
            _RUNCOMFY_URL: self.runcomfy.url,
            _ACCOUNT_URL: self.runcomfy.url,
        }

    def _start_product(
        self,
        kind: str,
        index: int,
        subcommand: str,
        settings: Mapping[str, str],
        url: str,
        ready_path: str,
    ) -> ManagedProcess:
        name = f"{kind}-{index + 1}"
        child = ManagedProcess(
            name=name,
            command=(str(gateway_command()), subcommand),
            environment={**self.environment, **settings},
            log=self.plan.folder / f"{name}.log",
            url=url,
            ready_path=ready_path,
        )
        child.start()
        return child


def gateway_command() -> Path:
    """Return the path of the command installed beside this interpreter."""
    return Path(sys.executable).with_name("gateway")


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the gateway's settings."""
    return {
        name: value for name, value in environment.items() if not name.startswith(SETTING_PREFIXES)
    }


def without_external_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without settings that lead out of a simulated stack."""
    return {
        name: value for name, value in environment.items() if not name.startswith(EXTERNAL_SETTINGS)
    }


@contextmanager
def run_stack(plan: StackPlan) -> Iterator[Stack]:
    """Run the plan's processes for the duration of the block, which starts when all are ready.

    Raises:
        StackFailed: a process did not become ready; the others have been stopped.
        RedisMissing, RedisNotStarted: from the private Redis.
    """
    plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for log in plan.folder.glob("*.log"):
        log.unlink()
    data = plan.folder / "redis"
    with ExitStack() as ending:
        url, redis = ending.enter_context(
            open_redis(plan.environment, directory=data, fsync=plan.fsync)
        )
        stack = _build_stack(plan, url, redis)
        ending.callback(lambda: stop_all([*stack.services, *stack.workers], stack.processes))
        for child in stack.processes:
            child.start()
        for index in range(plan.services):
            stack.add_service(
                None if index else plan.port, None if index else plan.service_metrics_port
            )
        for index in range(plan.workers):
            stack.add_worker(None if index else plan.metrics_port)
        _wait_for_all(stack)
        yield stack


def stop_all(*groups: Iterable[ManagedProcess]) -> None:
    """Stop group after group, the processes of a group in parallel."""
    for group in groups:
        members = list(group)
        for child in members:
            child.terminate()
        for child in members:
            child.stop()


def _build_stack(plan: StackPlan, redis_url: str, redis: PrivateRedis | None) -> Stack:
    runcomfy = (
        None
        if plan.real_token
        else _build_simulator(plan, "runcomfy", "_sim", plan.runcomfy_options)
    )
    environment = {
        **{
            name: value
            for name, value in plan.environment.items()
            if name not in WORKER_ONLY_SETTINGS
        },
        URL_VARIABLE: redis_url,
        "GATEWAY_WEBHOOKS__ALLOWED_TARGETS": '["127.0.0.0/8"]',
        SIMULATED_VARIABLE: "false" if plan.real_token else "true",
    }
    if f"{_ADMIN_TOKEN}_FILE" not in environment:
        environment.setdefault(_ADMIN_TOKEN, secrets.token_urlsafe(32))
    environment.setdefault(JOURNAL_VARIABLE, f"file://{(plan.folder / 'journal').resolve()}")
    environment.setdefault(OBJECTS_VARIABLE, f"file://{(plan.folder / 'objects').resolve()}")
    if plan.keeps_outputs:
        environment.setdefault(ARCHIVE_VARIABLE, "after")
    if not plan.real_token:
        # The simulated RunComfy's media are on loopback.
        environment.setdefault("GATEWAY_ARCHIVE__ALLOWED_HOSTS", '["127.0.0.0/8"]')
    receiver = _build_simulator(plan, "receiver", "_recv", ())
    return Stack(plan, redis_url, redis, environment, runcomfy, receiver)


def _build_simulator(
    plan: StackPlan, name: str, prefix: str, options: Sequence[str]
) -> ManagedProcess:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = (sys.executable, "-m", "simulator", name, "--host", LOOPBACK, "--port", str(port))
    return ManagedProcess(
        name=name,
        command=(*command, *options),
        environment=without_settings(plan.environment),
        log=plan.folder / f"{name}.log",
        url=url,
        ready_path=f"/{prefix}/healthz",
    )


def _wait_for_all(stack: Stack) -> None:
    for child in stack.processes:
        child.wait_until_ready()
    for service in stack.services if stack.workers else ():
        service.wait_until_ready("/readyz?for=submit")  # 200 once Redis and a worker are there


def _is_responding(url: str) -> bool:
    try:
        # A proxy of the environment cannot reach this loopback.
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
