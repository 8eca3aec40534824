"""The short form of the attack. The longer ones: `make chaos CHAOS="--form long"`."""

import os
from pathlib import Path

import pytest

from simulator.stack import without_settings
from tests.chaos.attack import SHORT
from tests.chaos.run import run_attack, table


@pytest.mark.timeout(900)
def test_no_promise_is_broken_while_everything_is_killed_at_random(tmp_path: Path) -> None:
    report = run_attack(SHORT, tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)
