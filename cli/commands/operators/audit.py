"""`gateway audit …`: the audit log."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.output import JsonOption, print_document, print_table
from cli.run_command import EXIT_FAILED, run_admin
from core.errors import InvalidInput
from core.operators.audit import AuditEntry
from service.admin import representations
from service.admin.audit import Verification, check_log_name, export_log, parse_export, verify_log
from service.operator_context import AdminContext

app = typer.Typer(no_args_is_help=True, add_completion=False)

_COLUMNS: Final = ("at", "actor", "address", "action", "subject", "change")
_TenantOption = Annotated[
    str | None, typer.Option(help="What this tenant did itself, in place of operators' acts.")
]


@app.command("list")
def list_all(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Number of entries.")] = 100,
    tenant: _TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest entries."""

    async def read(admin: AdminContext) -> Sequence[AuditEntry]:
        check_log_name(tenant)
        return await admin.stores.audit.list_entries(limit, tenant)

    entries = run_admin(read)
    rows = [representations.entry_representation(entry) for entry in entries]
    print_table(rows, _COLUMNS, as_json=as_json)


@app.command()
def export(*, tenant: _TenantOption = None) -> None:
    """Print every record as a line of JSON, oldest first."""

    async def write(admin: AdminContext) -> None:
        check_log_name(tenant)
        async for line in export_log(admin, tenant):
            sys.stdout.buffer.write(line)

    run_admin(write)


@app.command()
def verify(
    *,
    tenant: _TenantOption = None,
    export: Annotated[
        Path | None, typer.Option(help="A former export, whose end must be in the log.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find out whether the log was changed; exit status 1 if it was."""

    async def check(admin: AdminContext) -> Verification:
        check_log_name(tenant)
        records = parse_export(_lines(export)) if export else ()
        return await verify_log(admin, tenant, records)

    found = run_admin(check)
    print_document(representations.verification_representation(found), as_json=as_json)
    if not found.is_intact:
        raise SystemExit(EXIT_FAILED)


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.") from error
