"""The short form of the attack. The longer ones: `make chaos CHAOS="--form long"`."""

import os
from pathlib import Path

import pytest

from simulator.stack import without_settings
from tests.chaos.attack import SHORT
from tests.chaos.run import run_attack, table
from tests.chaos.store_run import STORE_PROFILES, run_store_attack


@pytest.mark.timeout(900)
def test_no_promise_is_broken_while_everything_is_killed_at_random(tmp_path: Path) -> None:
    report = run_attack(SHORT, tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)


@pytest.mark.parametrize("form", STORE_PROFILES)
@pytest.mark.timeout(900)
def test_no_promise_is_broken_while_the_store_fails_over_or_goes_back(
    form: str, tmp_path: Path
) -> None:
    report = run_store_attack(STORE_PROFILES[form], tmp_path, without_settings(os.environ))
    print(table(report))
    assert not report.violations, table(report)
