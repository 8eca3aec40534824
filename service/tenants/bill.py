"""RunComfy's bill, as CSV, and its comparison with what the gateway has settled."""

import asyncio
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import islice
from typing import Any, Final

from core.billing.charges import Charge
from core.billing.reconciliation import (
    Comparison,
    Difference,
    DifferenceKind,
    compare,
    in_doubt,
    sum_charges,
)
from core.errors import InvalidInput
from core.money import MicroUsd, to_usd
from core.retention import WINDOW_RETENTION
from core.tenants.windows import days_from
from service.operator_context import AdminContext

JsonObject = dict[str, Any]
ID_COLUMNS: Final = ("request_id", "run_id", "generation_id", "id")
AMOUNT_COLUMNS: Final = ("amount_usd", "cost_usd", "amount", "cost", "charge", "usd", "price")
MAX_IN_DOUBT: Final = 10_000
_DELIMITERS: Final = ",;\t"
_IDS_PER_READ: Final = 200
_DAY: Final = timedelta(days=1)
_AMOUNT: Final = re.compile(r"-?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?")
_CURRENCY: Final = re.compile(r"\$|USD|\s", re.IGNORECASE)
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Bill:
    """The sums of a bill in micro-dollars, by RunComfy's request id."""

    amounts: Mapping[str, int]
    other_lines: tuple[tuple[str, int], ...] = ()
    """Lines without an id, such as fees and totals: which line, and its amount."""


def parse_bill(text: str, id_column: str | None = None, amount_column: str | None = None) -> Bill:
    """Parse a CSV with a line of column names; several lines of one request are added up.

    The columns are found by their names, unless they are given. Raises `InvalidInput`.
    """
    header, _, _ = text.removeprefix("\ufeff").partition("\n")
    rows = csv.reader(
        io.StringIO(text.removeprefix("\ufeff")), delimiter=max(_DELIMITERS, key=header.count)
    )
    try:
        names = next(rows, [])
        at = _column(names, id_column, ID_COLUMNS, "--id-column")
        amount_at = _column(names, amount_column, AMOUNT_COLUMNS, "--amount-column")
        return _sum_lines(((rows.line_num, row) for row in rows if any(row)), at, amount_at)
    except csv.Error as error:
        raise InvalidInput(f"Line {rows.line_num} of the bill is no CSV: {error}.") from error


def _column(names: Sequence[str], given: str | None, known: Sequence[str], option: str) -> int:
    """Return the place of a column: the one that is given, or the first with a known name."""
    normal = [re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_") for name in names]
    if given is not None and given in names:
        return names.index(given)
    found = [normal.index(name) for name in known if given is None and name in normal]
    if not found:
        what = "has no column of that name" if given else "has no column that is known"
        raise InvalidInput(f"{option}: the bill {what}. It has: {', '.join(names) or 'none'}.")
    return found[0]


def _sum_lines(rows: Iterator[tuple[int, list[str]]], id_at: int, amount_at: int) -> Bill:
    amounts: dict[str, int] = {}
    others: list[tuple[str, int]] = []
    for number, row in rows:
        if len(row) <= max(id_at, amount_at):
            raise InvalidInput(f"Line {number} of the bill has too few columns.")
        amount, name = _parse_amount(row[amount_at], number), row[id_at].strip()
        if name:
            amounts[name] = amounts.get(name, 0) + amount
        else:
            others.append((f"line {number}", amount))
    return Bill(amounts, tuple(others))


def _parse_amount(text: str, number: int) -> int:
    """Return micro-dollars, rounded as the gateway rounds costs; negative for a refund."""
    plain = _CURRENCY.sub("", text)
    if not _AMOUNT.fullmatch(plain):
        raise InvalidInput(f"Line {number} of the bill has no amount such as 1.50, but {text!r}.")
    return int((Decimal(plain.replace(",", "")) * _MICRO).to_integral_value(ROUND_HALF_EVEN))


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A comparison, and the days (UTC) whose requests the bill should have."""

    first: date
    last: date
    comparison: Comparison

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.comparison.differences)


async def reconcile_bill(
    admin: AdminContext, bill: Bill, period: tuple[date, date] | None = None
) -> Reconciliation:
    """Compare a bill with what was settled. Raises `InvalidInput`.

    `period`: the days (UTC) of which every paid request should be on the bill; None: from the first
    to the last day of a request that is on it.
    """
    charges = await _read_charges(admin)
    first, last = period or _days_of(bill, charges)
    if first < min(charges):
        raise InvalidInput(f"Charges are kept for {WINDOW_RETENTION.days} days: not since {first}.")
    ours = sum_charges(charges.values())
    expected = {name for day in days_from(first, last) for name in charges.get(day, ())}
    unsettled = await _find_unsettled(admin, [name for name in bill.amounts if name not in ours])
    comparison = compare(bill.amounts, ours, sorted(expected), unsettled)
    doubted = [
        job
        for job in await admin.stores.jobs.list_in_doubt(MAX_IN_DOUBT)
        if first <= job.created_at.date() <= last
    ]
    others = [
        Difference(DifferenceKind.NO_REQUEST, name, "", amount, None)
        for name, amount in bill.other_lines
    ]
    found = (*comparison.differences, *in_doubt(doubted), *others)
    return Reconciliation(first, last, replace(comparison, differences=found))


async def _read_charges(admin: AdminContext) -> Mapping[date, Mapping[str, Charge]]:
    today, read = admin.clock.now().date(), admin.stores.usage_history.read_charges
    days = days_from(today - WINDOW_RETENTION, today + _DAY)
    return {day: await read(day) for day in days}


def _days_of(bill: Bill, charges: Mapping[date, Mapping[str, Charge]]) -> tuple[date, date]:
    days = [day for day, found in charges.items() if found.keys() & bill.amounts.keys()]
    return (min(days), max(days)) if days else (min(charges), max(charges))


async def _find_unsettled(admin: AdminContext, names: Sequence[str]) -> dict[str, str]:
    """Return the tenants of the requests that are the gateway's; '' if the job is gone."""
    tenants: dict[str, str] = {}
    remaining = iter(names)
    while group := list(islice(remaining, _IDS_PER_READ)):
        found = await asyncio.gather(*(_find_tenant(admin, name) for name in group))
        tenants |= {
            name: tenant for name, tenant in zip(group, found, strict=True) if tenant is not None
        }
    return tenants


async def _find_tenant(admin: AdminContext, name: str) -> str | None:
    job_id = await admin.stores.jobs.find_by_upstream_id(name)
    if job_id is None:
        return None
    record = await admin.stores.jobs.load(job_id)
    return "" if record is None else record.job.tenant


def reconciliation_representation(found: Reconciliation) -> JsonObject:
    """Return a comparison as JSON. Money is in USD."""
    comparison = found.comparison
    return {
        "from": f"{found.first}",
        "to": f"{found.last}",
        "matched": comparison.matched,
        "runcomfy_usd": to_usd(MicroUsd(comparison.theirs)),
        "gateway_usd": to_usd(MicroUsd(comparison.ours)),
        "differences": [_difference(one) for one in comparison.differences],
    }


def _difference(one: Difference) -> JsonObject:
    amounts = {"runcomfy_usd": one.theirs, "gateway_usd": one.ours}
    return {
        "difference": one.kind,
        "request": one.request,
        "tenant": one.tenant or None,
        **{name: None if x is None else to_usd(MicroUsd(x)) for name, x in amounts.items()},
    }
