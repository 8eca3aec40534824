"""Stacks of real processes. What a test leaves behind is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.stack import Stack
from tests.support.processes import MarkedProcesses, marked_processes
from tests.support.stack import running_stack


@pytest.fixture
def marked() -> Iterator[MarkedProcesses]:
    """A mark for the processes that this test starts itself."""
    with marked_processes() as marked:
        yield marked


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this test's own: one service, one worker, a fast simulated RunComfy."""
    with running_stack(tmp_path) as stack:
        yield stack
