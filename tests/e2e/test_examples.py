"""The programs of `examples/` work as documented, against real processes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import ROOT, Stack, StackPlan, TenantCredentials, run_stack, without_settings
from tests.support import marks
from tests.support.stack import create_tenant, paid_submits
from tests.support.typescript import COMPILER, install_client

EXAMPLES: Final = ROOT / "examples"
FAST: Final = ("--queue-seconds", "0..0.2", "--run-seconds", "0.2..0.5")
SOON: Final = timedelta(seconds=150)
OTHER_SECRET: Final = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
Command = tuple[str, ...]
RECEIVERS: Final = (
    pytest.param((sys.executable, "webhook_receiver.py"), id="python"),
    pytest.param((sys.executable, "fastapi_receiver.py"), id="fastapi"),
    pytest.param(("node", "webhook_receiver.mjs"), id="node", marks=marks.NODE),
    pytest.param(("node", "express_receiver.mjs"), id="express", marks=marks.TYPESCRIPT),
    pytest.param(("./go-receiver",), id="go", marks=marks.GO),
)
SUBMITTING: Final = (
    pytest.param((sys.executable, "submit_and_wait.py"), id="python"),
    pytest.param(("node", "submit_and_wait.mjs"), id="node", marks=marks.NODE),
    pytest.param(("go", "run", "submit_and_wait.go"), id="go", marks=marks.GO),
)
WITH_CLIENT: Final = (
    pytest.param((sys.executable, "run_with_client.py"), id="python client"),
    pytest.param(("node", "run_with_client.mjs"), id="typescript client", marks=marks.TYPESCRIPT),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the examples, beside the packages that they import."""
    folder = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(EXAMPLES, folder)
    if COMPILER.exists():
        install_client(folder)
    if shutil.which("go"):
        # `go run` would leave the program behind when it is stopped itself.
        build = ("go", "build", "-o", "go-receiver", "webhook_receiver.go")
        subprocess.run(build, cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all examples; each test has a tenant of its own."""
    folder = tmp_path_factory.mktemp("stack")
    with run_stack(
        StackPlan(folder, environment=without_settings(os.environ), runcomfy_options=FAST)
    ) as stack:
        yield stack


@pytest.fixture
def tenant(stack: Stack, request: pytest.FixtureRequest) -> TenantCredentials:
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.lower())
    return create_tenant(stack, name.strip("-")[-40:].strip("-"))


@pytest.fixture
def api(stack: Stack, tenant: TenantCredentials) -> Iterator[httpx.Client]:
    """A client of the gateway for this test's tenant."""
    with httpx.Client(
        base_url=stack.url, headers=tenant.auth_header, timeout=60, trust_env=False
    ) as api:
        yield api


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running example."""

    log: Path

    @property
    def url(self) -> str:
        """Its URL."""
        (line,) = self.lines("listening on ")
        return line.removeprefix("listening on ")

    def lines(self, start: str) -> list[str]:
        """The printed lines that begin with `start`."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]

    def await_line(self, start: str) -> str:
        wait_for(lambda: self.lines(start) or None, SOON, f"the line {start!r}")
        return self.lines(start)[0]

    def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Send it a request of our own and return the status."""
        url = f"{self.url}/hooks"
        return httpx.post(url, headers=headers, content=body, trust_env=False).status_code


def environment_of(**settings: str) -> dict[str, str]:
    """The environment of an example, with the Python client installed."""
    surroundings = {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT / "clients" / "python")}
    return without_settings(os.environ) | surroundings | settings


@contextmanager
def receiver(command: Command, folder: Path, secret: str, log: Path) -> Iterator[Receiver]:
    """One of the receivers, on a free port."""
    with (
        log.open("w") as out,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment_of(WEBHOOK_SECRET=secret, PORT="0"),
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        found = Receiver(log)
        try:
            found.await_line("listening on ")
            yield found
        finally:
            process.terminate()


def add_endpoint(api: httpx.Client, url: str) -> str:
    answer = api.post("/v1/webhooks/endpoints", json={"url": f"{url}/hooks"})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def submit(api: httpx.Client) -> str:
    answer = api.post(
        f"/v1/models/{load_kling_example().model_id}?cache=off", json=load_kling_example().input
    )
    assert answer.is_success, answer.text
    return str(answer.json()["request_id"])


def await_delivery(
    api: httpx.Client, request_id: str, endpoint_id: str, status: str
) -> dict[str, Any]:
    """The delivery to one endpoint, once it has the status after an attempt.

    On a busy machine a receiver may answer an attempt too late, and the next one in time.
    """

    def look() -> dict[str, Any] | None:
        rows = api.get(f"/v1/requests/{request_id}/deliveries").json()["deliveries"]
        own = (row for row in rows if row["endpoint_id"] == endpoint_id and row["attempts"])
        return next((row for row in own if row["status"] == status), None)

    return wait_for(look, SOON, f"a delivery to {endpoint_id} that is {status}")


def recorded(stack: Stack, tenant: TenantCredentials) -> tuple[dict[str, str], bytes]:
    """Headers and body of the delivery that the simulated receiver got for the same event."""
    url = f"{stack.receiver.url}/_recv/calls"

    def look() -> tuple[dict[str, str], bytes] | None:
        calls = httpx.get(url, params={"name": tenant.name}, trust_env=False).json()["calls"]
        for call in calls:
            signed = {k: v for k, v in call["headers"].items() if k.startswith("webhook-")}
            return signed, call["body"].encode()
        return None

    return wait_for(look, SOON, "a delivery at the simulated receiver")


@pytest.mark.parametrize("command", RECEIVERS)
def test_a_receiver_takes_what_the_gateway_sends_once(
    api: httpx.Client, tenant: TenantCredentials, command: Command, folder: Path, tmp_path: Path
) -> None:
    with receiver(command, folder, tenant.webhook_secret, tmp_path / "log") as received:
        endpoint_id = add_endpoint(api, received.url)
        request_id = submit(api)
        line = received.await_line(f"verified request.completed {request_id}")
        assert line.endswith(".mp4")
        delivery = await_delivery(api, request_id, endpoint_id, "delivered")
        again = api.post(f"/v1/deliveries/{delivery['id']}/resend")
        assert again.is_success, again.text
        received.await_line(f"duplicate {delivery['id']}")
        assert received.lines("verified") == [line]


@pytest.mark.parametrize("command", RECEIVERS)
def test_a_receiver_refuses_what_was_tampered_with(
    stack: Stack,
    api: httpx.Client,
    tenant: TenantCredentials,
    command: Command,
    folder: Path,
    tmp_path: Path,
) -> None:
    submit(api)
    headers, body = recorded(stack, tenant)
    later = str(int(headers["webhook-timestamp"]) + 1)
    wrong = {
        "another body": (headers, body.replace(b"completed", b"cancelled")),
        "another id": (headers | {"webhook-id": "msg_0"}, body),
        "another time": (headers | {"webhook-timestamp": later}, body),
        "no time": (headers | {"webhook-timestamp": "now"}, body),
        "another scheme": (headers | {"webhook-signature": "v2,AAAA"}, body),
        "no signature": ({"webhook-id": "msg_0", "webhook-timestamp": later}, body),
        "long ago": (signed(tenant.webhook_secret, body, timedelta(minutes=-6)), body),
        "ahead": (signed(tenant.webhook_secret, body, timedelta(minutes=6)), body),
        "another secret": (signed(OTHER_SECRET, body, timedelta()), body),
        "an id that is no text": (as_sent(headers, b"msg_\xff"), body),
        "another id before": (as_sent(headers, b"msg_0", headers["webhook-id"].encode()), body),
        "another id after": (as_sent(headers, headers["webhook-id"].encode(), b"msg_0"), body),
        "a part of the signature": (
            headers | {"webhook-signature": headers["webhook-signature"][:-4]},
            body,
        ),
    }
    with receiver(command, folder, tenant.webhook_secret, tmp_path / "log") as received:
        statuses = {name: received.post(*given) for name, given in wrong.items()}
        assert statuses == dict.fromkeys(wrong, 401)
        assert len(received.lines("rejected")) == len(wrong)
        assert received.lines("verified") == []
        assert received.post(headers, body) == 204
        both = signed(tenant.webhook_secret, body, timedelta())
        both["webhook-signature"] = f"v1,AAAA {both['webhook-signature']}"
        assert received.post(both, body) == 204
        assert len(received.lines("verified")) == 2


@pytest.mark.parametrize("command", RECEIVERS)
def test_a_receiver_reads_no_more_than_an_event_can_have(
    tenant: TenantCredentials, command: Command, folder: Path, tmp_path: Path
) -> None:
    with receiver(command, folder, tenant.webhook_secret, tmp_path / "log") as received:
        with suppress(httpx.TransportError):  # or it hangs up without reading on
            assert received.post({}, b" " * 2**24) == 413
        assert received.post({}, b" " * 2**20) == 401


@pytest.mark.parametrize("command", RECEIVERS)
def test_a_receiver_with_another_secret_gets_further_attempts(
    api: httpx.Client, command: Command, folder: Path, tmp_path: Path
) -> None:
    with receiver(command, folder, OTHER_SECRET, tmp_path / "log") as received:
        endpoint_id = add_endpoint(api, received.url)
        request_id = submit(api)
        received.await_line("rejected: no signature matches")
        delivery = await_delivery(api, request_id, endpoint_id, "pending")
    assert delivery["last_outcome"] == "client_error"
    assert delivery["attempts"][0]["http_status"] == 401


@pytest.mark.parametrize("command", RECEIVERS)
def test_a_receiver_does_not_start_without_a_secret(command: Command, folder: Path) -> None:
    done = run(command, folder, WEBHOOK_SECRET="secret")
    assert done.returncode != 0
    assert "WEBHOOK_SECRET must be" in done.stderr


def signed(secret: str, body: bytes, age: timedelta) -> dict[str, str]:
    """The headers of a delivery as long ago, or as far ahead, as `age` says."""
    at = datetime.now(UTC) + age
    name = f"msg_{secret[-6:]}{int(age.total_seconds())}"
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, at, body.decode()),
    }


def as_sent(headers: Mapping[str, str], *ids: bytes) -> httpx.Headers:
    """The headers with other ids, none, or several."""
    others = [(n.encode(), v.encode()) for n, v in headers.items() if n != "webhook-id"]
    return httpx.Headers([*others, *((b"webhook-id", one) for one in ids)])


def run(command: Command, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment_of(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=SOON.total_seconds(),
    )


@dataclass(frozen=True, slots=True)
class Caller:
    """Runs examples as one tenant."""

    folder: Path
    stack: Stack
    tenant: TenantCredentials

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        given = {"GATEWAY_URL": self.stack.url, "GATEWAY_API_KEY": self.tenant.key}
        return run(command, self.folder, **(given | settings))


@pytest.fixture
def caller(folder: Path, stack: Stack, tenant: TenantCredentials) -> Caller:
    return Caller(folder, stack, tenant)


def output_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("output ")]


@pytest.mark.parametrize("command", [*SUBMITTING, *WITH_CLIENT])
def test_an_example_shows_the_result_and_pays_once_for_one_key(
    caller: Caller, command: Command
) -> None:
    before = paid_submits(caller.stack)
    first, again = (caller.run(*command, IDEMPOTENCY_KEY="one-video") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "billed yes" in first.stdout
    assert ".mp4" in first.stdout
    assert output_of(first) == output_of(again)
    assert paid_submits(caller.stack) == before + 1


@pytest.mark.parametrize("command", SUBMITTING)
def test_submit_and_wait_prints_why_there_is_no_result(caller: Caller, command: Command) -> None:
    failed = caller.run(*command, PROMPT="She smiles. [sim:fail]")
    assert (failed.returncode, "failed" in failed.stdout) == (1, True), failed.stdout
    assert "upstream_failed" in failed.stderr
    refused = caller.run(*command, MODEL_ID="kling/there-is-no-such-model")
    assert refused.returncode == 1
    assert "unknown_model" in refused.stderr


@pytest.mark.parametrize("command", SUBMITTING)
def test_submit_and_wait_comes_again_with_its_key_after_429(
    caller: Caller, command: Command
) -> None:
    flags = ("--requests-per-minute", "60", "--burst", "1")
    json.loads(caller.stack.run_gateway("tenant", "change", caller.tenant.name, "--json", *flags))
    first, second = caller.run(*command, PROMPT="One."), caller.run(*command, PROMPT="Two.")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr


def test_prompts_run_side_by_side(caller: Caller) -> None:
    done = caller.run(sys.executable, "run_many_async.py", "a cliff", "a bay", "")
    lines = {row["prompt"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert "output" in lines["a cliff"], done.stderr
    assert "output" in lines["a bay"]
    assert set(lines) == {"a cliff", "a bay", ""}


def test_a_csv_file_is_a_batch(caller: Caller, tmp_path: Path) -> None:
    example = load_kling_example()
    image = example.input["start_image_url"]
    rows = [
        {"reference": "good", "prompt": "a cliff", "start_image_url": image, "duration": "5"},
        {"reference": "bad", "prompt": "a bay", "start_image_url": image, "duration": "99"},
    ]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["model_id", *rows[0]])
        writer.writeheader()
        writer.writerows({"model_id": example.model_id, **row} for row in rows)
    before = paid_submits(caller.stack)
    for _ in range(2):
        done = caller.run(sys.executable, "batch_from_csv.py", str(source), str(target))
        assert done.returncode == 1, done.stderr  # one row has no output
    found = {row["reference"]: row for row in csv.DictReader(target.read_text().splitlines())}
    assert ".mp4" in found["good"]["output"]
    assert found["bad"]["error"]
    assert paid_submits(caller.stack) == before + 1
