"""The short form of the attacks, which asserts counts only. The longer one: `make attack`."""

import os
from pathlib import Path

import pytest

from simulator.stack import without_settings
from tests.attack.run import Size, run_attacks

SHORT = Size(seconds=1, rounds=1)


@pytest.mark.timeout(900)
def test_a_bystander_is_served_while_the_gateway_is_attacked(tmp_path: Path) -> None:
    findings = run_attacks(tmp_path, without_settings(os.environ), SHORT)
    assert [text for finding in findings for text in finding.violations()] == []
    log = (tmp_path / "service-1.log").read_text("utf-8")
    assert "internal_error" not in log
    assert "Traceback" not in log
