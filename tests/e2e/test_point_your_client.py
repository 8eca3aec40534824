"""The programs on the page "Point your client at it", as they stand there, against a stack."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import ROOT, Stack, StackPlan, TenantCredentials, run_stack, without_settings
from tests.support import marks
from tests.support.stack import create_tenant

PAGE: Final = ROOT / "docs/point-your-client.md"
FAST: Final = ("--queue-seconds", "0..0.2", "--run-seconds", "0.2..0.5")
PATIENCE: Final = timedelta(minutes=3)
"""Go compiles the program and its standard library first."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all programs."""
    folder = tmp_path_factory.mktemp("stack")
    with run_stack(
        StackPlan(folder, environment=without_settings(os.environ), runcomfy_options=FAST)
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> TenantCredentials:
    return create_tenant(stack, "page")


def program(heading: str, language: str) -> str:
    """The block of code of one language below a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found)


def run(
    stack: Stack, tenant: TenantCredentials, folder: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    given = {"GATEWAY_URL": stack.url, "GATEWAY_API_KEY": tenant.key, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=without_settings(os.environ) | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE.total_seconds(),
    )


@pytest.mark.parametrize(
    ("heading", "language", "file", "command"),
    [
        pytest.param("Python", "python", "page.py", (sys.executable,), id="python"),
        pytest.param("JavaScript", "js", "page.mjs", ("node",), id="node", marks=marks.NODE),
        pytest.param("Go", "go", "page.go", ("go", "run"), id="go", marks=marks.GO),
    ],
)
def test_a_program_prints_its_video(  # noqa: PLR0917 - two fixtures and a row of the table
    stack: Stack,
    tenant: TenantCredentials,
    tmp_path: Path,
    heading: str,
    language: str,
    file: str,
    command: tuple[str, ...],
) -> None:
    (tmp_path / file).write_text(program(heading, language))
    done = run(stack, tenant, tmp_path, *command, file)
    assert done.returncode == 0, done.stderr
    assert ".mp4" in done.stdout


def test_curls_lines_submit_and_fetch(
    stack: Stack, tenant: TenantCredentials, tmp_path: Path
) -> None:
    example = load_kling_example()
    (tmp_path / "input.json").write_bytes(httpx.Request("POST", "/", json=example.input).content)
    submit, result = (
        line.replace("\\\n", " ") for line in program("curl", "sh").split("curl ")[1:]
    )
    submitted = run(stack, tenant, tmp_path, "bash", "-c", f"curl -sS {submit}")
    assert submitted.returncode == 0, submitted.stderr
    request_id = re.search(r'"request_id":"([^"]+)"', submitted.stdout)
    assert request_id is not None, submitted.stdout
    line = f"REQUEST_ID={request_id[1]}; curl -sS {result}"
    fetched = run(stack, tenant, tmp_path, "bash", "-c", line)
    assert f'"request_id":"{request_id[1]}"' in fetched.stdout


def test_the_three_steps_of_an_http_node(
    stack: Stack, tenant: TenantCredentials, tmp_path: Path
) -> None:
    """As n8n's node does: each step is one call with what the row of the table sets."""
    del tmp_path
    rows = {
        cells[0]: cells[1:]
        for line in program_table("n8n, Make, Zapier, Dify")
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3
    }
    example = load_kling_example()
    fields: Mapping[str, str] = {
        "{gateway}": stack.url,
        "{model_id}": example.model_id,
        "{key}": tenant.key,
        "{{ $execution.id }}": "run-1",
    }
    submitted = step(rows["Submit"], fields, example.input)
    assert step(rows["Submit"], fields, example.input)["request_id"] == submitted["request_id"]
    found = {f"{{{{ $json.{name} }}}}": str(value) for name, value in submitted.items()}
    until = re.findall(r"`(\w+)`", rows["Wait"][1].split("until")[1])[1:]
    assert until == ["completed", "cancelled"]
    status = wait_for_status(rows["Wait"], {**fields, **found}, until)
    assert status["status"] == "completed"
    result = step(rows["Result"], {**fields, **found})
    assert result["status"] == "succeeded"


def program_table(heading: str) -> list[str]:
    """The rows of the table below a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")]


def step(row: list[str], fields: Mapping[str, str], body: object = None) -> dict[str, Any]:
    """Make the call of a row: method and URL, and the headers that it names."""
    texts = re.findall(r"`([^`]+)`", " ".join(row))
    for name, value in fields.items():
        texts = [text.replace(name, value) for text in texts]
    method, _, url = texts[0].partition(" ")
    headers = dict(text.split(": ", 1) for text in texts[1:] if ": " in text)
    headers = {"Authorization": f"Bearer {fields['{key}']}", **headers}
    answer = httpx.request(method, url, headers=headers, json=body, trust_env=False, timeout=60)
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_for_status(row: list[str], fields: Mapping[str, str], until: list[str]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = step(row, fields)
        return found if found["status"] in until else None

    return wait_for(look, PATIENCE, "the end of the request")
