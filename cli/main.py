"""The `gateway` command: its options and its list of commands.

A command's module is imported when the command is called: what it needs (Redis, pydantic, the web
framework) takes a second to import, and a list of commands needs names and help texts only. Those
of a group are read from its module's source.
"""

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cli.env_file import EnvFileOption, use_env_file

DISTRIBUTION: Final = "runcomfy-gateway"
SECTIONS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "Processes": {
        "serve": ("cli.commands.processes.serve:serve", "Run the HTTP service until SIGTERM."),
        "work": (
            "cli.commands.processes.work:work",
            "Run a worker until SIGTERM: it submits and polls jobs, and delivers webhooks.",
        ),
        "settings": (
            "cli.commands.processes.settings:settings",
            "Print the effective settings and where each is from, without secrets.",
        ),
        "doctor": (
            "cli.commands.processes.doctor:doctor",
            "Check settings, Redis, journal, RunComfy and webhooks, and name what to set.",
        ),
    },
    "Tenants": {
        "tenant": ("cli.commands.tenants.tenants:app", "Create, show and change tenants."),
        "key": ("cli.commands.tenants.keys:app", "Create, list and revoke API keys."),
        "usage": (
            "cli.commands.tenants.usage:app",
            "Report what tenants used and what it cost.",
        ),
        "webhook": (
            "cli.commands.tenants.webhooks:app",
            "Manage a tenant's webhook endpoints, secrets and deliveries.",
        ),
        "job": (
            "cli.commands.tenants.jobs:app",
            "List a tenant's jobs. Callers submit with `rcg`: docs/cli.md.",
        ),
    },
    "RunComfy": {
        "limits": (
            "cli.commands.runcomfy.limits:app",
            "Show and set the limits of the whole gateway and the minimum account balance.",
        ),
        "pause": (
            "cli.commands.runcomfy.limits:pause",
            "Queue jobs and submit none: all, a tenant's or a model's. Running jobs continue.",
        ),
        "resume": (
            "cli.commands.runcomfy.limits:resume",
            "End a pause: queued jobs are submitted.",
        ),
        "doubt": (
            "cli.commands.runcomfy.in_doubt:app",
            "List and resolve jobs in doubt: RunComfy may have received and charged them.",
        ),
        "circuit": (
            "cli.commands.runcomfy.circuits:app",
            "List and reset the circuit breakers, which stop submits that RunComfy refuses.",
        ),
        "model": (
            "cli.commands.runcomfy.models:app",
            "List what RunComfy changed in its catalogue; pin models as they are.",
        ),
    },
    "Storage": {
        "store": (
            "cli.commands.storage.store:app",
            "Show, make and reconcile the store: which Redis this is, and what it has forgotten.",
        ),
        "archive": (
            "cli.commands.storage.archive:app",
            "Keep outputs of requests that have ended, while RunComfy has them.",
        ),
        "encryption": (
            "cli.commands.storage.encryption:app",
            "Create and replace the keys that encrypt webhook secrets in Redis.",
        ),
    },
    "Operators": {
        "operator": (
            "cli.commands.operators.operators:app",
            "Create, list and revoke operators: persons with a token and roles of their own.",
        ),
        "audit": (
            "cli.commands.operators.audit:app",
            "List, export and verify the audit log: what operators and tenants did.",
        ),
        "console": (
            "cli.commands.operators.console:app",
            "Create a link that signs in to the web console once.",
        ),
    },
}
"""The sections of the help, each a folder of `cli/commands`. A command has a target, which is
`module:attribute` of a `typer.Typer` or a function, and a help text."""

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    name: command for section in SECTIONS.values() for name, command in section.items()
}

DEFAULT_COMMANDS: Final[Mapping[str, str]] = {"usage": "report"}
"""What a group does if none of its commands is named."""


class LazyCommand(TyperCommand):
    """A name and a help text in place of a command, which is imported when it is called."""

    def __init__(self, name: str, target: str, help_text: str) -> None:
        super().__init__(name, help=help_text)
        self._target = target

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the whole help text: lists of commands wrap it."""
        del limit
        return self.help or ""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's private types
        """Return the context of the real command, which then parses and runs in place of this."""
        from core.runtime.garbage_collection import without_collection  # noqa: PLC0415 - `--help` needs none

        module, _, attribute = self._target.partition(":")
        with without_collection():
            target = getattr(import_module(module), attribute)
        is_group = isinstance(target, typer.Typer)
        if not is_group:
            function, target = target, typer.Typer(add_completion=False)
            target.command()(function)
        # Rich reads `[tenants.NAME]` as markup, and cuts options' names off at 80 columns.
        target.rich_markup_mode = None
        command = get_command(target)
        if is_group and isinstance(command, TyperGroup):
            return command.commands[self.name or ""].make_context(*args, **kwargs)
        command.help = self.help
        return command.make_context(*args, **kwargs)


class LazyGroup(TyperGroup):
    """The commands of a module's `app`, of which only the one that is called is imported."""

    def __init__(self, name: str, target: str, help_text: str) -> None:
        super().__init__(name=name, help=help_text, no_args_is_help=True, rich_markup_mode=None)
        self._target = target

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the whole help text: lists of commands wrap it."""
        del limit
        return self.help or ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's private types
        """Run the group's default command, if it has one, where none is named."""
        default = DEFAULT_COMMANDS.get(self.name or "")
        if default and (not args or args[0].startswith("-")) and not {"-h", "--help"} & {*args}:
            args = [default, *args]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's private types
        """Return the context of the group, with its commands."""
        for name, help_text in read_commands(self._target.partition(":")[0]):
            self.add_command(LazyCommand(name, self._target, help_text))
        return super().make_context(*args, **kwargs)


def read_commands(module: str) -> Iterator[tuple[str, str]]:
    """Yield name and summary of each function of a module that is decorated by `@app.command`."""
    spec = find_spec(module)
    source = Path(spec.origin or "").read_text(encoding="utf-8") if spec else ""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.command":
                    yield _command_name(function, decorator), _summary(function)


def _command_name(function: ast.FunctionDef, decorator: ast.Call) -> str:
    if decorator.args:
        return str(ast.literal_eval(decorator.args[0]))
    return function.name.replace("_", "-")


def _summary(function: ast.FunctionDef) -> str:
    paragraph, _, _ = (ast.get_docstring(function) or "").partition("\n\n")
    return " ".join(paragraph.split())


class GatewayGroup(TyperGroup):
    """Every command of `gateway`, in the order of its help."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - handed on to Typer
        super().__init__(**attributes)
        for name, (target, help_text) in COMMANDS.items():
            kind = LazyGroup if target.endswith(":app") else LazyCommand
            self.add_command(kind(name, target, help_text))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - Typer's private types
        """Write the help of the commands, by section."""
        del ctx
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


app = typer.Typer(
    name="gateway",
    cls=GatewayGroup,
    help="Self-hosted gateway for RunComfy's Model API. Configured by GATEWAY_… variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def describe_version(folder: Traversable) -> str:
    """Return name, version and commit. A release writes its commit to `commit.txt` in `folder`."""
    commit = folder / "commit.txt"
    built_of = f" ({commit.read_text(encoding='utf-8').strip()})" if commit.is_file() else ""
    return f"{DISTRIBUTION} {version(DISTRIBUTION)}{built_of}"


def _show_version(*, requested: bool) -> None:
    if requested:
        print(describe_version(files("cli")))
        raise typer.Exit


@app.callback()
def gateway(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda requested: _show_version(requested=requested),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
    env_file: EnvFileOption = None,
) -> None:
    """Options of every command."""
    del show_version  # typer has called `_show_version`
    use_env_file(env_file)


def main() -> None:
    """Run the console script."""
    app()


if __name__ == "__main__":
    main()
