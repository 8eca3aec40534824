"""`gateway doubt …`: submits that may or may not have been taken, and been charged."""

from typing import Annotated

import typer

from cli.output import JsonOption, print_document, print_table

app = typer.Typer(no_args_is_help=True, help="Submits in doubt: list and resolve them.")


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List submits in doubt, the longest first. `--json` tells all that is known of each."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from service.admin import in_doubt as doubts  # noqa: PLC0415 - as above
    from service.api.admin import representations as documents  # noqa: PLC0415 - as above

    views = run_admin(doubts.list_in_doubt)
    columns = ("request_id", "tenant", "model_id", "sent_at", "held_until", "what_came_back")
    print_table(
        [documents.in_doubt_representation(view) for view in views], columns, as_json=as_json
    )


@app.command()
def resolve(
    request_id: Annotated[str, typer.Argument(help="The gateway's id of the request.")],
    *,
    attach: Annotated[
        str | None, typer.Option(metavar="UPSTREAM_ID", help="RunComfy has it under this id.")
    ] = None,
    lost: Annotated[bool, typer.Option("--lost", help="Fail it, `billed: unknown`.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send it once more; it may be charged twice.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what became of a submit in doubt: one of --attach, --lost and --resend."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from core.jobs.in_doubt import Attach, MarkLost, Resend  # noqa: PLC0415 - as above
    from service.admin import in_doubt as doubts  # noqa: PLC0415 - as above

    if (attach is not None) + lost + resend != 1:
        raise typer.BadParameter("name one of --attach, --lost and --resend")
    resolution = Attach(attach) if attach is not None else MarkLost() if lost else Resend()
    job = run_admin(lambda desk: doubts.resolve_in_doubt(desk, request_id, resolution))
    document = {
        "request_id": job.id,
        "status": job.status,
        "state": job.state,
        "billed": job.billed,
        "upstream_request_id": job.upstream_id,
    }
    print_document(document, as_json=as_json)
