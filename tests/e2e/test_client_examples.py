"""The examples that use the Python client, and the one in Go, against real processes."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from simulator.example import load_kling_example
from simulator.stack import ROOT, Stack, TenantCredentials, without_settings
from tests.support import marks
from tests.support.stack import paid_submits, running_stack

EXAMPLES: Final = ROOT / "examples"
MODEL: Final = load_kling_example().model_id
IMAGE: Final = load_kling_example().input["start_image_url"]
TIMEOUT_SECONDS: Final = 200
"""Go compiles its standard library when it runs for the first time."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all examples; each test has a tenant of its own."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def tenant(stack: Stack, request: pytest.FixtureRequest) -> TenantCredentials:
    return stack.create_tenant(request.node.name.replace("_", "-")[:40].strip("-"))


def run_example(
    stack: Stack, tenant: TenantCredentials, *command: str, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **without_settings(os.environ),
        "GATEWAY_URL": stack.url,
        "GATEWAY_API_KEY": tenant.key,
        "PYTHONPATH": str(ROOT / "clients" / "python"),
        **more,
    }
    return subprocess.run(
        command,
        cwd=EXAMPLES,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((sys.executable, "run_with_client.py"), id="client"),
        pytest.param(("go", "run", "submit_and_wait.go"), id="go", marks=marks.GO),
    ],
)
def test_one_request_is_paid_for_once(
    stack: Stack, tenant: TenantCredentials, command: tuple[str, ...]
) -> None:
    before = paid_submits(stack)
    first, again = (
        run_example(stack, tenant, *command, IDEMPOTENCY_KEY="order-7") for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")
    assert ".mp4" in first.stdout
    assert again.returncode == 0
    assert paid_submits(stack) == before + 1


def test_prompts_run_side_by_side(stack: Stack, tenant: TenantCredentials) -> None:
    done = run_example(stack, tenant, sys.executable, "run_many_async.py", "a cliff", "a bay", "")
    lines = {row["prompt"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert "output" in lines["a cliff"], done.stderr
    assert "output" in lines["a bay"]
    assert set(lines) == {"a cliff", "a bay", ""}


def test_a_csv_file_is_a_batch(stack: Stack, tenant: TenantCredentials, tmp_path: Path) -> None:
    rows = [
        {"reference": "good", "prompt": "a cliff", "start_image_url": IMAGE, "duration": "5"},
        {"reference": "bad", "prompt": "a bay", "start_image_url": IMAGE, "duration": "99"},
    ]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["model_id", *rows[0]])
        writer.writeheader()
        writer.writerows({"model_id": MODEL, **row} for row in rows)
    before = paid_submits(stack)
    for _ in range(2):
        done = run_example(
            stack, tenant, sys.executable, "batch_from_csv.py", str(source), str(target)
        )
        assert done.returncode == 1, done.stderr  # one row has no output
    found = {row["reference"]: row for row in csv.DictReader(target.open())}
    assert ".mp4" in found["good"]["output"]
    assert found["bad"]["error"]
    assert paid_submits(stack) == before + 1
