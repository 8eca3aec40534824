"""The Python client against a real gateway and a simulated RunComfy."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from runcomfy_gateway_client import AsyncClient, Client, errors

from simulator.example import load_kling_example
from simulator.stack import ROOT, Stack, TenantCredentials
from tests.support.stack import create_tenant, paid_submits, running_stack

WAIT: Final = 60
MODEL: Final = load_kling_example().model_id
INPUT: Final = load_kling_example().input


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of the file; each has a tenant of its own."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def tenant(stack: Stack, request: pytest.FixtureRequest) -> TenantCredentials:
    return create_tenant(stack, request.node.name.replace("_", "-")[:40].strip("-"))


@pytest.fixture
def client(stack: Stack, tenant: TenantCredentials) -> Iterator[Client]:
    with Client(stack.url, tenant.key) as client:
        yield client


def test_run(client: Client) -> None:
    seen: list[str] = []
    result = client.run(
        MODEL, INPUT, wait=WAIT, on_progress=lambda status: seen.append(status.status)
    )
    assert result.output
    assert (result.status, result.billed) == ("completed", "yes")
    assert seen[-1] == "completed"


async def test_run_in_asyncio(stack: Stack, tenant: TenantCredentials) -> None:
    async with AsyncClient(stack.url, tenant.key) as client:
        request = await client.submit(MODEL, INPUT)
        events = [event.type async for event in request.events()]
        result = await request.wait(WAIT)
    assert events[-1] == "request.completed"
    assert result.output


def test_another_process_goes_on_with_the_id(
    stack: Stack, tenant: TenantCredentials, client: Client
) -> None:
    request = client.submit(MODEL, INPUT)
    program = (
        "import sys; from runcomfy_gateway_client import Client\n"
        "print(Client().request(sys.argv[1]).wait(60).request_id)"
    )
    environment = {
        "GATEWAY_URL": stack.url,
        "GATEWAY_API_KEY": tenant.key,
        "PYTHONPATH": str(ROOT / "clients" / "python"),
    }
    command = [sys.executable, "-c", program, request.id]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == request.id


def test_a_repeated_call_with_its_key_is_paid_for_once(stack: Stack, client: Client) -> None:
    before = paid_submits(stack)
    first = client.run(MODEL, INPUT, wait=WAIT, idempotency_key="order-7")
    again = client.run(MODEL, INPUT, wait=WAIT, idempotency_key="order-7")
    assert again.request_id == first.request_id
    assert paid_submits(stack) == before + 1


def test_a_batch(client: Client) -> None:
    entries = [{"model_id": MODEL, "input": INPUT, "reference": str(n)} for n in range(3)]
    batch = client.batch(json.loads(json.dumps(entries)))
    ended = client.wait_for_batch(batch.batch_id, WAIT)
    assert ended.counts["completed"] == 3
    assert [item.reference for item in ended.items] == ["0", "1", "2"]


def test_errors_are_classes(stack: Stack, client: Client) -> None:
    with pytest.raises(errors.InvalidInput) as invalid:
        client.run(MODEL, {"prompt": 5})
    assert invalid.value.billed == "no"
    assert "/start_image_url" in {field.path for field in invalid.value.fields}
    with pytest.raises(errors.UnknownModel):
        client.submit("no/such-model", {})
    with pytest.raises(errors.CostAboveLimit):
        client.submit(MODEL, INPUT, max_cost=0.01)
    with pytest.raises(errors.Unauthenticated), Client(stack.url, "rcg_wrong") as stranger:
        stranger.usage()


def test_usage_models_and_a_dry_run(client: Client) -> None:
    assert client.dry_run(MODEL, INPUT)["estimated_cost"] > 0
    assert client.model(MODEL)["model_id"] == MODEL
    assert MODEL in {one["model_id"] for one in client.models(search="kling")["models"]}
    assert client.usage()["tenant"]


def test_the_command_submits_waits_and_writes_the_output(
    stack: Stack, tenant: TenantCredentials, tmp_path: Path
) -> None:
    """As a person's first use: find the model, see the cost, run it, and repeat it for nothing."""
    (tmp_path / "body.json").write_text(json.dumps(INPUT), "utf-8")
    before = paid_submits(stack)
    submit = ("job", "submit", MODEL, "--input", "@body.json", "--set", "duration=5")
    known = json.loads(rcg(stack, tenant, tmp_path, "model", "show", MODEL, "--json"))
    estimate = json.loads(rcg(stack, tenant, tmp_path, *submit, "--dry-run", "--json"))
    options = ("--output", "clip.mp4", "--json", "--idempotency-key", "order-7")
    first = json.loads(rcg(stack, tenant, tmp_path, *submit, *options))
    again = json.loads(rcg(stack, tenant, tmp_path, *submit, *options))
    watched = json.loads(
        rcg(stack, tenant, tmp_path, "job", "watch", first["request_id"], "--json")
    )
    usage = rcg(stack, tenant, tmp_path, "usage")
    assert known["model_id"] == MODEL
    assert estimate["estimated_cost"] == 0.63
    assert (tmp_path / "clip.mp4").stat().st_size > 0
    assert first["request_id"] == again["request_id"] == watched["request_id"]
    assert paid_submits(stack) == before + 1
    assert "0.63" in usage


def rcg(stack: Stack, tenant: TenantCredentials, folder: Path, *arguments: str) -> str:
    """Run the command, and return its output."""
    program = "from runcomfy_gateway_client.cli.main import main; main()"
    environment = {
        "GATEWAY_URL": stack.url,
        "GATEWAY_API_KEY": tenant.key,
        "PYTHONPATH": str(ROOT / "clients" / "python"),
    }
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def test_a_wheel_holds_the_package_and_its_types(tmp_path: Path) -> None:
    folder = ROOT / "clients" / "python"
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "runcomfy_gateway_client/py.typed" in listed
    assert "METADATA" in listed
