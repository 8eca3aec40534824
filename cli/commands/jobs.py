"""`gateway job …`: what a tenant has submitted."""

from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table

app = typer.Typer(no_args_is_help=True, help="A tenant's jobs.")
_COLUMNS: Final = (
    "request_id",
    "status",
    "model_id",
    "reference",
    "created_at",
    "finished_at",
    "cost",
    "billed",
)


@app.callback()
def job() -> None:
    """Options of every such command."""


@app.command("list")
def list_all(
    tenant: Annotated[str, typer.Argument(help="Whose.")],
    *,
    status: Annotated[str | None, typer.Option(help="`failed`, `in_queue`, …")] = None,
    model: Annotated[str | None, typer.Option(help="A model's id.")] = None,
    reference: Annotated[str | None, typer.Option(help="The caller's own.")] = None,
    after: Annotated[str | None, typer.Option(help="Made at this instant or later.")] = None,
    before: Annotated[str | None, typer.Option(help="Made before this instant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's jobs, newest first. The last line says how to go on."""
    from cli.run_command import run_admin  # noqa: PLC0415 - `--help` waits for no heavy library
    from core.representations.jobs import job_page_representation  # noqa: PLC0415 - as above
    from service.admin import jobs  # noqa: PLC0415 - as above
    from service.api.jobs.list_query import parse_job_filters  # noqa: PLC0415 - as above

    given = {
        "status": status,
        "model_id": model,
        "reference": reference,
        "created_after": after,
        "created_before": before,
        "limit": str(limit),
        "cursor": cursor,
    }
    filters = {name: text for name, text in given.items() if text is not None}
    page = run_admin(lambda desk: jobs.list_jobs(desk, tenant, parse_job_filters(filters)))
    document = job_page_representation(page)
    if as_json:
        print_document(document, as_json=True)
        return
    print_table(document["requests"], _COLUMNS, as_json=False)
    if page.cursor is not None:
        print(f"more: --cursor {page.cursor.token}")
