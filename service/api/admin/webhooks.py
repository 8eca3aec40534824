"""Operators: a tenant's endpoints and callbacks, in the shapes that the tenant's own calls have."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.representations.webhooks import delivery_document
from service.api.admin.authentication import ROOT, administered, operators
from service.api.jobs.parameters import TENANT
from service.api.webhooks.deliveries import DELIVERY_ID, DELIVERY_PARAMETERS
from service.api.webhooks.endpoints import ENDPOINT_ID
from service.api.webhooks.representations import (
    deliveries_document,
    endpoint_document,
    endpoints_document,
    replay_document,
)
from service.api.webhooks.schemas import (
    CHANGE_EXAMPLE,
    DELIVERIES_EXAMPLE,
    DELIVERY_EXAMPLE,
    ENDPOINT_EXAMPLE,
    ENDPOINTS_EXAMPLE,
    NEW_ENDPOINT_EXAMPLE,
    REPLAY_DRAFT_EXAMPLE,
    REPLAY_EXAMPLE,
    TEST_DRAFT_EXAMPLE,
)
from service.context import resources_of
from service.http.authentication import json_body
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, body, problems
from service.operator_context import Desk
from service.parsing.fields import read_query
from service.tenants.tenants import load_tenant
from service.webhooks import admin_webhooks as callbacks
from service.webhooks.parser import read_delivery_query, read_replay, read_test
from service.webhooks.webhook_service import Mailroom


async def _asked(request: Request, desk: Desk) -> tuple[Mailroom, str]:
    """The mailroom, and the tenant that is meant. Raises `NotFound`, for a deleted one too."""
    tenant = await load_tenant(desk, request.path_params["tenant"])
    return resources_of(request.scope).mailroom, tenant.name


async def _list(request: Request, desk: Desk) -> Response:
    room, tenant = await _asked(request, desk)
    return shown(endpoints_document((await room.setup(tenant)).endpoints))


async def _add(request: Request, desk: Desk) -> Response:
    made = await callbacks.add_endpoint(
        desk, *await _asked(request, desk), await json_body(request)
    )
    return shown(endpoint_document(made), 201)


async def _show(request: Request, desk: Desk) -> Response:
    room, tenant = await _asked(request, desk)
    setup = await room.setup(tenant)
    return shown(endpoint_document(setup.endpoint(request.path_params["endpoint_id"])))


async def _change(request: Request, desk: Desk) -> Response:
    room, tenant = await _asked(request, desk)
    named = (tenant, request.path_params["endpoint_id"])
    changed = await callbacks.change_endpoint(desk, room, named, await json_body(request))
    return shown(endpoint_document(changed))


async def _remove(request: Request, desk: Desk) -> Response:
    await callbacks.remove_endpoint(
        desk, *await _asked(request, desk), request.path_params["endpoint_id"]
    )
    return Response(status_code=204)


async def _deliveries(request: Request, desk: Desk) -> Response:
    room, tenant = await _asked(request, desk)
    query = read_delivery_query(read_query(request.url.query), desk.clock.now())
    page = await room.page(tenant, query)
    return shown(deliveries_document(page.deliveries, page.cursor))


async def _resend(request: Request, desk: Desk) -> Response:
    delivery_id: str = request.path_params["delivery_id"]
    delivery = await callbacks.resend(desk, *await _asked(request, desk), delivery_id)
    return shown(delivery_document(delivery, ()), 202)


async def _replay(request: Request, desk: Desk) -> Response:
    stretch = read_replay(await json_body(request), desk.clock.now())
    after = await callbacks.replay(desk, *await _asked(request, desk), stretch)
    return shown(replay_document(stretch, after), 202)


async def _test(request: Request, desk: Desk) -> Response:
    endpoint_id = read_test(await json_body(request))
    made = await callbacks.send_test(desk, *await _asked(request, desk), endpoint_id)
    return shown(deliveries_document([(delivery, ()) for delivery in made]), 202)


_TENANT: Final = f"{ROOT}/tenants/{{tenant}}"
_ROOT: Final = f"{_TENANT}/endpoints"
_ONE: Final = f"{_ROOT}/{{endpoint_id}}"
_FAULTS: Final = problems(401, 404, 503)
_WISHES: Final = problems(400, 401, 404, 409, 413, 415, 422, 503)

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        _ROOT,
        administered(_list),
        "admin_list_endpoints",
        "List a tenant's endpoints",
        Tag.CALLBACKS,
        {200: answer("All of them.", "Endpoints", ENDPOINTS_EXAMPLE), **_FAULTS},
        operators(TENANT),
    ),
    Endpoint(
        "POST",
        _ROOT,
        administered(_add),
        "admin_create_endpoint",
        "Make an endpoint for a tenant",
        Tag.CALLBACKS,
        {201: answer("The new endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_WISHES},
        operators(TENANT, requestBody=body("NewEndpoint", NEW_ENDPOINT_EXAMPLE)),
    ),
    Endpoint(
        "GET",
        _ONE,
        administered(_show),
        "admin_show_endpoint",
        "Show a tenant's endpoint",
        Tag.CALLBACKS,
        {200: answer("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_FAULTS},
        operators(TENANT, ENDPOINT_ID),
    ),
    Endpoint(
        "PATCH",
        _ONE,
        administered(_change),
        "admin_change_endpoint",
        "Change, disable or enable a tenant's endpoint",
        Tag.CALLBACKS,
        {200: answer("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_WISHES},
        operators(
            TENANT, ENDPOINT_ID, requestBody=body("EndpointChange", CHANGE_EXAMPLE, required=False)
        ),
        "An endpoint that is enabled again is sent what it missed, a few events each second.",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        administered(_remove),
        "admin_delete_endpoint",
        "Delete a tenant's endpoint",
        Tag.CALLBACKS,
        {
            204: {"description": "It is gone; what waited for it is given up."},
            **problems(401, 404, 409, 503),
        },
        operators(TENANT, ENDPOINT_ID),
    ),
    Endpoint(
        "GET",
        f"{_TENANT}/deliveries",
        administered(_deliveries),
        "admin_list_deliveries",
        "List a tenant's callbacks, newest first",
        Tag.CALLBACKS,
        {
            200: answer("A page of them.", "Deliveries", DELIVERIES_EXAMPLE),
            **problems(400, 401, 404, 503),
        },
        operators(TENANT, *DELIVERY_PARAMETERS),
    ),
    Endpoint(
        "POST",
        f"{_TENANT}/deliveries/{{delivery_id}}/resend",
        administered(_resend),
        "admin_resend_delivery",
        "Send a tenant's callback anew",
        Tag.CALLBACKS,
        {
            202: answer("It is due now.", "Delivery", DELIVERY_EXAMPLE),
            **problems(401, 404, 409, 503),
        },
        operators(TENANT, DELIVERY_ID),
    ),
    Endpoint(
        "POST",
        f"{_TENANT}/replay",
        administered(_replay),
        "admin_replay_deliveries",
        "Send a stretch of a tenant's callbacks anew",
        Tag.CALLBACKS,
        {202: answer("They are sent a few each second.", "Replay", REPLAY_EXAMPLE), **_WISHES},
        operators(TENANT, requestBody=body("ReplayDraft", REPLAY_DRAFT_EXAMPLE)),
        "Without `status`, what was `failed` or `held`.",
    ),
    Endpoint(
        "POST",
        f"{_TENANT}/test",
        administered(_test),
        "admin_test_webhook",
        "Send a test event to a tenant's endpoints",
        Tag.CALLBACKS,
        {
            202: answer("The events that are on their way.", "Deliveries", DELIVERIES_EXAMPLE),
            **_WISHES,
        },
        operators(TENANT, requestBody=body("TestDraft", TEST_DRAFT_EXAMPLE, required=False)),
        "To one endpoint, or to all that are enabled.",
    ),
)
