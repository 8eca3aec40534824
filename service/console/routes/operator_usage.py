"""An operator's page of usage, and the charts of the overview."""

from datetime import timedelta
from typing import Any, Final

from starlette.responses import Response

from core.billing.usage_history import GroupBy
from core.observability.gateway_state import GatewayState
from service.callers.api_calls import JsonObject
from service.console.charts import Bar, bars_of, run_time_rows, summed, table_of
from service.console.filters import REPORT_FILTERS, chosen
from service.console.pages import OperatorPage, Page, console_router

router = console_router()
TENANT: Final = "tenant"
GROUPINGS: Final = (GroupBy.DAY, GroupBy.MONTH, GroupBy.MODEL, GroupBy.LABEL, TENANT)
"""Keys and references are a tenant's own: they are on its pages."""
_DAYS: Final = timedelta(days=13)
_REPORT: Final = "usage_of_two_weeks"
_MAX_TENANTS: Final = 50
"""Of more, the overview has no chart of days: it reads each tenant's two weeks."""
_MAX_ROWS: Final = 10


@router.get("/operator/usage")
async def show_usage(page: OperatorPage) -> Response:
    """Show what all tenants spent over days, by a group."""
    report = await _report(page)
    values = {"groupings": GROUPINGS, "report": report, "bars": bars_of(report)}
    return page.render("operator_usage.html", values)


@router.get("/operator/usage.csv")
async def download_usage(page: OperatorPage) -> Response:
    """Return the report that the page shows as a table for spreadsheets."""
    headers = {"content-disposition": 'attachment; filename="usage.csv"'}
    text = table_of(await _report(page))
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


async def _report(page: Page) -> JsonObject:
    today = page.context.clock.now().date()
    filters = {"by": GroupBy.DAY, "to": f"{today}", **chosen(page.query, REPORT_FILTERS)}
    if filters["by"] != TENANT:
        return summed(await page.api.read("admin_report_usage", filters))
    # The sums of months are the fewest rows.
    found = await page.api.read("admin_report_usage", {**filters, "by": GroupBy.MONTH})
    return summed({**found, "by": TENANT}, TENANT)


async def chart_values(page: Page, state: GatewayState) -> dict[str, Any]:
    """Return what the charts of the overview show."""
    return {
        "days": await _last_days(page, state),
        "run_times": run_time_rows(page.context.run_times.busiest(_MAX_ROWS)),
    }


async def _last_days(page: Page, state: GatewayState) -> list[Bar]:
    if len(state.tenants) > _MAX_TENANTS or not page.user.may("admin_report_usage"):
        return []
    today = page.context.clock.now().date()
    period = {"from": f"{today - _DAYS}", "to": f"{today}"}

    async def read() -> JsonObject:
        return await page.api.read("admin_report_usage", period)

    return bars_of(summed(await page.context.shared_reads.get(_REPORT, read)))
