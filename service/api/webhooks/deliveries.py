"""A tenant's webhook deliveries: their state, sending them again, test events."""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request

from core.representations.webhooks import delivery_representation
from core.store.jobs import Projection
from service.api.jobs.lookup import load_view
from service.api.webhooks.schemas import Deliveries, Delivery, Replay
from service.http.dependencies import Context, DeliveryId, EventSender, Reader, RequestId
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import api_router
from service.webhooks import audited_webhooks
from service.webhooks.representations import replay_representation, tenant_deliveries_representation
from service.webhooks.requests import DeliveryQuery, ReplayRequest, TestEventRequest

JsonObject = dict[str, Any]
router = api_router(Tag.WEBHOOKS, 401, 403, 429, 503)
_ALL_ENDPOINTS: Final = TestEventRequest()


@router.get(
    "/v1/requests/{request_id}/deliveries",
    response_model=Deliveries,
    responses=problem_responses(400, 404),
    name="request_deliveries",
)
async def list_request_deliveries(
    request: Request,
    context: Context,
    request_id: RequestId,  # noqa: ARG001 - documents it; `load_view` takes it from the request
) -> JsonObject:
    """List the deliveries of a request."""
    view = await load_view(request, Projection.ALL)
    found = await context.webhooks.load_deliveries(view.delivery_ids)
    return tenant_deliveries_representation(await context.webhooks.with_attempts(found))


@router.get("/v1/deliveries", response_model=Deliveries, responses=problem_responses(400))
async def list_deliveries(
    tenant: Reader, context: Context, query: Annotated[DeliveryQuery, Query()]
) -> JsonObject:
    """List deliveries, newest first.

    A page may hold fewer than `limit` and still have a `next_cursor`: a filter reads a limited
    number of deliveries for one page.
    """
    page = await context.webhooks.list_deliveries(tenant, query)
    return tenant_deliveries_representation(page.items, page.cursor)


@router.post(
    "/v1/deliveries/{delivery_id}/resend",
    response_model=Delivery,
    status_code=202,
    responses=problem_responses(404, 409),
    name="resend_delivery",
)
async def resend(sender: EventSender, context: Context, delivery_id: DeliveryId) -> JsonObject:
    """Send a delivery again.

    Under its old `webhook-id`, so that a receiver that has it recognises it; attempts start again.
    """
    sent = await audited_webhooks.resend(sender.audit, context.webhooks, sender.tenant, delivery_id)
    return delivery_representation(sent, ())


@router.post(
    "/v1/webhooks/replay",
    response_model=Replay,
    status_code=202,
    responses=problem_responses(400, 409, 413, 415, 422),
    name="replay_deliveries",
)
async def replay(sender: EventSender, context: Context, request: ReplayRequest) -> JsonObject:
    """Send a range of deliveries again.

    A few per second. Without `status`, those that `failed` or were `held`.
    """
    replay_range = request.range(context.clock.now())
    after = await audited_webhooks.replay(
        sender.audit, context.webhooks, sender.tenant, replay_range
    )
    return replay_representation(replay_range, after)


@router.post(
    "/v1/webhooks/test",
    response_model=Deliveries,
    status_code=202,
    responses=problem_responses(400, 404, 409, 413, 415, 422),
    name="test_webhook",
)
async def send_test(
    sender: EventSender, context: Context, request: TestEventRequest = _ALL_ENDPOINTS
) -> JsonObject:
    """Send a test event.

    To one endpoint, or to all that are enabled.
    """
    sent = await audited_webhooks.send_test(
        sender.audit, context.webhooks, sender.tenant, request.endpoint_id
    )
    return tenant_deliveries_representation([(delivery, ()) for delivery in sent])
