"""Real processes. Fixtures find what a test's processes left behind."""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from simulator.stack import StackPlan, run_stack, without_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.stack import Stack

MARK_VARIABLE: Final = "PROCESS_MARK"


class MarkedProcesses:
    """Every process that was started with this test's mark in its environment, and their heirs."""

    def __init__(self, mark: str) -> None:
        self._entry = f"{MARK_VARIABLE}={mark}".encode()
        self.environment = {**without_settings(os.environ), MARK_VARIABLE: mark}

    def running(self) -> dict[int, str]:
        """Command lines of those that run, by process id. Needs /proc: empty elsewhere."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._entry in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = command.decode(errors="replace")
            except OSError:
                continue  # it ended while we looked, or is not ours
        return found

    def wait_until_gone(self, within_seconds: float = 5) -> bool:
        """Whether all have ended, at once or a little later."""
        deadline = time.monotonic() + within_seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.running()


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
