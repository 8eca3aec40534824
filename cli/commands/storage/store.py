"""`gateway store …`: which Redis this is, and what it may have forgotten."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_store_command import run_store_command
from core.clock import iso
from core.jobs.job import Job
from core.store.identity import StorePosition
from core.store.permissions import acl_rules
from core.store.scripts import load_scripts
from service.parsing.fields import parse_timestamp
from worker.jobs.reconciliation import Finding
from worker.jobs.store_commands import Comparison, PositionChange

app = typer.Typer(no_args_is_help=True, add_completion=False)
_COLUMNS: Final = ("request_id", "difference", "detail")
SinceOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Compare what was submitted since then.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]


@app.command()
def show(*, as_json: JsonOption = False) -> None:
    """Show the identity and the position of Redis, and of the journal."""
    here, journal = run_store_command(lambda store: store.positions())
    document = {"redis": _document(here), "journal": _document(journal)}
    print_document(document, as_json=as_json)


@app.command()
def acl(
    user: Annotated[str, typer.Argument(help="The Redis user of the gateway.")] = "gateway",
) -> None:
    """Print the Redis command that gives a user the rights that this release needs, no others."""
    print("acl setuser", user, *acl_rules(load_scripts()))


@app.command()
def init(
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="The store that the journal belongs to is lost.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an empty Redis the store of this gateway. Does nothing if it is one already."""
    done = run_store_command(
        lambda store: store.init(replace=replace), _change("--replace" if replace else "")
    )
    print_document(_document(done.position), as_json=as_json)


@app.command()
def adopt(
    fingerprint: Annotated[
        str, typer.Argument(help="The token's fingerprint, as the refused worker prints it.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Accept a new RunComfy token of the same account, beside the one that it replaces."""
    done = run_store_command(lambda store: store.adopt(fingerprint), _change(fingerprint))
    print_document(_document(done.position), as_json=as_json)


@app.command()
def reconcile(
    *, since: SinceOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Compare the journal with Redis, and restore what Redis has forgotten.

    Workers do so by themselves when Redis went back.
    """
    start = None if since is None else parse_timestamp(since)
    compared = run_store_command(
        lambda store: store.reconcile(start, dry_run=dry_run), _change(since, is_real=not dry_run)
    )
    print_table([_row(finding) for finding in compared.found], _COLUMNS, as_json=as_json)


@app.command()
def restored(
    *,
    at: Annotated[str, typer.Option(metavar="TIME", help="When the copy was made.")],
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put in doubt what may have been paid for since a copy was made.

    Where no journal is newer than the copy: there is none, or it was restored with Redis. Before
    workers start: jobs that were queued then may have been submitted since.
    """
    since = parse_timestamp(at)
    found = run_store_command(
        lambda store: store.restored(since, dry_run=dry_run), _always(at, is_real=not dry_run)
    )
    _print_jobs(found, as_json=as_json)


@app.command()
def replace_journal(*, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Begin a new journal in place of a lost one, and list the jobs whose submit is in flight.

    Those whose worker has died go in doubt: only the lost journal knew whether it had sent them.
    """
    found = run_store_command(
        lambda store: store.replace_journal(dry_run=dry_run), _always(is_real=not dry_run)
    )
    _print_jobs(found, as_json=as_json)


def _change(
    what: str | None, *, is_real: bool = True
) -> Callable[[PositionChange | Comparison], str | None]:
    """Return what the audit log has of a command that may have changed nothing."""
    return lambda done: (what or "") if is_real and done.is_changed else None


def _always(what: str = "", *, is_real: bool) -> Callable[[object], str | None]:
    return lambda _: what if is_real else None


def _print_jobs(found: Sequence[Job], *, as_json: bool) -> None:
    rows = [{"request_id": job.id, "tenant": job.tenant, "model": job.model_id} for job in found]
    print_table(rows, ("request_id", "tenant", "model"), as_json=as_json)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "request_id": finding.job_id,
        "difference": finding.difference,
        "detail": finding.detail,
    }


def _document(position: StorePosition | None) -> dict[str, object]:
    if position is None:
        return {"store_id": None}
    return {
        "store_id": position.store_id,
        "account": position.account,
        "epoch": position.epoch,
        "claims": position.claims,
        "claimed_at": iso(position.claimed_at),
        "compare_since": iso(position.compare_since),
        "journal_id": position.journal_id,
        "journal_since": iso(position.journal_since),
        "lost_entry": position.lost_entry,
    }
