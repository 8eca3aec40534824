"""The `gateway` command: its options and its list of commands.

A command's module is imported when the command is called: what it needs (Redis, pydantic, the web
framework) takes a second to import, and `gateway --help` needs names and help texts only.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cli.env_file import EnvFileOption, use_env_file

DISTRIBUTION: Final = "runcomfy-gateway"
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "serve": ("cli.commands.serve:serve", "Run the HTTP service until SIGTERM."),
    "work": (
        "cli.commands.work:work",
        "Run a worker until SIGTERM: it submits and polls jobs, and delivers webhooks.",
    ),
    "settings": (
        "cli.commands.settings:settings",
        "Print the effective settings and where each is from, without secrets.",
    ),
    "doctor": (
        "cli.commands.doctor:doctor",
        "Check settings, Redis, journal, RunComfy and webhooks, and name what to set.",
    ),
    "tenant": ("cli.commands.tenants:app", "Create, show and change tenants."),
    "key": ("cli.commands.keys:app", "Create, list and revoke API keys."),
    "limits": (
        "cli.commands.limits:app",
        "Show and set the limits of the whole gateway and the minimum account balance.",
    ),
    "doubt": (
        "cli.commands.in_doubt:app",
        "List and resolve jobs in doubt: RunComfy may have received and charged them.",
    ),
    "store": (
        "cli.commands.store:app",
        "Show, make and reconcile the store: which Redis this is, and what it has forgotten.",
    ),
    "circuit": (
        "cli.commands.circuits:app",
        "List and reset the circuit breakers, which stop submits that RunComfy refuses.",
    ),
    "model": (
        "cli.commands.models:app",
        "List what RunComfy changed in its catalogue; pin models as they are.",
    ),
    "job": ("cli.commands.jobs:app", "List a tenant's jobs."),
    "pause": (
        "cli.commands.limits:pause",
        "Stop submitting jobs: all, a tenant's or a model's. Running jobs continue, others queue.",
    ),
    "resume": ("cli.commands.limits:resume", "End a pause: queued jobs are submitted."),
    "encryption": (
        "cli.commands.encryption:app",
        "Create and replace the keys that encrypt webhook secrets in Redis.",
    ),
    "operator": (
        "cli.commands.operators:app",
        "Create, list and revoke operators: persons with a token and roles of their own.",
    ),
    "audit": (
        "cli.commands.audit:app",
        "List, export and verify the audit log: what operators and tenants did.",
    ),
    "webhook": (
        "cli.commands.webhooks:app",
        "Manage a tenant's webhook endpoints, secrets and deliveries.",
    ),
}
"""By name: `module:attribute` of a `typer.Typer` or a function, and the help text."""


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
        module, _, attribute = self._target.partition(":")
        target = getattr(import_module(module), attribute)
        if not isinstance(target, typer.Typer):
            function, target = target, typer.Typer(add_completion=False)
            target.command()(function)
        # Rich reads `[tenants.NAME]` as markup, and cuts options' names off at 80 columns.
        target.rich_markup_mode = None
        command = get_command(target)
        command.help = self.help
        return command.make_context(*args, **kwargs)


class GatewayGroup(TyperGroup):
    """Every command of `gateway`, in the order of its help."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - handed on to Typer
        super().__init__(**attributes)
        for name, (target, help_text) in COMMANDS.items():
            self.add_command(LazyCommand(name, target, help_text))


app = typer.Typer(
    name="gateway",
    cls=GatewayGroup,
    help="Self-hosted gateway for RunComfy's Model API. Configured by GATEWAY_… variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(*, requested: bool) -> None:
    if requested:
        print(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
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
