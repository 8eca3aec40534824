"""What the key's own tenant used, and how much of its limits is left."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field

from core.billing.usage import Budget
from core.billing.usage_history import GroupBy
from core.errors import Unauthenticated
from core.tenants.windows import Window
from core.webhooks.endpoint import DisabledReason
from service.http.dependencies import Context, Reader
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import api_router
from service.parsing.request_models import Document, TimeText
from service.tenants.usage import usage_representation
from service.tenants.usage_reports import (
    DateText,
    UsageQuery,
    report_representation,
    report_tenant,
)


class _Quota(Document):
    used: int
    limit: int | None
    remaining: int | None


class _Cost(Document):
    used: float = Field(description="USD: settled and reserved.")
    settled: float
    reserved: float = Field(description="Of jobs without a final cost yet.")


class _Budget(_Cost):
    limit: float | None
    remaining: float | None


class _Reused(Document):
    jobs: int = Field(description="Jobs that got a result which another had paid for.")
    saved_usd: float = Field(description="What these would have cost.")


class _ModelUsage(Document):
    jobs: int
    usd: _Cost
    reused: _Reused


class _WindowUsage(Document):
    window: Window
    resets_at: TimeText | None = Field(description="null: never.")
    jobs: _Quota
    usd: _Budget
    reused: _Reused
    models: Mapping[str, _ModelUsage]


class _FileUsage(Document):
    stored_bytes: _Quota = Field(description="Stored now; large inputs included.")
    uploaded_bytes: _Quota = Field(description="Of this day (UTC).")


class _DisabledEndpoint(Document):
    endpoint_id: str
    url: str
    reason: DisabledReason | None
    disabled_at: TimeText | None
    owed: int = Field(description="Deliveries that are sent when it is enabled again.")


class TopUp(Document):
    """Money that may be spent beyond budgets, once."""

    usd: float
    windows: list[Window] = Field(description="The budgets that it raises.")
    created_at: TimeText
    until: TimeText
    reason: str


class TopUps(Document):
    """A tenant's top-ups."""

    top_ups: list[TopUp]


class Usage(Document):
    """The day, week, month and total, by model, with the tenant's limits."""

    tenant: str
    at: TimeText
    running: _Quota
    waiting: _Quota
    files: _FileUsage
    requests_per_minute: int | None
    usd_per_request: float | None
    time_zone: str
    reset_hour: int
    top_ups: list[TopUp] = Field(description="Included in the limits of `windows`.")
    windows: list[_WindowUsage]
    disabled_endpoints: list[_DisabledEndpoint]


class UsageSums(Document):
    """Sums over jobs, in the day in which each was submitted."""

    jobs: int
    completed: int
    failed: int
    cancelled: int
    open: int = Field(description="Not ended yet.")
    reused: int = Field(description="Of `jobs`: those that got the result of another one.")
    in_doubt: int = Field(description="Of `open`: RunComfy may or may not have them.")
    estimated: int = Field(description="Ended without a cost from RunComfy.")
    charged_failures: int = Field(description="Paid for although they did not complete.")
    used_usd: float = Field(description="What counts against budgets: settled and reserved.")
    settled_usd: float
    reserved_usd: float = Field(description="Of jobs without a final cost yet.")
    saved_usd: float = Field(description="What the `reused` would have cost.")
    in_doubt_usd: float = Field(description="The part of `reserved_usd` that is in doubt.")
    estimated_usd: float = Field(description="The part of `settled_usd` that is an estimate.")
    charged_failures_usd: float
    video_seconds: float = Field(
        description="Of completed requests to models that are priced by the second."
    )


class UsageRow(UsageSums):
    """One group of a tenant."""

    tenant: str
    group: str
    name: str | None = Field(description="Of a key that has one, with `by=key`.")


class UsageReport(Document):
    """Usage over days. The rows add up to the total, to the micro-dollar."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    first: DateText = Field(alias="from")
    last: DateText = Field(alias="to", description="Included.")
    by: GroupBy
    time_zone: str | None = Field(description="null: each tenant's own.")
    rows: list[UsageRow]
    total: UsageSums


router = api_router(Tag.USAGE)


@router.get(
    "/v1/usage",
    response_model=Usage | UsageReport,
    responses=problem_responses(400, 401, 403, 422, 429, 503),
)
async def usage(
    reader: Reader, context: Context, query: Annotated[UsageQuery, Query()]
) -> dict[str, Any]:
    """Show what the tenant used: now, or over days.

    Without options: the windows of the budgets. With `from`, `to` or `by`: a report, from the
    history that is kept (400 days, unless the operator chose otherwise).

    Days, weeks and months are those of the tenant's time zone. Money is USD, six decimals at most;
    `used` is `settled` and `reserved`, and counts against the limit. `disabled_endpoints` get no
    webhooks; of the newest 1,000 deliveries, `owed` are sent to them when they are enabled again.
    """
    tenant = await context.stores.tenants.load(reader)
    if tenant is None:  # deleted in the meantime
        raise Unauthenticated
    now = context.clock.now()
    if not query.is_empty:
        report = await report_tenant(context.stores, tenant, query, now)
        return report_representation(report)
    used, disabled = await asyncio.gather(
        context.stores.tenants.read_usage(
            tenant.name, Budget.of_tenant(tenant), now, by_model=True
        ),
        context.webhooks.disabled_endpoints(tenant.name),
    )
    return usage_representation(tenant.name, used, now, disabled)
