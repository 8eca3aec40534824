"""`gateway doubt …`: submits without an answer, which RunComfy may have charged."""

from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_command import run_admin
from core.jobs.in_doubt import Attach, Resolution
from core.jobs.job import Job
from service.admin import representations
from service.admin.in_doubt import list_in_doubt, resolve_in_doubt

app = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS: Final = (
    "request_id",
    "tenant",
    "model_id",
    "prompt",
    "sent_at",
    "held_until",
    "what_came_back",
)


@app.command("list")
def list_all(*, as_json: JsonOption = False) -> None:
    """List jobs in doubt, oldest first. `--json` adds each submit's history.

    Where a tenant's inputs are not kept, their digest stands for the prompt.
    """
    views = run_admin(list_in_doubt)
    rows = [representations.in_doubt_representation(view) for view in views]
    if not as_json:
        rows = [{**row, "prompt": row["prompt"] or row["fingerprint"]} for row in rows]
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
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Take an attached id off that RunComfy does not know."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Attach the id although RunComfy does not know it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Resolve a job in doubt by one of --attach, --lost and --resend; --undo an --attach.

    --attach waits until a worker has read the status of that id at RunComfy.
    """
    resolution = _choose(attach, lost=lost, resend=resend, undo=undo, force=force)
    job = run_admin(lambda admin: resolve_in_doubt(admin, request_id, resolution))
    print_document(_resolved_document(job), as_json=as_json)


def _choose(attach: str | None, *, lost: bool, resend: bool, undo: bool, force: bool) -> Resolution:
    """Return the one resolution that the options name. Raises `typer.BadParameter`."""
    named: tuple[tuple[Resolution, bool], ...] = (
        (Attach(attach or "", force=force), attach is not None),
        ("lost", lost),
        ("resend", resend),
        ("undo", undo),
    )
    chosen = [resolution for resolution, is_given in named if is_given]
    if len(chosen) != 1:
        raise typer.BadParameter("name one of --attach, --lost, --resend and --undo")
    if force and attach is None:
        raise typer.BadParameter("--force is for --attach only")
    return chosen[0]


def _resolved_document(job: Job) -> dict[str, object]:
    return {
        "request_id": job.id,
        "status": job.status,
        "state": job.state,
        "billed": job.billed,
        "upstream_request_id": job.upstream_id,
    }
