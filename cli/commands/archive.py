"""`gateway archive …`: keep outputs of requests that have ended."""

from typing import Annotated

import typer

from cli.output import JsonOption, print_document
from cli.run_command import run_admin
from service.admin.archive import BackfillRequest, backfill_outputs
from service.parsing.request_models import parse_model

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Keep the name of the only command."""


@app.command("backfill")
def backfill(
    *,
    since: Annotated[str, typer.Option(help="Requests created at this time or later.")],
    tenant: Annotated[str | None, typer.Option(help="Of this tenant; default: of all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the outputs of ended requests while RunComfy has them, whatever the mode in force."""
    fields = {"since": since, "tenant": tenant}
    done = run_admin(lambda admin: backfill_outputs(admin, parse_model(BackfillRequest, fields)))
    print_document(done.model_dump(), as_json=as_json)
