"""A tenant's statement of a month, as CSV and as one page of HTML that prints well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Final

from core.billing.usage import UsageTotals
from core.billing.usage_history import GroupBy
from core.clock import iso
from service.operator_context import AdminContext
from service.tenants.tenants import load_tenant_or_deleted
from service.tenants.usage_reports import (
    Report,
    exact_usd,
    month_query,
    report_tenant,
    write_csv,
)

PARTS: Final = (GroupBy.MODEL, GroupBy.KEY, GroupBy.DAY)
"""What a statement lists; each part adds up to the same total."""
_COLUMNS: Final = (
    "requests",
    "completed",
    "failed",
    "reused",
    "charged USD",
    "of it estimated",
    "of it for failures",
    "still reserved",
    "saved by reuse",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """The reports of one month, by `PARTS`."""

    tenant: str
    month: str
    made_at: datetime
    parts: Sequence[Report]
    reset_hour: int = 0


async def load_statement(admin: AdminContext, name: str, month: str) -> Statement:
    """Return a tenant's statement, a deleted one's too. Raises `InvalidInput`, `NotFound`."""
    tenant, now = await load_tenant_or_deleted(admin, name), admin.clock.now()
    queries = [month_query(month, by) for by in PARTS]
    parts = [await report_tenant(admin.stores, tenant, query, now) for query in queries]
    return Statement(name, month, now, parts, tenant.calendar.reset_hour)


def _cells(use: UsageTotals) -> tuple[str, ...]:
    return (
        *(str(count) for count in (use.jobs, use.completed, use.failed, use.reused_jobs)),
        exact_usd(use.settled),
        exact_usd(use.estimated_cost),
        exact_usd(use.charged_failures_cost),
        exact_usd(use.held),
        exact_usd(use.cost_saved),
    )


def _named_rows(part: Report) -> Iterator[tuple[str, UsageTotals]]:
    """Yield each row with its group, a key's with the key's name."""
    for tenant, group, use in part.rows:
        name = part.name_of(tenant, group)
        yield group if name is None else f"{group} ({name})", use


def statement_csv(statement: Statement) -> str:
    """Return all parts in one table (RFC 4180), each followed by its total."""
    rows: list[tuple[str, ...]] = []
    for part in statement.parts:
        rows += [(part.by, name, *_cells(use)) for name, use in _named_rows(part)]
        rows.append((part.by, "total", *_cells(part.total)))
    return write_csv(("part", "group", *_COLUMNS), rows)


_NOTES: Final = (
    "Charged: what RunComfy charged, or the estimate where it reported no cost (of it estimated). "
    "For failures: paid for, and not completed. Still reserved: what requests without a final cost "
    "may still cost; it is not part of what is charged."
)
_STYLE: Final = """
body { font: 11pt/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em;
  color: #111; }
.sum { font-size: 14pt; font-weight: bold; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2em; }
th, td { border-bottom: 1px solid #ccc; padding: .25em .5em; text-align: right; }
th:first-child, td:first-child { text-align: left; min-width: 13em; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
tr.total td { border-top: 2px solid #111; font-weight: bold; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
@media (max-width: 68em) {
  body { font-size: 9pt; margin: 1em auto; }
  th, td { padding: .25em .3em; }
  th:first-child, td:first-child { min-width: 9em; }
}
@page { size: A4 landscape; margin: 15mm; }
@media print {
  body { margin: 0; padding: 0; max-width: none; font-size: 9pt; }
  h2 { break-after: avoid; }
}
"""


def statement_html(statement: Statement) -> str:
    """Return one page without scripts and without anything to load."""
    title = f"Statement of {statement.tenant}, {statement.month}"
    use = statement.parts[0].total
    charged = f"{exact_usd(use.settled)} USD charged for {use.jobs} requests"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        f'<p>{escape(_about(statement))}</p>\n<p class="sum">{charged}</p>\n'
        f"{''.join(map(_html_table, statement.parts))}<p>{_NOTES}</p>\n</body></html>\n"
    )


def _about(statement: Statement) -> str:
    part, made_at = statement.parts[0], iso(statement.made_at.replace(microsecond=0))
    hour = f" from {statement.reset_hour}:00" if statement.reset_hour else ""
    days = f"{part.first} to {part.last}, days of {part.time_zone}{hour}"
    return f"{days}. Made at {made_at}. Amounts in USD."


def _html_table(part: Report) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in (part.by, *_COLUMNS))
    rows = [_html_row((name, *_cells(use))) for name, use in _named_rows(part)]
    total = _html_row(("total", *_cells(part.total)), ' class="total"')
    return (
        f"<h2>By {part.by}</h2>\n<table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{''.join(rows)}{total}</tbody></table>\n"
    )


def _html_row(cells: Sequence[str], attributes: str = "") -> str:
    return f"<tr{attributes}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"
