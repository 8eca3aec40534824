"""Real processes. Fixtures find what a test's processes left behind."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.stack import Stack, StackPlan, run_stack
from tests.support.processes import MarkedProcesses


@pytest.fixture
def marked() -> Iterator[MarkedProcesses]:
    """A mark for the processes of this test; what bears it still at the end is killed."""
    marked = MarkedProcesses(secrets.token_hex(8))
    yield marked
    for pid in marked.running():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stack(marked: MarkedProcesses, tmp_path: Path) -> Iterator[Stack]:
    """A whole stack of this test's own: one service, one worker, a fast simulated RunComfy."""
    fast = ("--queue-seconds", "0..0.2", "--run-seconds", "0.2..0.5")
    with run_stack(
        StackPlan(tmp_path, environment=marked.environment, runcomfy_options=fast)
    ) as stack:
        yield stack
