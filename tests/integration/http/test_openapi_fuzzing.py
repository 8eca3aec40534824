"""The OpenAPI document against the running stack, checked by schemathesis.

All checks, every phase, a fixed seed; `make fuzz` prints the numbers.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import create_tenant, runcomfy_pace, running_stack

FUZZER: Final = Path(sys.executable).with_name("schemathesis")
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
FUZZER_OPTIONS: Final = ("--checks", "all", "--max-examples", "12", "--seed", "1", "--no-color")
MAX_DURATION: Final = timedelta(minutes=14)
_FIGURES: Final = re.compile(r"(\d+) generated")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Jobs end soon, so that the fuzzer reads every kind of answer."""
    pace = runcomfy_pace("0..0.1", "0.1..0.3")
    # The fuzzer sends many wrong keys, pauses everything, and then waits for jobs.
    hasty = {"GATEWAY_REFUSAL_DELAY": "0", "GATEWAY_MAX_WAIT": "1"}
    with running_stack(tmp_path, hasty, runcomfy_options=pace) as stack:
        yield stack


@pytest.mark.timeout(900)
def test_the_service_keeps_what_its_description_says(stack: Stack, tmp_path: Path) -> None:
    tenant = create_tenant(stack, "fuzz")
    example = load_kling_example()
    submit = f"{stack.url}/v1/models/{example.model_id}"
    httpx.post(submit, json=example.input, headers=tenant.auth_header, trust_env=False)

    admin = stack.environment["GATEWAY_ADMIN_TOKEN"]
    tokens = {"TENANT_KEY": tenant.key, "ADMIN_TOKEN": admin}
    ran = subprocess.run(
        [
            str(FUZZER),
            "--config-file",
            str(CONFIG),
            "run",
            f"{stack.url}/openapi.json",
            *FUZZER_OPTIONS,
        ],
        env={**stack.environment, **tokens, "NO_PROXY": "*"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=MAX_DURATION.total_seconds(),
    )

    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = _FIGURES.search(ran.stdout)
    assert figures is not None
    assert int(figures[1]) > 100
    assert not [line for line in stack.services[0].tail(100_000) if '"exc_info"' in line]
