"""A command group whose commands are imported when they are called.

What a command needs (Redis, pydantic, the web framework) takes a second to import; `gateway --help`
and shell completion need names and help texts only.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class CommandEntry(NamedTuple):
    """One row of a group: `module:attribute` of a `typer.Typer` or a function, and a help text."""

    target: str
    help: str


class LazyCommand(TyperCommand):
    """A name and a help text in place of a command, which is imported when it is called."""

    def __init__(self, name: str, entry: CommandEntry) -> None:
        super().__init__(name, help=entry.help)
        self._entry = entry

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's private types
        """Return the context of the real command, which then parses and runs in place of this."""
        module, _, attribute = self._entry.target.partition(":")
        target = getattr(import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            function, target = target, typer.Typer(add_completion=False)
            target.command()(function)
        command = get_command(target)
        command.help = self.help
        return command.make_context(*args, **kwargs)


class LazyGroup(TyperGroup):
    """A group with one `LazyCommand` for each row of `entries`."""

    entries: ClassVar[Mapping[str, CommandEntry]] = {}

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - handed on to Typer
        super().__init__(**attributes)
        for name, entry in self.entries.items():
            self.add_command(LazyCommand(name, entry), name)
