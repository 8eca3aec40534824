"""`gateway job …`: a tenant's jobs."""

from typing import Annotated, Final

import typer

from cli.output import CursorOption, JsonOption, print_document, print_next_page, print_table
from cli.run_command import run_admin
from core.clock import iso
from core.representations.jobs import job_page_representation
from service.admin.jobs import list_jobs
from service.admin.unreadable import requeue_jobs
from service.jobs.list_query import JobListQuery
from service.parsing.request_models import parse_model

app = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS: Final = (
    "request_id",
    "status",
    "model_id",
    "reference",
    "labels",
    "created_at",
    "finished_at",
    "cost",
    "billed",
)


@app.command("list")
def list_jobs_of_tenant(
    tenant: Annotated[str, typer.Argument(help="Tenant name.")],
    *,
    status: Annotated[str | None, typer.Option(help="`failed`, `in_queue`, …")] = None,
    model: Annotated[str | None, typer.Option(help="Model id.")] = None,
    reference: Annotated[str | None, typer.Option(help="The caller's own reference.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="`team:growth` or `team=growth`; repeatable: all of them."),
    ] = None,
    after: Annotated[str | None, typer.Option(help="Created at this time or later.")] = None,
    before: Annotated[str | None, typer.Option(help="Created before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Jobs per page.")] = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's jobs, newest first."""
    options = {
        "status": status,
        "model_id": model,
        "reference": reference,
        # As they are listed too: no key or value has a `=`.
        "label": ",".join(one.replace("=", ":", 1) for one in label) if label else None,
        "created_after": after,
        "created_before": before,
        "limit": str(limit),
        "cursor": cursor,
    }
    filters = {name: text for name, text in options.items() if text is not None}
    page = run_admin(
        lambda admin: list_jobs(admin, tenant, parse_model(JobListQuery, filters).job_query())
    )
    document = job_page_representation(page)
    if as_json:
        print_document(document, as_json=True)
        return
    print_table(document["requests"], _COLUMNS, as_json=False)
    print_next_page(None if page.cursor is None else page.cursor.token)


@app.command("unreadable")
def list_unreadable(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of jobs.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List jobs whose record this release cannot read, the longest first. No worker has them."""
    jobs = run_admin(lambda admin: admin.stores.admin.list_unreadable(limit))
    rows = [{"request_id": job.job_id, "since": iso(job.since)} for job in jobs]
    print_table(rows, ("request_id", "since"), as_json=as_json)


@app.command()
def requeue(
    request_ids: Annotated[list[str], typer.Argument(help="Ids of unreadable jobs.")],
) -> None:
    """Have workers claim unreadable jobs again, after the newer release is back."""
    print(f"requeued: {run_admin(lambda admin: requeue_jobs(admin, request_ids))}")
