"""`gateway usage …`: what tenants used, over days and months."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import JsonOption, print_table
from cli.run_command import EXIT_FAILED, run_admin
from core.billing.usage_history import GroupBy
from core.errors import InvalidInput
from service.operator_context import AdminContext
from service.parsing.request_models import parse_model
from service.tenants import bill, statements, tenants
from service.tenants.usage_reports import (
    COUNT_FIELDS,
    MONEY_FIELDS,
    Report,
    UsageQuery,
    exact_usd,
    month_query,
    report_all,
    report_csv,
    report_representation,
    report_tenant,
)

app = typer.Typer(no_args_is_help=True, add_completion=False)

_TABLE_COUNTS = ("jobs", "completed", "failed", "cancelled", "open", "reused", "in_doubt")
_TABLE_MONEY = ("used_usd", "settled_usd", "reserved_usd", "saved_usd", "charged_failures_usd")
TenantsArgument = Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")]


@app.command()
def report(
    *,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Of this month.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day.")] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last day, included.")
    ] = None,
    tenant: TenantsArgument = None,
    everyone: Annotated[bool, typer.Option("--all", help="Of all tenants.")] = False,
    by: Annotated[GroupBy, typer.Option(help="What each tenant's rows are about.")] = GroupBy.DAY,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Report usage by day, month, model, key, reference or label; default: this month by day."""
    if everyone == (tenant is not None):
        raise typer.BadParameter("name one of --all and --tenant")
    if month is not None and (first or last):
        raise typer.BadParameter("--month stands for --from and --to")
    fields = {"from": first, "to": last, "by": by}

    def query() -> UsageQuery:
        return month_query(month, by) if month else parse_model(UsageQuery, _given(fields))

    _print_report(run_admin(lambda admin: _report(admin, tenant, query())), as_csv, as_json)


@app.command()
def statement(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    *,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV in place of HTML.")] = False,
) -> None:
    """Print a tenant's statement of a month, by model, key and day: a page of HTML that prints."""
    parts = run_admin(lambda admin: statements.load_statement(admin, name, month))
    print(statements.statement_csv(parts) if as_csv else statements.statement_html(parts), end="")


@app.command()
def reconcile(
    file: Annotated[Path, typer.Argument(help="RunComfy's bill, as CSV with column names.")],
    *,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="The month that the bill is for (UTC).")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of RunComfy's request ids, if it is not found.")
    ] = None,
    amount_column: Annotated[
        str | None, typer.Option(help="Column of the amounts in USD, if it is not found.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare RunComfy's bill with what was settled; exit status 1 if anything differs.

    Without `--month` the bill should have each paid request from the day of its first request to
    that of its last.
    """

    async def run(admin: AdminContext) -> bill.Reconciliation:
        period = month_query(month, GroupBy.DAY) if month else None
        given = bill.parse_bill(_read_text(file), id_column, amount_column)
        days = None if period is None else period.period(admin.clock.now().date())
        return await bill.reconcile_bill(admin, given, days)

    found = run_admin(run)
    _print_reconciliation(bill.reconciliation_representation(found), as_json=as_json)
    if found.differs:
        raise typer.Exit(EXIT_FAILED)


def _read_text(file: Path) -> str:
    """Return a file's text. Raises `InvalidInput`."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInput(f"{file} is not UTF-8.") from error


def _print_reconciliation(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document))
        return
    differences = document["differences"]
    print(
        f"{document['from']} to {document['to']}: {document['matched']} requests match, "
        f"differences: {len(differences)}; RunComfy {document['runcomfy_usd']:.6f} USD, "
        f"gateway {document['gateway_usd']:.6f} USD"
    )
    if differences:
        columns = ("difference", "request", "tenant", "runcomfy_usd", "gateway_usd")
        print_table(differences, columns, as_json=False)


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


async def _report(admin: AdminContext, tenant: str | None, query: UsageQuery) -> Report:
    if tenant is None:
        return await report_all(admin, query)
    found = await tenants.load_tenant_or_deleted(admin, tenant)
    return await report_tenant(admin.stores, found, query, admin.clock.now())


def _print_report(report: Report, as_csv: bool, as_json: bool) -> None:  # noqa: FBT001 - two options of the command
    if as_json:
        print(json.dumps(report_representation(report)))
    elif as_csv:
        print(report_csv(report), end="")
    else:
        groups = (report.by.value, "name") if report.has_names else (report.by.value,)
        names = ("tenant", *groups, *_TABLE_COUNTS, *_TABLE_MONEY)
        rows = [*report.rows, ("total", "", report.total)]
        cells = [
            {
                "tenant": tenant,
                report.by.value: group,
                "name": report.name_of(tenant, group),
                **{name: getattr(use, COUNT_FIELDS[name]) for name in _TABLE_COUNTS},
                **{name: exact_usd(getattr(use, MONEY_FIELDS[name])) for name in _TABLE_MONEY},
            }
            for tenant, group, use in rows
        ]
        print_table(cells, names, as_json=False)
