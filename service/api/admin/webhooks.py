"""Operators: a tenant's endpoints and deliveries, as in the tenant's own operations."""

from typing import Annotated, Any, Final

from fastapi import Depends, Query

from core.representations.webhooks import delivery_representation
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.webhooks.schemas import Deliveries, Delivery, Endpoint, Endpoints, Replay
from service.http.dependencies import Admin, Context, DeliveryId, EndpointId, TenantPath
from service.http.openapi import Tag, problem_responses
from service.tenants.tenants import load_tenant
from service.webhooks import audited_webhooks
from service.webhooks.representations import (
    deliveries_representation,
    endpoint_representation,
    endpoints_representation,
    replay_representation,
)
from service.webhooks.requests import (
    DeliveryQuery,
    EndpointChange,
    EndpointRequest,
    ReplayRequest,
    TestEventRequest,
)

JsonObject = dict[str, Any]
router = admin_router(Tag.ADMIN_WEBHOOKS)
_NO_CHANGE: Final = EndpointChange()
_ALL_ENDPOINTS: Final = TestEventRequest()


async def _existing_tenant(admin: Admin, tenant: TenantPath) -> str:
    """Return the tenant's name. Raises `NotFound`, for a deleted tenant too."""
    return (await load_tenant(admin, tenant)).name


Tenant = Annotated[str, Depends(_existing_tenant)]
_ROOT: Final = "/tenants/{tenant}"


@router.get(f"{_ROOT}/endpoints", response_model=Endpoints)
async def list_endpoints(context: Context, tenant: Tenant) -> JsonObject:
    """List a tenant's endpoints."""
    return endpoints_representation(await context.webhooks.list_endpoints(tenant))


@router.post(
    f"{_ROOT}/endpoints", response_model=Endpoint, status_code=201, responses=WRITE_PROBLEMS
)
async def create_endpoint(
    admin: Admin, context: Context, tenant: Tenant, new: EndpointRequest
) -> JsonObject:
    """Create an endpoint for a tenant."""
    made = await audited_webhooks.add_endpoint(admin, context.webhooks, tenant, new)
    return endpoint_representation(made)


@router.get(f"{_ROOT}/endpoints/{{endpoint_id}}", response_model=Endpoint)
async def show_endpoint(context: Context, tenant: Tenant, endpoint_id: EndpointId) -> JsonObject:
    """Show a tenant's endpoint."""
    return endpoint_representation(*await context.webhooks.show_endpoint(tenant, endpoint_id))


@router.patch(
    f"{_ROOT}/endpoints/{{endpoint_id}}", response_model=Endpoint, responses=WRITE_PROBLEMS
)
async def change_endpoint(
    admin: Admin,
    context: Context,
    tenant: Tenant,
    endpoint_id: EndpointId,
    change: EndpointChange = _NO_CHANGE,
) -> JsonObject:
    """Change, disable or enable a tenant's endpoint.

    An endpoint that is enabled again is sent what it missed, a few events per second.
    """
    changed = await audited_webhooks.change_endpoint(
        admin, context.webhooks, (tenant, endpoint_id), change
    )
    return endpoint_representation(changed)


@router.delete(
    f"{_ROOT}/endpoints/{{endpoint_id}}", status_code=204, responses=problem_responses(409)
)
async def delete_endpoint(
    admin: Admin, context: Context, tenant: Tenant, endpoint_id: EndpointId
) -> None:
    """Delete a tenant's endpoint.

    Its pending deliveries are given up.
    """
    await audited_webhooks.delete_endpoint(admin, context.webhooks, tenant, endpoint_id)


@router.get(f"{_ROOT}/deliveries", response_model=Deliveries, responses=problem_responses(400))
async def list_deliveries(
    context: Context, tenant: Tenant, query: Annotated[DeliveryQuery, Query()]
) -> JsonObject:
    """List a tenant's deliveries, newest first."""
    page = await context.webhooks.list_deliveries(tenant, query)
    return deliveries_representation(page.items, page.cursor)


@router.post(
    f"{_ROOT}/deliveries/{{delivery_id}}/resend",
    response_model=Delivery,
    status_code=202,
    responses=problem_responses(409),
)
async def resend_delivery(
    admin: Admin, context: Context, tenant: Tenant, delivery_id: DeliveryId
) -> JsonObject:
    """Send a tenant's delivery again."""
    delivery = await audited_webhooks.resend(admin, context.webhooks, tenant, delivery_id)
    return delivery_representation(delivery, ())


@router.post(f"{_ROOT}/replay", response_model=Replay, status_code=202, responses=WRITE_PROBLEMS)
async def replay_deliveries(
    admin: Admin, context: Context, tenant: Tenant, request: ReplayRequest
) -> JsonObject:
    """Send a range of a tenant's deliveries again.

    A few per second. Without `status`, those that `failed` or were `held`.
    """
    replay_range = request.range(admin.clock.now())
    after = await audited_webhooks.replay(admin, context.webhooks, tenant, replay_range)
    return replay_representation(replay_range, after)


@router.post(
    f"{_ROOT}/test",
    response_model=Deliveries,
    status_code=202,
    responses=WRITE_PROBLEMS,
    name="test_webhook",
)
async def send_test(
    admin: Admin, context: Context, tenant: Tenant, request: TestEventRequest = _ALL_ENDPOINTS
) -> JsonObject:
    """Send a test event to a tenant's endpoints.

    To one endpoint, or to all that are enabled.
    """
    sent = await audited_webhooks.send_test(admin, context.webhooks, tenant, request.endpoint_id)
    return deliveries_representation([(delivery, ()) for delivery in sent])
