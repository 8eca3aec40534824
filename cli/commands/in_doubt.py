"""`gateway doubt …`: submits without an answer, which RunComfy may have charged."""

from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_command import run_admin
from core.jobs.in_doubt import Attach, Resolution
from service.admin import representations
from service.admin.in_doubt import list_in_doubt, resolve_in_doubt

app = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS: Final = (
    "request_id",
    "tenant",
    "model_id",
    "sent_at",
    "held_until",
    "what_came_back",
)


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List jobs in doubt, oldest first. `--json` adds each submit's history."""
    views = run_admin(list_in_doubt)
    rows = [representations.in_doubt_representation(view) for view in views]
    print_table(rows, _COLUMNS, as_json=as_json)


@app.command()
def resolve(
    request_id: Annotated[str, typer.Argument(help="The gateway's id of the request.")],
    *,
    attach: Annotated[
        str | None,
        typer.Option(metavar="UPSTREAM_ID", help="RunComfy has the job, under this id."),
    ] = None,
    lost: Annotated[
        bool, typer.Option("--lost", help="Fail the job with `billed: unknown`.")
    ] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Submit it once more; it may be charged twice.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Resolve a job in doubt by one of --attach, --lost and --resend."""
    if (attach is not None) + lost + resend != 1:
        raise typer.BadParameter("name one of --attach, --lost and --resend")
    resolution: Resolution = Attach(attach) if attach is not None else "lost" if lost else "resend"
    job = run_admin(lambda admin: resolve_in_doubt(admin, request_id, resolution))
    document = {
        "request_id": job.id,
        "status": job.status,
        "state": job.state,
        "billed": job.billed,
        "upstream_request_id": job.upstream_id,
    }
    print_document(document, as_json=as_json)
