"""Tests the compose file's containers as a caller and as an operator: see containers.sh.

Prints one line per passed check, and stops at the first that fails.
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
GATEWAY_SERVICES: Final = ("service", "worker", "runcomfy", "receiver")
ALL_SERVICES: Final = ("redis", *GATEWAY_SERVICES, "traffic")
STOP_GRACE_PERIOD: Final = timedelta(seconds=20)
FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})
# Runs in a container: its user, writable folders, capabilities, build tools, and the token.
INSPECT_SCRIPT: Final = """
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
EXPECTED_HARDENING: Final = {
    "uid": 10001,
    "writable": ["/tmp"],  # noqa: S108 - the container's own, and empty
    "capabilities": 0,
    "no_new_privileges": "1",
    "tools": [],
}
# The host's Prometheus in a container's network namespace, with that network's DNS.
PROMETHEUS_SCRIPT: Final = """
mount --bind "$0/resolv.conf" /etc/resolv.conf
exec prometheus --config.file=deploy/prometheus/prometheus.yml \\
    --storage.tsdb.path="$0" --web.listen-address=127.0.0.1:PORT
"""
PROMETHEUS_PORT: Final = 19473
# Changes for Podman, which publishes each container's port on the host.
PODMAN_SUBSTITUTIONS: Final = (
    (r"image: runcomfy-gateway:[\w.]+$", "image: localhost/runcomfy-gateway:local"),
    (r"replicas: 2$", "replicas: 1"),
    (r"(containerPort: 8000)", r"\1, hostIP: 127.0.0.1, hostPort: PORT"),
    (r"(containerPort: 9100)", r"\1, hostIP: 127.0.0.1, hostPort: METRICS"),
)

ValueT = TypeVar("ValueT")


def expect(condition: object, message: str) -> None:
    """Raise `AssertionError` unless the condition is true."""
    if not condition:
        raise AssertionError(message)


def wait_for(poll: Callable[[], ValueT | None], timeout: timedelta, description: str) -> ValueT:
    """Call `poll` twice a second until it returns a value, and return that."""
    deadline = time.monotonic() + timeout.total_seconds()
    while (seen := poll()) is None:
        expect(
            time.monotonic() < deadline, f"not within {timeout.total_seconds():g} s: {description}"
        )
        time.sleep(0.5)
    return seen


def run_unchecked(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command and return it, whatever its exit code."""
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False
    )


def run_checked(*command: str, stdin: str = "") -> str:
    """Run a command and return its output. Raises `AssertionError` with its last output."""
    done = run_unchecked(*command, stdin=stdin)
    output = (done.stdout + done.stderr)[-2000:]
    expect(done.returncode == 0, f"{' '.join(command[:6])}: exit {done.returncode}\n{output}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class SmokeTest:
    """The checks, in the order in which they run."""

    project: str
    port: int
    """The service's published port: `GATEWAY_PORT`."""
    compose: tuple[str, ...]
    http: httpx.Client

    @property
    def url(self) -> str:
        """URL of the service, from outside the containers."""
        return f"http://127.0.0.1:{self.port}"

    def container_name(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}_{service}_1"

    def run_inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container and return its output."""
        return run_checked("podman", "exec", self.container_name(service), *command)

    def start(self) -> None:
        """Start the stack and wait until it accepts requests."""
        began = time.monotonic()
        run_checked(*self.compose, "up", "-d", *ALL_SERVICES)
        up = time.monotonic() - began
        wait_for(self.is_ready, timedelta(seconds=60), "readyz")
        ready = time.monotonic() - began
        print_check(f"up after {up:.1f} s, ready through the published port after {ready:.1f} s")

    def is_ready(self) -> bool | None:
        """Return True once the service is ready, else None."""
        try:
            return self.http.get(f"{self.url}/readyz?for=submit").is_success or None
        except httpx.HTTPError:
            return None

    def check_health(self) -> None:
        """Run the health checks directly: Podman needs systemd to run them itself."""
        for service in ("redis", *GATEWAY_SERVICES):
            run_checked("podman", "healthcheck", "run", self.container_name(service))
        print_check(f"healthy: redis, {', '.join(GATEWAY_SERVICES)}")

    def check_hardening(self) -> None:
        """Check file system, privileges and tools of each container, and who has the token."""
        for service in GATEWAY_SERVICES:
            seen = json.loads(self.run_inside(service, "python3", "-c", INSPECT_SCRIPT))
            token = seen.pop("token")
            expect(seen == EXPECTED_HARDENING, f"{service}: {seen}")
            expect(token == (service == "worker"), f"{service}: has a RunComfy token: {token}")
        print_check(f"hardened: {EXPECTED_HARDENING}; the worker alone holds the RunComfy token")

    def check_submit(self) -> None:
        """Submit a request through the published port; check its result and signed webhook."""
        request_id, bearer = self.submit_request("smoke", prompt_suffix="")
        document = self.wait_for_result(request_id, bearer)
        expect(document["gateway_status"] == "completed", f"{document}")
        call = wait_for(
            lambda: self.find_webhook("smoke", request_id), timedelta(seconds=20), "a webhook"
        )
        expect(call["verified"], f"webhook: {call['reason']}")
        print_check(f"{request_id} completed, cost {document.get('cost')}, webhook verified")

    def check_scraping(self) -> None:
        """Check that prometheus.yml finds both by DNS; the official images are not started."""
        if shutil.which("prometheus") is None:
            print_check("SKIPPED: prometheus is not installed, so prometheus.yml was not tested")
            return
        pid = run_checked(
            "podman", "inspect", "-f", "{{.State.Pid}}", self.container_name("service")
        ).strip()
        script = PROMETHEUS_SCRIPT.replace("PORT", str(PROMETHEUS_PORT))
        enter = ("nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "--mount", "sh", "-ec", script)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "resolv.conf").write_text(
                self.run_inside("service", "cat", "/etc/resolv.conf")
            )
            quiet = subprocess.DEVNULL
            with subprocess.Popen((*enter, folder), cwd=ROOT, stdout=quiet, stderr=quiet) as child:
                try:
                    up = wait_for(self.scraped_targets, timedelta(seconds=60), "both in Prometheus")
                finally:
                    child.terminate()
        print_check(f"Prometheus found by name: {up}")

    def scraped_targets(self) -> str | None:
        """Return the scraped jobs, once both are up, else None."""
        url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?query=up"
        code = f"from urllib.request import urlopen as u; print(u({url!r}).read().decode())"
        done = run_unchecked(
            "podman", "exec", self.container_name("service"), "python3", "-c", code
        )
        rows = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
        up = sorted(row["metric"]["job"] for row in rows if row["value"][1] == "1")
        return ", ".join(up) if set(up) == {"gateway-service", "gateway-worker"} else None

    def check_crash_recovery(self) -> None:
        """Kill the worker and Redis while a job runs; the job must still complete."""
        request_id, bearer = self.submit_request("crash", prompt_suffix="[sim:run=8]")
        wait_for(
            lambda: self.get_status(request_id, bearer) == "in_progress" or None,
            timedelta(seconds=20),
            "in_progress",
        )
        for service in ("worker", "redis"):
            run_checked("podman", "kill", "--signal", "KILL", self.container_name(service))
            run_checked("podman", "start", self.container_name(service))
        wait_for(self.is_ready, timedelta(seconds=40), "readyz after the crashes")
        document = self.wait_for_result(request_id, bearer)
        expect(document["gateway_status"] == "completed", f"{document}")
        print_check(
            f"{request_id} completed although the worker and Redis were killed while it ran"
        )

    def check_traffic(self) -> None:
        """Check that the traffic generator's requests are accepted."""
        wait_for(
            lambda: re.search(r"traffic: .* 202 ", self.logs("traffic")),
            timedelta(seconds=40),
            "accepted traffic",
        )
        lines = [line for line in self.logs("traffic").splitlines() if line.startswith("traffic:")]
        print_check(f"traffic: {len(lines)} requests, the last: {lines[-1]}")

    def logs(self, service: str) -> str:
        """Return a container's log."""
        return run_checked("podman", "logs", self.container_name(service))

    def check_shutdown(self) -> None:
        """Stop each container: it must exit with 0 within the grace period."""
        for service in ("traffic", *GATEWAY_SERVICES):
            began = time.monotonic()
            run_checked(
                "podman",
                "stop",
                "-t",
                f"{STOP_GRACE_PERIOD.total_seconds():.0f}",
                self.container_name(service),
            )
            took = time.monotonic() - began
            code = run_checked(
                "podman", "inspect", "-f", "{{.State.ExitCode}}", self.container_name(service)
            ).strip()
            expect(code == "0", f"{service} ended with {code}")
            expect(took < STOP_GRACE_PERIOD.total_seconds() - 2, f"{service} took {took:.1f} s")
            print_check(f"{service} stopped in {took:.1f} s, exit 0")

    def check_kubernetes(self, manifests: Sequence[Path]) -> None:
        """Run the Kubernetes pods with the compose stack's Redis."""
        text = "\n---\n".join(path.read_text() for path in manifests)
        network = f"{self.project}_default"
        for service in ("runcomfy", "receiver"):
            run_checked("podman", "start", self.container_name(service))
        for pattern, instead in PODMAN_SUBSTITUTIONS:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        manifest = text.replace("hostPort: PORT", f"hostPort: {self.port}")
        manifest = manifest.replace("hostPort: METRICS", f"hostPort: {self.port + 1}")
        run_checked("podman", "play", "kube", "--network", network, "-", stdin=manifest)
        pod = "runcomfy-gateway-service-pod-0-service"
        wait_for(self.is_ready, timedelta(seconds=40), "readyz of the pod")
        for each in (pod, "runcomfy-gateway-worker-pod-0-worker"):
            seen = json.loads(run_checked("podman", "exec", each, "python3", "-c", INSPECT_SCRIPT))
            seen.pop("token")
            expect(seen == EXPECTED_HARDENING, f"{each}: {seen}")
        print_check("the Kubernetes pods run, ready and hardened")

    def submit_request(self, tenant: str, prompt_suffix: str) -> tuple[str, dict[str, str]]:
        """Submit the example as a new tenant; return its id and the tenant's header."""
        hook = f"http://receiver:8200/hooks/{tenant}"
        create = ("gateway", "tenant", "create", tenant, "--webhook", hook, "--json")
        created = json.loads(self.run_inside("service", *create))
        secret = json.dumps({"name": tenant, "secret": created["webhook_secret"]})
        self.call_receiver("/_recv/secret", f"{secret!r}.encode()")
        example = json.loads((ROOT / "simulator/example.json").read_text())
        bearer = {"Authorization": f"Bearer {created['key']}"}
        body = {**example["input"], "prompt": f"A still photograph comes to life. {prompt_suffix}"}
        url = f"{self.url}/v1/models/{example['model_id']}"
        answer = self.http.post(url, headers=bearer, json=body)
        expect(answer.status_code == httpx.codes.ACCEPTED, f"{answer.status_code} {answer.text}")
        return str(answer.json()["request_id"]), bearer

    def get_status(self, request_id: str, auth_header: dict[str, str]) -> str | None:
        """Return the job's status; None while the service does not answer."""
        try:
            answer = self.http.get(
                f"{self.url}/v1/requests/{request_id}/status", headers=auth_header
            )
        except httpx.HTTPError:
            return None
        return str(answer.json()["gateway_status"]) if answer.is_success else None

    def wait_for_result(self, request_id: str, auth_header: dict[str, str]) -> dict[str, Any]:
        """Wait for the end of a request and return its result."""
        wait_for(
            lambda: self.get_status(request_id, auth_header) in FINAL_STATUSES or None,
            timedelta(seconds=90),
            f"the end of {request_id}",
        )
        url = f"{self.url}/v1/requests/{request_id}/result?include_cost=true"
        return dict(self.http.get(url, headers=auth_header).json())

    def find_webhook(self, tenant: str, request_id: str) -> dict[str, Any] | None:
        """Return the webhook about a request; None before it arrived."""
        calls = json.loads(self.call_receiver(f"/_recv/calls?name={tenant}", "None"))["calls"]
        return next((dict(call) for call in calls if request_id in call["body"]), None)

    def call_receiver(self, path: str, data: str) -> str:
        """Call the receiver from inside its container: its port is not published."""
        url = f"http://127.0.0.1:8200{path}"
        code = f"from urllib.request import urlopen as u; print(u({url!r}, {data}).read().decode())"
        return self.run_inside("receiver", "python3", "-c", code)


def print_check(line: str) -> None:
    """Print a passed check."""
    print(f"containers: ok: {line}", flush=True)


def main() -> int:
    """Return 0 if every check passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--play", type=Path, nargs="*", default=[])
    parser.add_argument("compose", nargs="+")
    options = parser.parse_args()
    with httpx.Client(timeout=10, trust_env=False) as http:
        smoke = SmokeTest(options.project, options.port, tuple(options.compose), http)
        try:
            smoke.start()
            smoke.check_health()
            smoke.check_hardening()
            smoke.check_submit()
            smoke.check_traffic()
            smoke.check_scraping()
            smoke.check_crash_recovery()
            smoke.check_shutdown()
            smoke.check_kubernetes(options.play)
        except AssertionError as error:
            print(f"containers: FAILED: {error}", flush=True)
            for service in ALL_SERVICES:
                tail = run_unchecked(
                    "podman", "logs", "--tail", "12", smoke.container_name(service)
                )
                print(f"--- {service}\n{tail.stdout}{tail.stderr}")
            return 1
    print("containers: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
