"""Short forms of the attacks. The longer ones: `make chaos CHAOS="--form long"`, `--form store`."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.stack import without_settings
from tests.chaos.attack import SHORT
from tests.chaos.restart import SHORT_RESTART
from tests.chaos.run import run_attack, run_restarts, table
from tests.chaos.store_attack import SCENARIOS
from tests.chaos.store_run import run_store_attack
from tests.support import marks
from tests.support.pid_one import is_possible


@pytest.mark.timeout(900)
def test_no_promise_is_broken_while_everything_is_killed_at_random(tmp_path: Path) -> None:
    report = run_attack(SHORT, tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)


@pytest.mark.parametrize("name", ["planned fail-over", "swapped for a copy"])
@pytest.mark.timeout(900)
def test_no_promise_is_broken_while_the_store_fails_over_or_goes_back(
    name: str, tmp_path: Path
) -> None:
    """One row of each kind of the form `store`, on a small stack."""
    scenario = replace(SCENARIOS[name], jobs_between=8)
    report = run_store_attack(scenario, tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)


@marks.LINUX
@marks.HAPROXY
@pytest.mark.timeout(900)
def test_no_call_fails_while_every_process_is_replaced(tmp_path: Path) -> None:
    """As process 1, as in a container, where the machine allows it."""
    profile = replace(SHORT_RESTART, as_process_1=is_possible())
    report = run_restarts(profile, tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)
