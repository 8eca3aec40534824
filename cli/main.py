"""The `gateway` command. Heavy parts are imported by the subcommand that needs them."""

from importlib.metadata import version
from typing import Annotated, Final

import typer

from cli.commands import in_doubt as doubts
from cli.commands import jobs, keys, tenants, webhooks
from cli.commands import limits as controls

DISTRIBUTION: Final = "runcomfy-gateway"

app = typer.Typer(
    name="gateway",
    help="Self-hosted gateway for RunComfy's Model API. Configured by GATEWAY_… variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tenants.app, name="tenant")
app.add_typer(keys.app, name="key")
app.add_typer(controls.limits, name="limits")
app.add_typer(doubts.app, name="doubt")
app.add_typer(jobs.app, name="job")
app.command()(controls.pause)
app.command()(controls.resume)
app.command()(controls.audit)
app.add_typer(webhooks.app, name="webhook")


def _show_version(*, wanted: bool) -> None:
    if wanted:
        print(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def gateway(
    *,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _show_version(wanted=wanted),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def serve(
    *,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the port and the figures.")
    ] = 1,
) -> None:
    """Run one HTTP front end until SIGTERM."""
    from cli.commands.serve import serve as run  # noqa: PLC0415 - `--help` must not wait for FastAPI

    run(processes)


@app.command()
def work() -> None:
    """Run one worker until SIGTERM: it submits to RunComfy, polls, and delivers callbacks."""
    from cli.commands.work import work as run  # noqa: PLC0415 - nor for arq and httpx

    run()


def main() -> None:
    """Run the console script."""
    app()


if __name__ == "__main__":
    main()
