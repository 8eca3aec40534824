"""What the key's own tenant used, and how much of its limits is left."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from core.billing.usage import Budget
from core.errors import Unauthenticated
from core.tenants.windows import Window
from core.webhooks.endpoint import DisabledReason
from service.http.dependencies import Context, Reader
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import api_router
from service.parsing.request_models import Document, TimeText
from service.tenants.usage import usage_representation


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


class Usage(Document):
    """The day, week, month and total, by model, with the tenant's limits."""

    tenant: str
    at: TimeText
    running: _Quota
    waiting: _Quota
    files: _FileUsage
    requests_per_minute: int | None
    usd_per_request: float | None
    windows: list[_WindowUsage]
    disabled_endpoints: list[_DisabledEndpoint]


router = api_router(Tag.USAGE)


@router.get("/v1/usage", response_model=Usage, responses=problem_responses(401, 403, 429, 503))
async def usage(reader: Reader, context: Context) -> dict[str, Any]:
    """Show what the tenant used.

    Days and months are UTC. Money is USD, six decimals at most; `used` is `settled` and
    `reserved`, and counts against the limit. `disabled_endpoints` get no webhooks; of the newest
    1,000 deliveries, `owed` are sent to them when they are enabled again.
    """
    tenant = await context.stores.tenants.load(reader)
    if tenant is None:  # deleted in the meantime
        raise Unauthenticated
    now = context.clock.now()
    used, disabled = await asyncio.gather(
        context.stores.tenants.read_usage(tenant.name, Budget.of_tenant(tenant), now),
        context.webhooks.disabled_endpoints(tenant.name),
    )
    return usage_representation(tenant.name, used, now, disabled)
