"""The `gateway` command: its options and its list of commands."""

from importlib.metadata import version
from typing import Annotated, ClassVar, Final

import typer

from cli.lazy_commands import CommandEntry, LazyGroup

DISTRIBUTION: Final = "runcomfy-gateway"


class GatewayGroup(LazyGroup):
    """Every command of `gateway`, in the order of its help."""

    entries: ClassVar = {
        "serve": CommandEntry("cli.commands.serve:serve", "Run the HTTP service until SIGTERM."),
        "work": CommandEntry(
            "cli.commands.work:work",
            "Run one worker until SIGTERM. It submits jobs to RunComfy, polls them and delivers "
            "webhooks.",
        ),
        "tenant": CommandEntry("cli.commands.tenants:app", "Create, show and change tenants."),
        "key": CommandEntry("cli.commands.keys:app", "Create, list and revoke API keys."),
        "limits": CommandEntry(
            "cli.commands.limits:app",
            "Show and set the limits of the whole gateway and the minimum account balance.",
        ),
        "doubt": CommandEntry(
            "cli.commands.in_doubt:app",
            "List and resolve jobs in doubt: RunComfy may have received and charged them.",
        ),
        "job": CommandEntry("cli.commands.jobs:app", "List a tenant's jobs."),
        "pause": CommandEntry(
            "cli.commands.limits:pause",
            "Stop sending new jobs to RunComfy: of all tenants, one tenant or one model. Running "
            "jobs continue; new ones queue.",
        ),
        "resume": CommandEntry("cli.commands.limits:resume", "End a pause: queued jobs are sent."),
        "audit": CommandEntry("cli.commands.limits:audit", "List operators' actions."),
        "webhook": CommandEntry(
            "cli.commands.webhooks:app",
            "Manage a tenant's webhook endpoints, secrets and deliveries.",
        ),
    }


app = typer.Typer(
    name="gateway",
    cls=GatewayGroup,
    help="Self-hosted gateway for RunComfy's Model API. Configured by GATEWAY_… variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the console script."""
    app()


if __name__ == "__main__":
    main()
