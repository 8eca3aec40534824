"""The table of provocations has every alert, and every command of its runbook.

The table itself is run by `make runbooks`: in real time it takes more than an hour.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.runbooks.provocations import PROVOCATIONS, Provocation
from tests.runbooks.run import fill
from tests.runbooks.runbook import RUNBOOKS, commands_of, read_page

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
NOT_RUN: Final = {
    "redis-cli --latency": "runs until Ctrl-C",
    "redis-cli -p 26379 sentinel masters": "needs a Sentinel; tests/chaos kills its masters",
    "timedatectl": "of the host",
    "chronyc tracking": "of the host",
    "gateway tenant apply": "tests/integration/admin/test_commands.py",
    "gateway store init --replace": "tests/chaos/store_under_attack.py",
    "gateway store replace-journal": "tests/chaos/journal_faults.py",
    "gateway store replace-journal --dry-run": "tests/chaos/journal_faults.py",
}
"""Commands that no row runs, with what runs them, or the reason."""


def alerts() -> Iterator[dict[str, Any]]:
    """The shipped alerts."""
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


def steps_of(row: Provocation) -> list[str]:
    """The steps as their runbook has them: `ID_2` is a second `ID`."""
    return [re.sub(r"_\d\b", "", step) for step in (*row.steps, *row.after)]


def test_every_alert_is_provoked_once() -> None:
    provoked = [alert for row in PROVOCATIONS for alert in row.alerts]
    assert sorted(provoked) == sorted(rule["alert"] for rule in alerts())


@pytest.mark.parametrize("page", sorted(path.stem for path in RUNBOOKS.glob("*-*.md")))
def test_every_command_of_a_runbook_is_run_while_its_alert_fires(page: str) -> None:
    named = {rule["alert"] for rule in alerts() if page in rule["annotations"]["runbook"]}
    run = {step for row in PROVOCATIONS if named & set(row.alerts) for step in steps_of(row)}
    commands = commands_of(read_page(page))
    assert commands
    assert [command for command in commands if command not in run | NOT_RUN.keys()] == []


def test_a_step_is_one_of_its_runbooks() -> None:
    pages = {rule["alert"]: Path(rule["annotations"]["runbook"]).stem for rule in alerts()}
    for row in PROVOCATIONS:
        told = {step for name in row.alerts for step in commands_of(read_page(pages[name]))}
        assert [step for step in steps_of(row) if step not in told] == []


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("## Check\n\n- `gateway limits\n  show`; `polls`", ["gateway limits show"]),
        ("`gateway doctor`\n\n## Fix\n\n`gateway_workers`, `df`", ["gateway_workers", "df"]),
        ('## Fix\n\n`sum by (a) (b)`, `up{b="c"}`', ["sum by (a) (b)", 'up{b="c"}']),
        ("## Fix\n\n`gateway doctor`; `gateway doctor`", ["gateway doctor"]),
    ],
)  # fmt: skip
def test_commands_are_found_on_a_page(text: str, commands: list[str]) -> None:
    assert commands_of(text) == commands


def test_placeholders_are_filled() -> None:
    names = {"ID": "job-1", "HOST": "http://127.0.0.1:1"}
    assert fill("gateway doubt resolve ID --lost", names) == "gateway doubt resolve job-1 --lost"
    assert fill("curl -s HOST/readyz", names) == "curl -s http://127.0.0.1:1/readyz"
