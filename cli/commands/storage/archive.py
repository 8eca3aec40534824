"""`gateway archive …`: keep outputs of requests that have ended; compare storage and records."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_command import EXIT_FAILED, run_admin, run_command
from core.errors import InvalidInput
from core.objects.archive_audit import MEANINGS
from core.objects.object_store import ObjectStore
from core.objects.open import open_objects
from service.admin.archive import BackfillRequest, backfill_outputs
from service.admin.archive_check import CheckResult, check_archive, repair_archive
from service.parsing.request_models import parse_model

if TYPE_CHECKING:
    from cli.command_session import CommandContext

_NO_STORAGE: Final = "There is no storage to compare with: set GATEWAY_OBJECTS__URL."
_COLUMNS: Final = ("difference", "tenant", "file_id", "request_id", "detail", "repaired")

app = typer.Typer(no_args_is_help=True, add_completion=False)

_TenantOption = Annotated[str | None, typer.Option(help="Of this tenant; default: of all.")]


@app.command("backfill")
def backfill(
    *,
    since: Annotated[str, typer.Option(help="Requests created at this time or later.")],
    tenant: _TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep the outputs of ended requests while RunComfy has them, whatever the mode in force."""
    fields = {"since": since, "tenant": tenant}
    done = run_admin(lambda admin: backfill_outputs(admin, parse_model(BackfillRequest, fields)))
    print_document(done.model_dump(), as_json=as_json)


@app.command("check")
def check(*, tenant: _TenantOption = None, as_json: JsonOption = False) -> None:
    """Compare the storage with the records, and change nothing; exit status 1 if they differ."""
    _print_result(
        run_command(lambda context: check_archive(context.admin, _storage_of(context), tenant)),
        as_json=as_json,
    )


@app.command("repair")
def repair(
    *,
    tenant: _TenantOption = None,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Delete contents without a record that no request names."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare, and count requests as users of their files; delete nothing without `--delete`."""
    _print_result(
        run_command(
            lambda context: repair_archive(
                context.admin, _storage_of(context), tenant, delete_objects=delete
            )
        ),
        as_json=as_json,
    )


def _storage_of(context: "CommandContext") -> ObjectStore:
    objects = open_objects(context.objects)
    if objects is None:
        raise InvalidInput(_NO_STORAGE)
    return objects


def _print_result(result: CheckResult, *, as_json: bool) -> None:
    document = result.model_dump(mode="json")
    if as_json:
        print_document(document, as_json=True)
    else:
        rows = document.pop("findings")
        print_document(document, as_json=False)
        for difference in result.differences:
            print(f"\n{difference}: {MEANINGS[difference]}")
        if rows:
            print()
            print_table(rows, _COLUMNS, as_json=False)
    if not result.ok:
        raise SystemExit(EXIT_FAILED)
