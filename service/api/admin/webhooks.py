"""Operators: a tenant's endpoints and callbacks, in the shapes that the tenant's own calls have."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.representations.webhooks import delivery_representation
from service.api.admin.authentication import ADMIN_ROOT, admin_openapi_extra, require_admin
from service.api.jobs.parameters import TENANT
from service.api.webhooks.deliveries import DELIVERY_ID, DELIVERY_PARAMETERS
from service.api.webhooks.endpoints import ENDPOINT_ID
from service.api.webhooks.schemas import (
    DELIVERIES_EXAMPLE,
    DELIVERY_EXAMPLE,
    ENDPOINT_CHANGE_EXAMPLE,
    ENDPOINT_EXAMPLE,
    ENDPOINTS_EXAMPLE,
    NEW_ENDPOINT_EXAMPLE,
    REPLAY_EXAMPLE,
    REPLAY_REQUEST_EXAMPLE,
    TEST_REQUEST_EXAMPLE,
)
from service.context import app_context
from service.http.authentication import read_json_body
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import problem_responses, request_body_spec, response_spec
from service.operator_context import AdminContext
from service.parsing.fields import parse_query
from service.tenants.tenants import load_tenant
from service.webhooks import admin_webhooks
from service.webhooks.parser import parse_delivery_query, parse_replay, parse_test_request
from service.webhooks.representations import (
    deliveries_representation,
    endpoint_representation,
    endpoints_representation,
    replay_representation,
)
from service.webhooks.webhook_service import WebhookService


async def _webhooks_and_tenant(request: Request, admin: AdminContext) -> tuple[WebhookService, str]:
    """The mailroom, and the tenant that is meant. Raises `NotFound`, for a deleted one too."""
    tenant = await load_tenant(admin, request.path_params["tenant"])
    return app_context(request.scope).webhooks, tenant.name


async def _list(request: Request, admin: AdminContext) -> Response:
    room, tenant = await _webhooks_and_tenant(request, admin)
    return json_response(endpoints_representation((await room.load_config(tenant)).endpoints))


async def _add(request: Request, admin: AdminContext) -> Response:
    made = await admin_webhooks.add_endpoint(
        admin, *await _webhooks_and_tenant(request, admin), await read_json_body(request)
    )
    return json_response(endpoint_representation(made), 201)


async def _show(request: Request, admin: AdminContext) -> Response:
    room, tenant = await _webhooks_and_tenant(request, admin)
    setup = await room.load_config(tenant)
    return json_response(
        endpoint_representation(setup.get_endpoint(request.path_params["endpoint_id"]))
    )


async def _change(request: Request, admin: AdminContext) -> Response:
    room, tenant = await _webhooks_and_tenant(request, admin)
    named = (tenant, request.path_params["endpoint_id"])
    changed = await admin_webhooks.change_endpoint(
        admin, room, named, await read_json_body(request)
    )
    return json_response(endpoint_representation(changed))


async def _remove(request: Request, admin: AdminContext) -> Response:
    await admin_webhooks.delete_endpoint(
        admin, *await _webhooks_and_tenant(request, admin), request.path_params["endpoint_id"]
    )
    return Response(status_code=204)


async def _deliveries(request: Request, admin: AdminContext) -> Response:
    room, tenant = await _webhooks_and_tenant(request, admin)
    query = parse_delivery_query(parse_query(request.url.query), admin.clock.now())
    page = await room.list_deliveries(tenant, query)
    return json_response(deliveries_representation(page.deliveries, page.cursor))


async def _resend(request: Request, admin: AdminContext) -> Response:
    delivery_id: str = request.path_params["delivery_id"]
    delivery = await admin_webhooks.resend(
        admin, *await _webhooks_and_tenant(request, admin), delivery_id
    )
    return json_response(delivery_representation(delivery, ()), 202)


async def _replay(request: Request, admin: AdminContext) -> Response:
    stretch = parse_replay(await read_json_body(request), admin.clock.now())
    after = await admin_webhooks.replay(admin, *await _webhooks_and_tenant(request, admin), stretch)
    return json_response(replay_representation(stretch, after), 202)


async def _test(request: Request, admin: AdminContext) -> Response:
    endpoint_id = parse_test_request(await read_json_body(request))
    made = await admin_webhooks.send_test(
        admin, *await _webhooks_and_tenant(request, admin), endpoint_id
    )
    return json_response(deliveries_representation([(delivery, ()) for delivery in made]), 202)


_TENANT_PATH: Final = f"{ADMIN_ROOT}/tenants/{{tenant}}"
_ENDPOINTS_PATH: Final = f"{_TENANT_PATH}/endpoints"
_ENDPOINT_PATH: Final = f"{_ENDPOINTS_PATH}/{{endpoint_id}}"
_READ_PROBLEMS: Final = problem_responses(401, 404, 503)
_WRITE_PROBLEMS: Final = problem_responses(400, 401, 404, 409, 413, 415, 422, 503)

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        _ENDPOINTS_PATH,
        require_admin(_list),
        "admin_list_endpoints",
        "List a tenant's endpoints",
        Tag.ADMIN_WEBHOOKS,
        {200: response_spec("All of them.", "Endpoints", ENDPOINTS_EXAMPLE), **_READ_PROBLEMS},
        admin_openapi_extra(TENANT),
    ),
    ApiOperation(
        "POST",
        _ENDPOINTS_PATH,
        require_admin(_add),
        "admin_create_endpoint",
        "Make an endpoint for a tenant",
        Tag.ADMIN_WEBHOOKS,
        {201: response_spec("The new endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            TENANT, requestBody=request_body_spec("NewEndpoint", NEW_ENDPOINT_EXAMPLE)
        ),
    ),
    ApiOperation(
        "GET",
        _ENDPOINT_PATH,
        require_admin(_show),
        "admin_show_endpoint",
        "Show a tenant's endpoint",
        Tag.ADMIN_WEBHOOKS,
        {200: response_spec("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_READ_PROBLEMS},
        admin_openapi_extra(TENANT, ENDPOINT_ID),
    ),
    ApiOperation(
        "PATCH",
        _ENDPOINT_PATH,
        require_admin(_change),
        "admin_change_endpoint",
        "Change, disable or enable a tenant's endpoint",
        Tag.ADMIN_WEBHOOKS,
        {200: response_spec("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            TENANT,
            ENDPOINT_ID,
            requestBody=request_body_spec(
                "EndpointChange", ENDPOINT_CHANGE_EXAMPLE, required=False
            ),
        ),
        "An endpoint that is enabled again is sent what it missed, a few events each second.",
    ),
    ApiOperation(
        "DELETE",
        _ENDPOINT_PATH,
        require_admin(_remove),
        "admin_delete_endpoint",
        "Delete a tenant's endpoint",
        Tag.ADMIN_WEBHOOKS,
        {
            204: {"description": "It is gone; what waited for it is given up."},
            **problem_responses(401, 404, 409, 503),
        },
        admin_openapi_extra(TENANT, ENDPOINT_ID),
    ),
    ApiOperation(
        "GET",
        f"{_TENANT_PATH}/deliveries",
        require_admin(_deliveries),
        "admin_list_deliveries",
        "List a tenant's callbacks, newest first",
        Tag.ADMIN_WEBHOOKS,
        {
            200: response_spec("A page of them.", "Deliveries", DELIVERIES_EXAMPLE),
            **problem_responses(400, 401, 404, 503),
        },
        admin_openapi_extra(TENANT, *DELIVERY_PARAMETERS),
    ),
    ApiOperation(
        "POST",
        f"{_TENANT_PATH}/deliveries/{{delivery_id}}/resend",
        require_admin(_resend),
        "admin_resend_delivery",
        "Send a tenant's callback anew",
        Tag.ADMIN_WEBHOOKS,
        {
            202: response_spec("It is due now.", "Delivery", DELIVERY_EXAMPLE),
            **problem_responses(401, 404, 409, 503),
        },
        admin_openapi_extra(TENANT, DELIVERY_ID),
    ),
    ApiOperation(
        "POST",
        f"{_TENANT_PATH}/replay",
        require_admin(_replay),
        "admin_replay_deliveries",
        "Send a stretch of a tenant's callbacks anew",
        Tag.ADMIN_WEBHOOKS,
        {
            202: response_spec("They are sent a few each second.", "Replay", REPLAY_EXAMPLE),
            **_WRITE_PROBLEMS,
        },
        admin_openapi_extra(
            TENANT, requestBody=request_body_spec("ReplayDraft", REPLAY_REQUEST_EXAMPLE)
        ),
        "Without `status`, what was `failed` or `held`.",
    ),
    ApiOperation(
        "POST",
        f"{_TENANT_PATH}/test",
        require_admin(_test),
        "admin_test_webhook",
        "Send a test event to a tenant's endpoints",
        Tag.ADMIN_WEBHOOKS,
        {
            202: response_spec(
                "The events that are on their way.", "Deliveries", DELIVERIES_EXAMPLE
            ),
            **_WRITE_PROBLEMS,
        },
        admin_openapi_extra(
            TENANT, requestBody=request_body_spec("TestDraft", TEST_REQUEST_EXAMPLE, required=False)
        ),
        "To one endpoint, or to all that are enabled.",
    ),
)
