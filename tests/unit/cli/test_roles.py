"""Every command has a role, or is none of an operator's acts."""

from collections.abc import Iterator

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from cli.command_session import running_command
from cli.commands.runcomfy import limits
from cli.main import COMMANDS, app, read_commands
from service.admin.roles import ACTS, COMMANDS_WITHOUT_ROLE, ROLE_OF_COMMAND


def commands() -> Iterator[str]:
    """The words of every command of `gateway`."""
    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        inner = [word for word, _ in read_commands(module)] if attribute == "app" else []
        yield from (f"{name} {word}" for word in inner) if inner else (name,)


def test_every_command_has_one_role() -> None:
    listed = [act.command for act in ACTS if act.command]
    assert len(listed) == len(set(listed))
    assert set(listed) | COMMANDS_WITHOUT_ROLE == set(commands())


@pytest.mark.parametrize(
    "words", [["pause", "--all"], ["resume", "--all"], ["limits", "show"]], ids=" ".join
)
def test_a_command_knows_its_own_name(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: object) -> object:
        raise typer.Exit(0 if running_command() in ROLE_OF_COMMAND else 3)

    monkeypatch.setattr(limits, "run_admin", run)
    assert CliRunner().invoke(app, words).exit_code == 0
    assert get_command(app).name == "gateway"
