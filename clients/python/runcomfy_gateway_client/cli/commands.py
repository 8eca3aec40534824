"""`rcg` with its commands."""

from importlib.metadata import version
from typing import Annotated

import typer

from runcomfy_gateway_client.cli import files, jobs, models, usage
from runcomfy_gateway_client.cli.session import EXIT_CODES, Connections

_DISTRIBUTION = "runcomfy-gateway-client"
_EPILOG = "Exit codes: " + "; ".join(f"{row.code} {row.meaning}" for row in EXIT_CODES) + "."

app = typer.Typer(
    name="rcg",
    help="Run models through a gateway: the one of GATEWAY_URL, with the key GATEWAY_API_KEY.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs.app, name="job", help="Submit, watch, list and cancel requests.")
app.add_typer(models.app, name="model", help="Find models; see their fields and prices.")
app.add_typer(files.app, name="file", help="Upload files for inputs.")
app.command("usage")(usage.usage)


def _show_version(*, requested: bool) -> None:
    if requested:
        typer.echo(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def rcg(
    context: typer.Context,
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
    del show_version  # typer has called `_show_version`
    if context.obj is None:
        context.obj = Connections()
