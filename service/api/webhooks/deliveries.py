"""A tenant's callbacks: what became of them, and sending them anew."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.representations.webhooks import delivery_document
from core.store.jobs import Depth
from core.tenants.api_keys import Scope
from core.webhooks.delivery import Delivery, DeliveryAttempt, DeliveryState
from service.api.jobs.lookup import view_of
from service.api.jobs.parameters import JOB_ID
from service.api.schemas import INSTANT, TEXT
from service.api.webhooks.representations import deliveries_document, replay_document
from service.api.webhooks.schemas import (
    DELIVERIES_EXAMPLE,
    DELIVERY_EXAMPLE,
    REPLAY_DRAFT_EXAMPLE,
    REPLAY_EXAMPLE,
    TEST_DRAFT_EXAMPLE,
)
from service.context import resources_of
from service.http.authentication import json_body, tenant_calling
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, body, parameter, problems
from service.parsing.fields import read_query
from service.webhooks.parser import (
    DEFAULT_ON_A_PAGE,
    MOST_ON_A_PAGE,
    read_delivery_query,
    read_replay,
    read_test,
)


async def of_request(request: Request) -> Response:
    """The callbacks of one request."""
    view = await view_of(request, Depth.ALL)
    mailroom = resources_of(request.scope).mailroom
    return _page(await mailroom.with_attempts(await mailroom.named(view.delivery_ids)), None)


async def list_deliveries(request: Request) -> Response:
    """The tenant's callbacks, newest first."""
    tenant = await tenant_calling(request, Scope.READ)
    resources = resources_of(request.scope)
    query = read_delivery_query(read_query(request.url.query), resources.clock.now())
    page = await resources.mailroom.page(tenant, query)
    return _page(page.deliveries, page.cursor)


async def resend(request: Request) -> Response:
    """Send one callback anew."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    delivery_id = request.path_params["delivery_id"]
    delivery = await resources_of(request.scope).mailroom.resend(tenant, delivery_id)
    return shown(delivery_document(delivery, ()), 202)


async def replay(request: Request) -> Response:
    """Send a stretch of callbacks anew, a few each second."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    resources = resources_of(request.scope)
    stretch = read_replay(await json_body(request), resources.clock.now())
    after = await resources.mailroom.replay(tenant, stretch)
    return shown(replay_document(stretch, after), 202)


async def test(request: Request) -> Response:
    """Send a test event."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    endpoint_id = read_test(await json_body(request))
    made = await resources_of(request.scope).mailroom.test(tenant, endpoint_id)
    return _page([(delivery, ()) for delivery in made], None, 202)


def _page(
    rows: Sequence[tuple[Delivery, Sequence[DeliveryAttempt]]],
    cursor: str | None,
    status: int = 200,
) -> Response:
    return shown(deliveries_document(rows, cursor), status)


DELIVERY_PARAMETERS: Final = [
    parameter("status", "Only these.", {"type": "string", "enum": sorted(DeliveryState)}),
    parameter("since", "Made at this instant or later.", INSTANT),
    parameter("until", "Made at this instant or earlier.", INSTANT),
    parameter(
        "limit",
        "Page size.",
        {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE, "default": DEFAULT_ON_A_PAGE},
    ),
    parameter("cursor", "`next_cursor` of the page before.", {**TEXT, "minLength": 1}),
]
DELIVERY_ID: Final = parameter("delivery_id", "The `webhook-id` of its attempts.", TEXT, "path")

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/v1/requests/{request_id}/deliveries",
        of_request,
        "request_deliveries",
        "The callbacks of a request",
        Tag.WEBHOOKS,
        {
            200: answer("Each with its attempts.", "Deliveries", DELIVERIES_EXAMPLE),
            **problems(401, 403, 404, 503),
        },
        {"parameters": [JOB_ID]},
    ),
    Endpoint(
        "GET",
        "/v1/deliveries",
        list_deliveries,
        "list_deliveries",
        "List callbacks, newest first",
        Tag.WEBHOOKS,
        {
            200: answer("A page of them.", "Deliveries", DELIVERIES_EXAMPLE),
            **problems(400, 401, 403, 503),
        },
        {"parameters": DELIVERY_PARAMETERS},
        "A page may hold fewer than `limit` and still have a `next_cursor`: a filter looks through "
        "a bounded number at a time.",
    ),
    Endpoint(
        "POST",
        "/v1/deliveries/{delivery_id}/resend",
        resend,
        "resend_delivery",
        "Send a callback anew",
        Tag.WEBHOOKS,
        {
            202: answer("It is due now.", "Delivery", DELIVERY_EXAMPLE),
            **problems(401, 403, 404, 409, 503),
        },
        {"parameters": [DELIVERY_ID]},
        "Under its old `webhook-id`, so that a receiver that had it knows it; attempts begin anew.",
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/replay",
        replay,
        "replay_deliveries",
        "Send a stretch of callbacks anew",
        Tag.WEBHOOKS,
        {
            202: answer("They are sent a few each second.", "Replay", REPLAY_EXAMPLE),
            **problems(400, 401, 403, 409, 422, 503),
        },
        {"requestBody": body("ReplayDraft", REPLAY_DRAFT_EXAMPLE)},
        "Without `status`, what was `failed` or `held`.",
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/test",
        test,
        "test_webhook",
        "Send a test event",
        Tag.WEBHOOKS,
        {
            202: answer("The events that are on their way.", "Deliveries", DELIVERIES_EXAMPLE),
            **problems(400, 401, 403, 404, 409, 422, 503),
        },
        {"requestBody": body("TestDraft", TEST_DRAFT_EXAMPLE, required=False)},
        "To one endpoint, or to all that are enabled.",
    ),
)
