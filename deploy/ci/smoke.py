"""Tries the compose file's containers, as a caller and as an operator: see containers.sh.

Knows Podman's command and the project's container names. Prints each thing it saw; ends at the
first that is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parents[2]
GATEWAY: Final = ("service", "worker", "runcomfy", "receiver")
ALL: Final = ("redis", *GATEWAY, "traffic")
GRACE: Final = timedelta(seconds=20)
FINAL: Final = frozenset({"completed", "failed", "cancelled"})
# Inside a container: who am I, what may I write and become, what could I build with?
LOOK: Final = """
import json, os, pathlib, shutil
def writable(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
    except OSError:
        return False
    return True
status = dict(l.split(":", 1) for l in open("/proc/1/status").read().splitlines() if ":" in l)
print(json.dumps({
    "uid": os.getuid(),
    "writable": [p for p in ("/", "/opt/gateway", "/var", "/tmp") if writable(p)],
    "capabilities": int(status["CapEff"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "tools": [t for t in ("gcc", "cc", "make", "pip", "git", "curl") if shutil.which(t)],
    "token": "GATEWAY_RUNCOMFY_TOKEN" in os.environ,
}))
"""
HARDENED: Final = {
    "uid": 10001,
    "writable": ["/tmp"],  # noqa: S108 - a container's own, and empty
    "capabilities": 0,
    "no_new_privileges": "1",
    "tools": [],
}
# This machine's Prometheus in a container's network, by that network's names.
SCRAPER: Final = """
mount --bind "$0/resolv.conf" /etc/resolv.conf
exec prometheus --config.file=deploy/prometheus/prometheus.yml \\
    --storage.tsdb.path="$0" --web.listen-address=127.0.0.1:PORT
"""
SCRAPER_PORT: Final = 19473
# What Podman must read otherwise: it publishes each container's port on this machine.
IN_PODMAN: Final = (
    (r"image: runcomfy-gateway$", "image: localhost/runcomfy-gateway:local"),
    (r"replicas: 2$", "replicas: 1"),
    (r"(containerPort: 8000)", r"\1, hostIP: 127.0.0.1, hostPort: PORT"),
    (r"(containerPort: 9100)", r"\1, hostIP: 127.0.0.1, hostPort: FIGURES"),
)

Seen = TypeVar("Seen")


class NotAsItShouldBe(AssertionError):
    """What was seen instead."""


def expect(true: object, otherwise: str) -> None:
    """Raise unless it is true."""
    if not true:
        raise NotAsItShouldBe(otherwise)


def wait_for(look: Callable[[], Seen | None], within: timedelta, what: str) -> Seen:
    """Look twice a second until something is seen."""
    deadline = time.monotonic() + within.total_seconds()
    while (seen := look()) is None:
        expect(time.monotonic() < deadline, f"not within {within.total_seconds():g} s: {what}")
        time.sleep(0.5)
    return seen


def tried(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command that has ended, whatever it ended with."""
    return subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )


def run(*command: str, given: str = "") -> str:
    """What a command printed. Its failure is raised with its last words."""
    done = tried(*command, given=given)
    said = (done.stdout + done.stderr)[-2000:]
    expect(done.returncode == 0, f"{' '.join(command[:6])}: exit {done.returncode}\n{said}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Smoke:
    """The checks, in the order of a stack's life."""

    project: str
    port: int
    """Where the compose file publishes the front end: `GATEWAY_PORT`."""
    compose: tuple[str, ...]
    http: httpx.Client

    @property
    def url(self) -> str:
        """Of the front end, from outside."""
        return f"http://127.0.0.1:{self.port}"

    def name(self, service: str) -> str:
        """Of a service's container."""
        return f"{self.project}_{service}_1"

    def inside(self, service: str, *command: str) -> str:
        """What a command printed inside of a service's container."""
        return run("podman", "exec", self.name(service), *command)

    def start(self) -> None:
        """Bring it up and wait until it takes requests."""
        began = time.monotonic()
        run(*self.compose, "up", "-d", *ALL)
        up = time.monotonic() - began
        wait_for(self.ready, timedelta(seconds=60), "readyz")
        ready = time.monotonic() - began
        say(f"up after {up:.1f} s, ready through the published port after {ready:.1f} s")

    def ready(self) -> bool | None:
        """True once the front end says so."""
        try:
            return self.http.get(f"{self.url}/readyz").is_success or None
        except httpx.HTTPError:
            return None

    def healthy(self) -> None:
        """Run the health checks by hand: Podman's own need systemd."""
        for service in ("redis", *GATEWAY):
            run("podman", "healthcheck", "run", self.name(service))
        say(f"healthy: redis, {', '.join(GATEWAY)}")

    def hardened(self) -> None:
        """Nothing to write, nothing to become, nothing to build with, and one holds the token."""
        for service in GATEWAY:
            seen = json.loads(self.inside(service, "python3", "-c", LOOK))
            token = seen.pop("token")
            expect(seen == HARDENED, f"{service}: {seen}")
            expect(token == (service == "worker"), f"{service}: has a RunComfy token: {token}")
        say(f"hardened: {HARDENED}; the worker alone holds the RunComfy token")

    def submit(self) -> None:
        """A request through the published port, its result, and its signed callback."""
        request_id, bearer = self.send("smoke", mark="")
        document = self.result(request_id, bearer)
        expect(document["status"] == "completed", f"{document}")
        call = wait_for(
            lambda: self.callback("smoke", request_id), timedelta(seconds=20), "a callback"
        )
        expect(call["verified"], f"callback: {call['reason']}")
        say(f"{request_id} completed, cost {document.get('cost')}, callback verified")

    def scraped(self) -> None:
        """Our Prometheus file finds both by name. The images of Prometheus and Grafana stay out."""
        if shutil.which("prometheus") is None:
            say("SKIPPED: prometheus is not installed, so prometheus.yml was not tried")
            return
        pid = run("podman", "inspect", "-f", "{{.State.Pid}}", self.name("service")).strip()
        script = SCRAPER.replace("PORT", str(SCRAPER_PORT))
        enter = ("nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "--mount", "sh", "-ec", script)
        with tempfile.TemporaryDirectory() as place:
            Path(place, "resolv.conf").write_text(self.inside("service", "cat", "/etc/resolv.conf"))
            quiet = subprocess.DEVNULL
            with subprocess.Popen((*enter, place), cwd=ROOT, stdout=quiet, stderr=quiet) as child:
                try:
                    up = wait_for(self.targets, timedelta(seconds=60), "both in Prometheus")
                finally:
                    child.terminate()
        say(f"Prometheus found by name: {up}")

    def targets(self) -> str | None:
        """The jobs that answer Prometheus, once each does."""
        url = f"http://127.0.0.1:{SCRAPER_PORT}/api/v1/query?query=up"
        ask = f"from urllib.request import urlopen as u; print(u({url!r}).read().decode())"
        done = tried("podman", "exec", self.name("service"), "python3", "-c", ask)
        rows = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
        up = sorted(row["metric"]["job"] for row in rows if row["value"][1] == "1")
        return ", ".join(up) if set(up) == {"gateway-service", "gateway-worker"} else None

    def survives(self) -> None:
        """The worker and Redis die with a job under way, which ends all the same."""
        request_id, bearer = self.send("deaths", mark="[sim:run=8]")
        wait_for(
            lambda: self.status(request_id, bearer) == "in_progress" or None,
            timedelta(seconds=20),
            "in_progress",
        )
        for service in ("worker", "redis"):
            run("podman", "kill", "--signal", "KILL", self.name(service))
            run("podman", "start", self.name(service))
        wait_for(self.ready, timedelta(seconds=40), "readyz after the deaths")
        document = self.result(request_id, bearer)
        expect(document["status"] == "completed", f"{document}")
        say(f"{request_id} completed although the worker and Redis were killed under it")

    def traffic(self) -> None:
        """The generator's requests are accepted."""
        wait_for(
            lambda: re.search(r"traffic: .* 202 ", self.logs("traffic")),
            timedelta(seconds=40),
            "accepted traffic",
        )
        lines = [line for line in self.logs("traffic").splitlines() if line.startswith("traffic:")]
        say(f"traffic: {len(lines)} requests, the last: {lines[-1]}")

    def logs(self, service: str) -> str:
        """What a container wrote on stdout."""
        return run("podman", "logs", self.name(service))

    def stops(self) -> None:
        """SIGTERM, and the end well within the grace time, with 0."""
        for service in ("traffic", *GATEWAY):
            began = time.monotonic()
            run("podman", "stop", "-t", f"{GRACE.total_seconds():.0f}", self.name(service))
            took = time.monotonic() - began
            code = run("podman", "inspect", "-f", "{{.State.ExitCode}}", self.name(service)).strip()
            expect(code == "0", f"{service} ended with {code}")
            expect(took < GRACE.total_seconds() - 2, f"{service} took {took:.1f} s")
            say(f"{service} stopped in {took:.1f} s, exit 0")

    def plays(self, manifests: Sequence[Path]) -> None:
        """The Kubernetes pods run as they are written, on the compose stack's Redis."""
        text = "\n---\n".join(path.read_text() for path in manifests)
        network = f"{self.project}_default"
        for service in ("runcomfy", "receiver"):
            run("podman", "start", self.name(service))
        for pattern, instead in IN_PODMAN:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        given = text.replace("hostPort: PORT", f"hostPort: {self.port}")
        given = given.replace("hostPort: FIGURES", f"hostPort: {self.port + 1}")
        run("podman", "play", "kube", "--network", network, "-", given=given)
        pod = "gateway-service-pod-0-service"
        wait_for(self.ready, timedelta(seconds=40), "readyz of the pod")
        for each in (pod, "gateway-worker-pod-0-worker"):
            seen = json.loads(run("podman", "exec", each, "python3", "-c", LOOK))
            seen.pop("token")
            expect(seen == HARDENED, f"{each}: {seen}")
        say("the Kubernetes pods run, ready and hardened")

    def send(self, tenant: str, mark: str) -> tuple[str, dict[str, str]]:
        """Submit the API page's request as a new tenant: its id, and the tenant's header."""
        hook = f"http://receiver:8200/hooks/{tenant}"
        create = ("gateway", "tenant", "create", tenant, "--webhook", hook, "--json")
        given = json.loads(self.inside("service", *create))
        secret = json.dumps({"name": tenant, "secret": given["webhook_secret"]})
        self.receiver("/_recv/secret", f"{secret!r}.encode()")
        example = json.loads((ROOT / "simulator/example.json").read_text())
        bearer = {"Authorization": f"Bearer {given['key']}"}
        body = {**example["input"], "prompt": f"A still photograph comes to life. {mark}"}
        url = f"{self.url}/v1/models/{example['model_id']}"
        answer = self.http.post(url, headers=bearer, json=body)
        expect(answer.status_code == httpx.codes.ACCEPTED, f"{answer.status_code} {answer.text}")
        return str(answer.json()["request_id"]), bearer

    def status(self, request_id: str, bearer: dict[str, str]) -> str | None:
        """The caller's word for where the job is; None while nobody answers."""
        try:
            answer = self.http.get(f"{self.url}/v1/requests/{request_id}/status", headers=bearer)
        except httpx.HTTPError:
            return None
        return str(answer.json()["status"]) if answer.is_success else None

    def result(self, request_id: str, bearer: dict[str, str]) -> dict[str, Any]:
        """The result, once there is one."""
        wait_for(
            lambda: self.status(request_id, bearer) in FINAL or None,
            timedelta(seconds=90),
            f"the end of {request_id}",
        )
        url = f"{self.url}/v1/requests/{request_id}/result?include_cost=true"
        return dict(self.http.get(url, headers=bearer).json())

    def callback(self, tenant: str, request_id: str) -> dict[str, Any] | None:
        """The callback about a request, if it came."""
        calls = json.loads(self.receiver(f"/_recv/calls?name={tenant}", "None"))["calls"]
        return next((dict(call) for call in calls if request_id in call["body"]), None)

    def receiver(self, path: str, data: str) -> str:
        """What the receiver answers. Its port is not published, so it is asked from inside."""
        url = f"http://127.0.0.1:8200{path}"
        ask = f"from urllib.request import urlopen as u; print(u({url!r}, {data}).read().decode())"
        return self.inside("receiver", "python3", "-c", ask)


def say(line: str) -> None:
    """One thing seen."""
    print(f"containers: ok: {line}", flush=True)


def main() -> int:
    """0 when everything was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--play", type=Path, nargs="*", default=[])
    parser.add_argument("compose", nargs="+")
    options = parser.parse_args()
    with httpx.Client(timeout=10, trust_env=False) as http:
        smoke = Smoke(options.project, options.port, tuple(options.compose), http)
        try:
            smoke.start()
            smoke.healthy()
            smoke.hardened()
            smoke.submit()
            smoke.traffic()
            smoke.scraped()
            smoke.survives()
            smoke.stops()
            smoke.plays(options.play)
        except NotAsItShouldBe as problem:
            print(f"containers: FAILED: {problem}", flush=True)
            for service in ALL:
                tail = tried("podman", "logs", "--tail", "12", smoke.name(service))
                print(f"--- {service}\n{tail.stdout}{tail.stderr}")
            return 1
    print("containers: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
