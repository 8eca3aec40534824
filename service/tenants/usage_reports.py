"""Reports of usage over days: of a tenant, and of all tenants. Money is in USD."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from core.billing.usage import NO_USAGE, UsageTotals
from core.billing.usage_history import DIMENSION_OF, GroupBy, UsageReport
from core.errors import FieldError
from core.money import MicroUsd, to_usd
from core.tenants.tenant import Tenant
from service.operator_context import AdminContext
from service.parsing.fields import InvalidField
from service.parsing.request_models import RequestModel, invalid_input, optional
from service.tenants.api_keys import key_id

if TYPE_CHECKING:  # the command imports this to parse options, and waits for no store
    from core.store.interfaces import UsageHistoryRepository
    from core.store.stores import Stores

JsonObject = dict[str, Any]
MAX_REPORT_DAYS: Final = 800
_FIRST_DAY: Final = date(2000, 1, 1)
_DATE_LENGTH: Final = len("2026-10-01")


def _parse_date(value: object) -> date:
    try:
        # `fromisoformat` accepts other forms, such as weeks.
        if isinstance(value, str) and len(value) == _DATE_LENGTH:
            return max(date.fromisoformat(value), _FIRST_DAY)
    except ValueError:
        pass
    raise InvalidField("must be a date, such as 2026-10-01")


DateText = Annotated[
    date, BeforeValidator(_parse_date), WithJsonSchema({"type": "string", "format": "date"})
]


class UsageQuery(RequestModel):
    """Which days, and by what they are grouped."""

    first: DateText | None = Field(
        None,
        alias="from",
        description="First day. Default: the first of the month of `to`.",
    )
    last: DateText | None = Field(
        None, alias="to", description="Last day, included. Default: today."
    )
    by: GroupBy | None = optional("Default: `day`.")

    @property
    def is_empty(self) -> bool:
        """Whether no history is requested."""
        return not self.model_fields_set

    def period(self, today: date) -> tuple[date, date]:
        """Return the first and the last day. Raises `InvalidInput`."""
        last = self.last or max(today, self.first or today)
        first = self.first or last.replace(day=1)
        if first > last or last - first >= timedelta(days=MAX_REPORT_DAYS):
            message = f"must be from 1 to {MAX_REPORT_DAYS} days from `from`"
            raise invalid_input((FieldError("/to", message),))
        return first, last


def month_query(text: str, by: GroupBy) -> UsageQuery:
    """Return the query of a month such as 2026-10. Raises `InvalidInput`."""
    try:
        first = _parse_date(f"{text}-01")
        last = (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    except (InvalidField, OverflowError) as error:
        raise invalid_input((FieldError("/month", "must be a month, such as 2026-10"),)) from error
    return UsageQuery.model_validate({"from": f"{first}", "to": f"{last}", "by": by})


@dataclass(frozen=True, slots=True)
class Report:
    """Usage of some days: of one tenant, or of several."""

    first: date
    last: date
    by: GroupBy
    time_zone: str | None
    """None: of tenants with calendars of their own."""
    tenants: Sequence[tuple[str, UsageReport]]
    key_names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Names of keys by tenant and id. A key that was revoked has none."""

    @property
    def has_names(self) -> bool:
        """Whether groups have names beside them."""
        return self.by is GroupBy.KEY

    def name_of(self, tenant: str, group: str) -> str | None:
        """Return the name of a group that is a key with a name."""
        return self.key_names.get((tenant, group))

    @property
    def total(self) -> UsageTotals:
        """The sum of all rows."""
        return sum((report.total for _, report in self.tenants), NO_USAGE)

    @property
    def rows(self) -> Iterator[tuple[str, str, UsageTotals]]:
        """Tenant, group and sums of each row."""
        for tenant, report in self.tenants:
            for group, use in report.groups:
                yield tenant, group, use


async def report_tenant(
    stores: "Stores", tenant: Tenant, query: UsageQuery, now: datetime
) -> Report:
    """Return a tenant's report. Raises `InvalidInput`.

    Days before it was created may be those of a deleted tenant of the same name.
    """
    calendar, by = tenant.calendar, query.by or GroupBy.DAY
    first, last = query.period(calendar.day_of(now))
    since = max(first, calendar.day_of(tenant.created_at))
    report = await _read(stores.usage_history, tenant.name, (since, last), by)
    names = await _key_names(stores, [tenant.name], by)
    return Report(first, last, by, calendar.time_zone, [(tenant.name, report)], names)


async def report_all(admin: AdminContext, query: UsageQuery) -> Report:
    """Return the report of all tenants, deleted ones too. Raises `InvalidInput`."""
    # A day may have begun somewhere already that has not begun in UTC.
    first, last = query.period(admin.clock.now().date() + timedelta(days=1))
    by, history = query.by or GroupBy.DAY, admin.stores.usage_history
    found = [
        (tenant, await _read(history, tenant, (first, last), by))
        for tenant in await history.list_tenants(first)
    ]
    used = [(tenant, report) for tenant, report in found if report.total.jobs]
    names = await _key_names(admin.stores, [tenant for tenant, _ in used], by)
    return Report(first, last, by, None, used, names)


async def _key_names(
    stores: "Stores", tenants: Iterable[str], by: GroupBy
) -> dict[tuple[str, str], str]:
    if by is not GroupBy.KEY:
        return {}
    return {
        (tenant, key_id(use.api_key)): use.api_key.name
        for tenant in tenants
        for use in await stores.tenants.list_keys(tenant)
        if use.api_key.name is not None
    }


async def _read(
    history: "UsageHistoryRepository", tenant: str, period: tuple[date, date], by: GroupBy
) -> UsageReport:
    report = UsageReport(by)
    async for day in history.read_days(tenant, *period, DIMENSION_OF[by]):
        report.add(day)
    return report


MONEY_FIELDS: Final[Mapping[str, str]] = {
    "used_usd": "used",
    "settled_usd": "settled",
    "reserved_usd": "held",
    "saved_usd": "cost_saved",
    "in_doubt_usd": "in_doubt_held",
    "estimated_usd": "estimated_cost",
    "charged_failures_usd": "charged_failures_cost",
}
COUNT_FIELDS: Final[Mapping[str, str]] = {
    "jobs": "jobs",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "open": "open",
    "reused": "reused_jobs",
    "in_doubt": "in_doubt",
    "estimated": "estimated",
    "charged_failures": "charged_failures",
}


def sums_representation(use: UsageTotals) -> JsonObject:
    """Return the sums of a row as JSON."""
    return {
        **{name: getattr(use, field) for name, field in COUNT_FIELDS.items()},
        **{name: to_usd(MicroUsd(getattr(use, field))) for name, field in MONEY_FIELDS.items()},
        "video_seconds": use.video_ms / 1000,
    }


def report_representation(report: Report) -> JsonObject:
    """Return a report as JSON; the rows add up to `total`, to the micro-dollar."""
    return {
        "from": f"{report.first}",
        "to": f"{report.last}",
        "by": report.by,
        "time_zone": report.time_zone,
        "rows": [
            {
                "tenant": tenant,
                "group": group,
                "name": report.name_of(tenant, group),
                **sums_representation(use),
            }
            for tenant, group, use in report.rows
        ],
        "total": sums_representation(report.total),
    }


def report_csv(report: Report) -> str:
    """Return a report as CSV (RFC 4180), with the exact digits of money, and a line of totals."""
    groups = (report.by.value, "name") if report.has_names else (report.by.value,)
    names = ("tenant", *groups, *COUNT_FIELDS, *MONEY_FIELDS, "video_seconds")
    rows = (
        (tenant, group, report.name_of(tenant, group) or "", *_cells(use))
        if report.has_names
        else (tenant, group, *_cells(use))
        for tenant, group, use in report.rows
    )
    return write_csv(names, (*rows, ("total", *("" for _ in groups), *_cells(report.total))))


def _cells(use: UsageTotals) -> tuple[str, ...]:
    return (
        *(str(getattr(use, field)) for field in COUNT_FIELDS.values()),
        *(exact_usd(getattr(use, field)) for field in MONEY_FIELDS.values()),
        f"{use.video_ms / 1000:.15g}",  # the default of six digits rounds a week of video
    )


def exact_usd(amount: int) -> str:
    """Return micro-dollars as digits of USD, all six decimals."""
    return f"{amount // 1_000_000}.{amount % 1_000_000:06d}"


_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def write_csv(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return CSV. A text of a caller that a spreadsheet would execute gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for row in rows:
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell for cell in row])
    return out.getvalue()
