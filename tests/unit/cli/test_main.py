"""The output of `gateway` without arguments, of `--help` and of `--version`."""

from importlib import import_module
from pathlib import Path
from typing import Final

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import COMMANDS, SECTIONS, app, describe_version, read_commands

GROUPS: Final = sorted(
    target.removesuffix(":app") for target, _ in COMMANDS.values() if target.endswith(":app")
)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["tenant", "--help"]])
def test_help_is_shown(arguments: list[str]) -> None:
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "Usage" in shown.output


def test_help_names_commands_and_flags() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    words = ("serve", "work", "tenant", "--version", "--install-completion")
    assert [word for word in words if word not in shown] == []


def test_help_lists_commands_by_section_and_each_section_is_a_folder() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.splitlines()
    first = next(iter(SECTIONS))
    lines = [line for line in shown[shown.index(f"{first}:") :] if line and line[2] != " "]
    listed = [line.split()[0] for line in lines]
    assert listed == [
        word for title, commands in SECTIONS.items() for word in (f"{title}:", *commands)
    ]
    folders = {
        target.split(".")[2] for section in SECTIONS.values() for target, _ in section.values()
    }
    assert folders == {title.lower() for title in SECTIONS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_has_its_help(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert COMMANDS[name][1] in " ".join(shown.output.split())


@pytest.mark.parametrize("module", GROUPS)
def test_the_commands_read_from_a_source_are_those_that_typer_has(module: str) -> None:
    command = get_command(import_module(module).app)
    assert isinstance(command, TyperGroup)
    listed = {name: (one.help or "").partition("\n\n")[0] for name, one in command.commands.items()}
    assert dict(read_commands(module)) == {
        name: " ".join(text.split()) for name, text in listed.items()
    }


@pytest.mark.parametrize("command", ["create", "change"])
def test_narrow_terminals_get_whole_option_names(command: str) -> None:
    shown = CliRunner().invoke(app, ["tenant", command, "--help"], env={"COLUMNS": "80"}).output
    assert "…" not in shown.replace("ID,ID,…", "")
    for name in ("--requests-per-minute", "--usd-per-request", "--no-keep-inputs"):
        assert name in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_brackets_in_help_are_text() -> None:
    shown = CliRunner().invoke(app, ["tenant", "apply", "--help"], env={"COLUMNS": "80"}).output
    assert "A TOML file with tables [tenants.NAME]." in shown


def test_narrow_terminals_get_whole_help_texts() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert "..." not in shown.replace("[ARGS]...", "")


def test_the_version_is_shown() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0
    assert shown.output.startswith("runcomfy-gateway ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["tenant", "create"], ["serve", "--port=1"]])
def test_a_wrong_call_is_exit_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_release_shows_its_commit(tmp_path: Path) -> None:
    plain = describe_version(tmp_path)
    (tmp_path / "commit.txt").write_text("0123abc\n")
    assert describe_version(tmp_path) == f"{plain} (0123abc)"
