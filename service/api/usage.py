"""What the key's own tenant used, and how much of its limits is left."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field

from core.errors import Unauthenticated
from core.tenants.limits import Window
from core.webhooks.endpoint import DisabledReason
from service.api.schemas import EXAMPLE_MODEL_ID
from service.http.api_operation import Tag
from service.http.dependencies import Context, Reader
from service.http.openapi import problem_responses
from service.http.strict_route import StrictRoute, operation_id
from service.parsing.request_models import Document, TimeText, example
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
    resets_at: TimeText
    jobs: _Quota
    usd: _Budget
    reused: _Reused
    models: Mapping[str, _ModelUsage]


class _DisabledEndpoint(Document):
    endpoint_id: str
    url: str
    reason: DisabledReason | None
    disabled_at: TimeText | None
    owed: int = Field(description="Deliveries that are sent when it is enabled again.")


_COST_EXAMPLE: Final = {"used": 3.78, "settled": 2.52, "reserved": 1.26}
_REUSED_EXAMPLE: Final = {"jobs": 1, "saved_usd": 1.26}
_TOTALS_EXAMPLE: Final[dict[str, Any]] = {
    "jobs": {"used": 3, "limit": 50, "remaining": 47},
    "usd": {**_COST_EXAMPLE, "limit": 25.0, "remaining": 21.22},
    "reused": _REUSED_EXAMPLE,
    "models": {EXAMPLE_MODEL_ID: {"jobs": 3, "usd": _COST_EXAMPLE, "reused": _REUSED_EXAMPLE}},
}


class Usage(Document):
    """The day and the month, by model, with the tenant's limits."""

    model_config = example(
        {
            "tenant": "video-team",
            "at": "2025-11-22T14:58:34.120000Z",
            "running": {"used": 1, "limit": 5, "remaining": 4},
            "waiting": {"used": 0, "limit": 100, "remaining": 100},
            "requests_per_minute": 60,
            "usd_per_request": None,
            "windows": [
                {"window": "day", "resets_at": "2025-11-23T00:00:00Z", **_TOTALS_EXAMPLE},
                {"window": "month", "resets_at": "2025-12-01T00:00:00Z", **_TOTALS_EXAMPLE},
            ],
            "disabled_endpoints": [
                {
                    "endpoint_id": "ep_01KAP7ZJ5V3Q8M0RWX4T2YDN6C",
                    "url": "https://old.example/hooks",
                    "reason": "failing",
                    "disabled_at": "2025-11-20T09:12:00Z",
                    "owed": 37,
                }
            ],
        }
    )

    tenant: str
    at: TimeText
    running: _Quota
    waiting: _Quota
    requests_per_minute: int | None
    usd_per_request: float | None
    windows: list[_WindowUsage]
    disabled_endpoints: list[_DisabledEndpoint]


router = APIRouter(
    tags=[Tag.USAGE], route_class=StrictRoute, generate_unique_id_function=operation_id
)


@router.get("/v1/usage", response_model=Usage, responses=problem_responses(401, 403, 503))
async def usage(reader: Reader, context: Context) -> dict[str, Any]:
    """Show what the tenant used.

    Days and months are UTC. Money is USD, six decimals at most; `used` is `settled` and
    `reserved`, and counts against the limit. `disabled_endpoints` get no webhooks; of the newest
    1,000 deliveries, `owed` are sent to them when they are enabled again.
    """
    tenant = await context.tenants.load(reader)
    if tenant is None:  # deleted in the meantime
        raise Unauthenticated
    now = context.clock.now()
    used, disabled = await asyncio.gather(
        context.usage.read(tenant.name, tenant.limits, now),
        context.webhooks.disabled_endpoints(tenant.name),
    )
    return usage_representation(tenant.name, used, now, disabled)
