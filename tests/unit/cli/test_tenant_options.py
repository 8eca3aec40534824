"""The options of tenants' settings, and the output of the commands."""

import json
from functools import cache
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.commands.runcomfy.limits import parse_number
from cli.commands.tenants.tenants import budget_notice
from cli.main import app
from cli.output import print_document, print_table
from cli.tenant_options import SETTING_OPTIONS, options_to_fields, unset_fields
from core.money import MicroUsd
from core.tenants.limits import BUDGET_LIMITS, Limits
from service.parsing.request_models import parse_model
from service.tenants.settings import TenantSettings


def test_every_setting_has_its_flag() -> None:
    # `disabled` has two commands of its own.
    assert {*SETTING_OPTIONS, "disabled"} == set(TenantSettings.model_fields)


def test_clearing_everything_is_the_default() -> None:
    wish = unset_fields([f"--{name.replace('_', '-')}" for name in SETTING_OPTIONS])
    assert set(wish) == set(SETTING_OPTIONS)
    some = {
        "usd_per_day": 1,
        "models": ["a"],
        "model_aliases": {"mine": "kling/x"},
        "priority": "normal",
        "cache": "off",
        "cache_lifetime": 60,
        "cache_shared": True,
        "idempotency": "required",
        "shared_failure": "promote",
    }
    full = parse_model(TenantSettings, some)
    assert full.changed_by(parse_model(TenantSettings, wish)) == TenantSettings()


@cache
def help_of(command: str) -> str:
    """The help text of a command, cached: rendering takes 30 ms."""
    return CliRunner().invoke(app, ["tenant", command, "--help"], env={"COLUMNS": "300"}).output


@pytest.mark.parametrize("command", ["create", "change"])
@pytest.mark.parametrize("name", SETTING_OPTIONS)
def test_a_flag_is_shown_in_the_help(command: str, name: str) -> None:
    assert f"--{name.replace('_', '-')} " in help_of(command)


def test_models_are_parted_by_commas() -> None:
    assert options_to_fields(
        {"models": " kling/*, flux/dev,,", "running": None, "weight": 2.0}
    ) == {
        "models": ["kling/*", "flux/dev"],
        "weight": 2.0,
    }


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("0.5", 0.5), ("none", None)])
def test_a_limit_is_a_number_or_none(text: str, value: float | None) -> None:
    assert parse_number(text) == value


def test_anything_else_is_a_wrong_call() -> None:
    with pytest.raises(typer.BadParameter):
        parse_number("much")


@pytest.mark.parametrize(
    "call",
    [
        ["pause"],
        ["resume", "--all", "--tenant", "ads"],
        ["doubt", "resolve", "req_1"],
        ["doubt", "resolve", "req_1", "--lost", "--resend"],
        ["doubt", "resolve", "req_1", "--attach", "up-1", "--lost"],
        ["limits", "set", "--running", "much"],
        ["key", "create", "ads", "--scopes", "root"],
        ["key", "create", "ads", "--expires-in-days", "1e12"],
        ["key", "create", "ads", "--expires-in-days", "inf"],
        ["tenant", "create", "ads", "--models", ""],
        ["tenant", "change", "ads", "--models", " , "],
        ["tenant", "apply"],
        ["audit", "list", "--limit", "0"],
    ],
)
def test_a_wrong_call_is_exit_2_and_asks_no_store(call: list[str]) -> None:
    assert CliRunner().invoke(app, call).exit_code == 2


SHOWN: list[tuple[Any, str]] = [
    (None, "-"),
    ("", "-"),
    ([], "-"),
    ({}, "-"),
    (0, "0"),
    (0.0, "0.0"),
    (True, "true"),
    (False, "false"),
    (["a", "b"], "a, b"),
    ({"a": None, "b": 1}, "a=-, b=1"),
]


@pytest.mark.parametrize(("value", "text"), SHOWN)
def test_what_people_read(capsys: pytest.CaptureFixture[str], value: object, text: str) -> None:
    print_document({"name": value}, as_json=False)
    assert capsys.readouterr().out == f"name  {text}\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"a": 1}, {"a": [2]}], ["a"], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"a": [2]}]


def test_a_table_has_a_head_even_when_it_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([], ["name", "weight"], as_json=False)
    assert capsys.readouterr().out == "name  weight\n"


def test_aliases_are_pairs_with_commas() -> None:
    fields = options_to_fields({"model_aliases": "fast=kling/x, slow=flux/a=b,"})
    assert fields == {"model_aliases": {"fast": "kling/x", "slow": "flux/a=b"}}


@pytest.mark.parametrize("text", ["fast", "=x", "fast=", "a=b,c"])
def test_aliases_that_are_no_pairs_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        options_to_fields({"model_aliases": text})


@pytest.mark.parametrize("limits", [Limits(), Limits(running=5, usd_per_request=MicroUsd(1))])
def test_a_tenant_without_a_budget_gets_a_notice(limits: Limits) -> None:
    notice = budget_notice("ads", limits)
    assert notice is not None
    assert "gateway tenant change ads --usd-per-day" in notice


@pytest.mark.parametrize("budget", BUDGET_LIMITS)
def test_a_tenant_with_a_budget_gets_none(budget: str) -> None:
    limits: Any = {budget: MicroUsd(0)}
    assert budget_notice("ads", Limits(**limits)) is None
