"""A stack under a real Prometheus and Alertmanager, with this repository's rules and its times."""

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx
import yaml

from deploy.grafana.demo_traffic import LUMEN
from deploy.grafana.live_prometheus import RULES_FOLDER
from simulator.demo import wait_for
from simulator.private_redis import LOOPBACK, free_port
from simulator.stack import (
    ManagedProcess,
    Stack,
    StackPlan,
    TenantCredentials,
    gateway_command,
    run_stack,
)

POLL_SECONDS: Final = 2.0
SOON: Final = timedelta(minutes=3)
STEADY_SECONDS: Final = 8.0
HTTP_TIMEOUT: Final = 60.0
COMMAND_TIMEOUT: Final = 300.0
_SCRAPED_TWICE: Final = "min(sum_over_time(up[10m])) >= 2"


@dataclass(frozen=True, slots=True)
class Notification:
    """One alert that Alertmanager sent."""

    at: float
    receiver: str
    alert: str
    is_firing: bool


@dataclass(slots=True)
class LiveGateway:
    """The running stack, and what its Alertmanager sent."""

    stack: Stack
    prometheus: httpx.Client
    http: httpx.Client
    folder: Path
    notifications: list[Notification]
    tenants: dict[str, TenantCredentials] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    commands: threading.Lock = field(default_factory=threading.Lock)
    """Held while a command runs: the start of twenty at once would occupy the machine."""

    def add_tenant(self, name: str, **settings: object) -> None:
        """Create a tenant with the receiver as its webhook."""
        admin = {"Authorization": f"Bearer {self.stack.environment['GATEWAY_ADMIN_TOKEN']}"}
        url = f"{self.stack.url}/admin/v1/tenants"
        document = wait_for(partial(self._create, url, admin, name, settings), SOON, "a tenant")
        tenant = TenantCredentials(name, document["key"], document["webhook_secret"])
        endpoint = {"url": self.stack.webhook_url(name)}
        self.http.post(f"{url}/{name}/endpoints", json=endpoint, headers=admin).raise_for_status()
        secret = {"name": name, "secret": tenant.webhook_secret}
        self.http.post(f"{self.stack.receiver.url}/_recv/secret", json=secret).raise_for_status()
        self.tenants[name] = tenant

    def _create(
        self, url: str, admin: dict[str, str], name: str, settings: Mapping[str, object]
    ) -> dict[str, str] | None:
        """Return a new tenant; None while Redis is stopped for another alert."""
        made = self.http.post(url, json={"tenant": name, **settings}, headers=admin)
        if made.is_server_error:
            return None
        document: dict[str, str] = made.raise_for_status().json()
        return document

    def submit(self, tenant: str, prompt: str = "", model: str = LUMEN, **body: object) -> str:
        """Submit a request, of an input that no other has; return its id, or '' if refused."""
        answer = self.http.post(
            f"{self.stack.url}/v1/models/{model}",
            json={"prompt": f"take {next(self.numbers)} {prompt}", **body},
            headers=self.tenants[tenant].auth_header,
        )
        return str(answer.json().get("request_id", ""))

    def script_runcomfy(self, call: str, document: object) -> None:
        """Send the simulated RunComfy what it shall do."""
        self.http.post(f"{self.stack.runcomfy_url}/_sim/{call}", json=document).raise_for_status()

    def clear_faults(self) -> None:
        """Let the simulated RunComfy work again."""
        self.http.delete(f"{self.stack.runcomfy_url}/_sim/faults").raise_for_status()

    def script_receiver(self, *behaviours: Mapping[str, object]) -> None:
        """Add ways in which the receiver behaves."""
        url = f"{self.stack.receiver.url}/_recv/behaviour"
        self.http.post(url, json=behaviours).raise_for_status()

    def clear_receiver(self) -> None:
        """Let the receiver accept everything again."""
        self.http.delete(f"{self.stack.receiver.url}/_recv/behaviour").raise_for_status()

    def redis(self, *words: str | bytes | int) -> str:
        """Run a Redis command and return its answer."""
        texts = [word if isinstance(word, bytes) else str(word) for word in words]
        command = ["redis-cli", "-u", self.stack.redis_url, *texts]
        done = subprocess.run(command, capture_output=True, check=True, timeout=COMMAND_TIMEOUT)
        return done.stdout.decode(errors="surrogateescape").strip()

    def signal_redis(self, number: signal.Signals) -> None:
        """Stop Redis where it is, or let it go on."""
        if self.stack.redis is not None and self.stack.redis.pid is not None:
            os.kill(self.stack.redis.pid, number)

    def signal_workers(self, number: signal.Signals) -> None:
        """Stop every worker where it is, or let it go on."""
        for worker in self.stack.workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def alerts(self) -> dict[str, str]:
        """Return the alerts that Prometheus knows, with their states."""
        answer = self.prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
        known: dict[str, str] = {}
        for alert in answer:
            name = alert["labels"]["alertname"]
            known[name] = "firing" if "firing" in {known.get(name), alert["state"]} else "pending"
        return known

    def query(self, expr: str) -> list[Any]:
        """Return the series of a query. Raises `RuntimeError` for a wrong one."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expr}).json()
        if answer["status"] != "success":
            raise RuntimeError(answer["error"])
        found: list[Any] = answer["data"]["result"]
        return found

    def run_command(self, command: str) -> str:
        """Run a command line as an operator would. Raises `RuntimeError`, `TimeoutExpired`."""
        words = shlex.split(command)
        if words[0] == "redis-cli":
            words[1:1] = ["-u", self.stack.redis_url]
        if words[0] == "gateway":
            words[0] = str(gateway_command())
        with self.commands:
            done = subprocess.run(  # not `run_gateway`: it waits for a minute only
                words,
                env=dict(self.stack.services[0].environment),
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_TIMEOUT,
            )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


class _Receiver(BaseHTTPRequestHandler):
    """Notes what Alertmanager sends to `/{receiver}`."""

    notifications: ClassVar[list[Notification]]

    def do_POST(self) -> None:
        """Note the alerts of a notification."""
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for alert in document["alerts"]:
            name, is_firing = alert["labels"]["alertname"], alert["status"] == "firing"
            self.notifications.append(
                Notification(time.time(), document["receiver"], name, is_firing)
            )
        self.send_response(httpx.codes.OK)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def run_live(plan: StackPlan) -> Iterator[LiveGateway]:
    """Run the plan's stack, a Prometheus and an Alertmanager."""
    sent: list[Notification] = []
    handler = type("Handler", (_Receiver,), {"notifications": sent})
    with ExitStack() as ending:
        stack = ending.enter_context(run_stack(plan))
        server = ThreadingHTTPServer((LOOPBACK, 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ending.callback(server.shutdown)
        manager = _start_alertmanager(stack, plan.folder, server.server_address[1])
        ending.callback(manager.stop)
        prometheus = _start_prometheus(stack, plan.folder, urlsplit(manager.url).netloc)
        ending.callback(prometheus.stop)
        client = ending.enter_context(httpx.Client(base_url=prometheus.url, trust_env=False))
        http = ending.enter_context(httpx.Client(trust_env=False, timeout=HTTP_TIMEOUT))
        live = LiveGateway(stack, client, http, plan.folder, sent)
        # What a counter has at its first scrape is no increase.
        wait_for(lambda: live.query(_SCRAPED_TWICE) or None, SOON, "two scrapes of each process")
        yield live


def _start_alertmanager(stack: Stack, folder: Path, port: int) -> ManagedProcess:
    config = yaml.safe_load((RULES_FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    for receiver in config["receivers"]:
        url = f"http://{LOOPBACK}:{port}/{receiver['name']}"
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    options = (
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    )
    return _start(stack, folder, ("prometheus-alertmanager", *options), address)


def _start_prometheus(stack: Stack, folder: Path, alertmanager: str) -> ManagedProcess:
    config = yaml.safe_load((RULES_FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {
        "gateway-service": [urlsplit(url).netloc for url in stack.service_metrics_urls],
        "gateway-worker": [urlsplit(worker.url).netloc for worker in stack.workers],
    }
    config |= {
        "rule_files": [str(RULES_FOLDER / name) for name in ("recording.yml", "alerts.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": each}]}
            for job, each in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"{LOOPBACK}:{free_port()}"
    options = (
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
    )
    return _start(stack, folder, ("prometheus", *options), address)


def _start(stack: Stack, folder: Path, command: tuple[str, ...], address: str) -> ManagedProcess:
    child = ManagedProcess(
        name=command[0],
        command=command,
        environment=stack.environment,
        log=folder / f"{command[0]}.log",
        url=f"http://{address}",
        ready_path="/-/ready",
    )
    child.start()
    child.wait_until_ready()
    return child


def repeat(action: Callable[[], object], seconds: float, until: threading.Event) -> None:
    """Do it every so many seconds in a thread, until the event; what fails is done again."""

    def run() -> None:
        while not until.is_set():
            with suppress(httpx.HTTPError):  # what is provoked may refuse it
                action()
            until.wait(seconds)

    threading.Thread(target=run, daemon=True).start()
