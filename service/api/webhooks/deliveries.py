"""A tenant's callbacks: what became of them, and sending them anew."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.representations.webhooks import delivery_representation
from core.store.jobs import Projection
from core.tenants.api_keys import Scope
from core.webhooks.delivery import Delivery, DeliveryAttempt, DeliveryState
from service.api.jobs.lookup import load_view
from service.api.jobs.parameters import JOB_ID
from service.api.schemas import INSTANT, TEXT
from service.api.webhooks.schemas import (
    DELIVERIES_EXAMPLE,
    DELIVERY_EXAMPLE,
    REPLAY_EXAMPLE,
    REPLAY_REQUEST_EXAMPLE,
    TEST_REQUEST_EXAMPLE,
)
from service.context import app_context
from service.http.authentication import authenticate_tenant, read_json_body
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import parameter, problem_responses, request_body_spec, response_spec
from service.parsing.fields import parse_query
from service.webhooks.parser import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    parse_delivery_query,
    parse_replay,
    parse_test_request,
)
from service.webhooks.representations import deliveries_representation, replay_representation


async def list_request_deliveries(request: Request) -> Response:
    """The callbacks of one request."""
    view = await load_view(request, Projection.ALL)
    mailroom = app_context(request.scope).webhooks
    return _page_response(
        await mailroom.with_attempts(await mailroom.load_deliveries(view.delivery_ids)), None
    )


async def list_deliveries(request: Request) -> Response:
    """The tenant's callbacks, newest first."""
    tenant = await authenticate_tenant(request, Scope.READ)
    resources = app_context(request.scope)
    query = parse_delivery_query(parse_query(request.url.query), resources.clock.now())
    page = await resources.webhooks.list_deliveries(tenant, query)
    return _page_response(page.deliveries, page.cursor)


async def resend(request: Request) -> Response:
    """Send one callback anew."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    delivery_id = request.path_params["delivery_id"]
    delivery = await app_context(request.scope).webhooks.resend(tenant, delivery_id)
    return json_response(delivery_representation(delivery, ()), 202)


async def replay(request: Request) -> Response:
    """Send a stretch of callbacks anew, a few each second."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    resources = app_context(request.scope)
    stretch = parse_replay(await read_json_body(request), resources.clock.now())
    after = await resources.webhooks.replay(tenant, stretch)
    return json_response(replay_representation(stretch, after), 202)


async def send_test(request: Request) -> Response:
    """Send a test event."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    endpoint_id = parse_test_request(await read_json_body(request))
    made = await app_context(request.scope).webhooks.send_test_events(tenant, endpoint_id)
    return _page_response([(delivery, ()) for delivery in made], None, 202)


def _page_response(
    rows: Sequence[tuple[Delivery, Sequence[DeliveryAttempt]]],
    cursor: str | None,
    status: int = 200,
) -> Response:
    return json_response(deliveries_representation(rows, cursor), status)


DELIVERY_PARAMETERS: Final = [
    parameter("status", "Only these.", {"type": "string", "enum": sorted(DeliveryState)}),
    parameter("since", "Made at this instant or later.", INSTANT),
    parameter("until", "Made at this instant or earlier.", INSTANT),
    parameter(
        "limit",
        "Page size.",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
    ),
    parameter("cursor", "`next_cursor` of the page before.", {**TEXT, "minLength": 1}),
]
DELIVERY_ID: Final = parameter("delivery_id", "The `webhook-id` of its attempts.", TEXT, "path")

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        "/v1/requests/{request_id}/deliveries",
        list_request_deliveries,
        "request_deliveries",
        "The callbacks of a request",
        Tag.WEBHOOKS,
        {
            200: response_spec("Each with its attempts.", "Deliveries", DELIVERIES_EXAMPLE),
            **problem_responses(401, 403, 404, 503),
        },
        {"parameters": [JOB_ID]},
    ),
    ApiOperation(
        "GET",
        "/v1/deliveries",
        list_deliveries,
        "list_deliveries",
        "List callbacks, newest first",
        Tag.WEBHOOKS,
        {
            200: response_spec("A page of them.", "Deliveries", DELIVERIES_EXAMPLE),
            **problem_responses(400, 401, 403, 503),
        },
        {"parameters": DELIVERY_PARAMETERS},
        "A page may hold fewer than `limit` and still have a `next_cursor`: a filter looks through "
        "a bounded number at a time.",
    ),
    ApiOperation(
        "POST",
        "/v1/deliveries/{delivery_id}/resend",
        resend,
        "resend_delivery",
        "Send a callback anew",
        Tag.WEBHOOKS,
        {
            202: response_spec("It is due now.", "Delivery", DELIVERY_EXAMPLE),
            **problem_responses(401, 403, 404, 409, 503),
        },
        {"parameters": [DELIVERY_ID]},
        "Under its old `webhook-id`, so that a receiver that had it knows it; attempts begin anew.",
    ),
    ApiOperation(
        "POST",
        "/v1/webhooks/replay",
        replay,
        "replay_deliveries",
        "Send a stretch of callbacks anew",
        Tag.WEBHOOKS,
        {
            202: response_spec("They are sent a few each second.", "Replay", REPLAY_EXAMPLE),
            **problem_responses(400, 401, 403, 409, 422, 503),
        },
        {"requestBody": request_body_spec("ReplayDraft", REPLAY_REQUEST_EXAMPLE)},
        "Without `status`, what was `failed` or `held`.",
    ),
    ApiOperation(
        "POST",
        "/v1/webhooks/test",
        send_test,
        "test_webhook",
        "Send a test event",
        Tag.WEBHOOKS,
        {
            202: response_spec(
                "The events that are on their way.", "Deliveries", DELIVERIES_EXAMPLE
            ),
            **problem_responses(400, 401, 403, 404, 409, 422, 503),
        },
        {"requestBody": request_body_spec("TestDraft", TEST_REQUEST_EXAMPLE, required=False)},
        "To one endpoint, or to all that are enabled.",
    ),
)
