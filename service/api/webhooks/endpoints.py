"""A tenant's endpoints and secrets, and the public keys that its receivers may check with."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound
from core.tenants.api_keys import Scope
from core.webhooks.signing_keys import public_key
from service.api.jobs.parameters import TENANT
from service.api.webhooks.schemas import (
    ENDPOINT_CHANGE_EXAMPLE,
    ENDPOINT_EXAMPLE,
    ENDPOINTS_EXAMPLE,
    NEW_ENDPOINT_EXAMPLE,
    PUBLIC_KEYS_EXAMPLE,
    ROTATION_EXAMPLE,
    SECRET_EXAMPLE,
)
from service.context import app_context
from service.http.authentication import authenticate_tenant, read_json_body
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import parameter, problem_responses, request_body_spec, response_spec
from service.webhooks.parser import parse_endpoint, parse_rotation
from service.webhooks.representations import (
    endpoint_representation,
    endpoints_representation,
    secret_representation,
)


async def list_endpoints(request: Request) -> Response:
    """The tenant's endpoints."""
    tenant = await authenticate_tenant(request, Scope.READ)
    setup = await app_context(request.scope).webhooks.load_config(tenant)
    return json_response(endpoints_representation(setup.endpoints))


async def show_endpoint(request: Request) -> Response:
    """One endpoint."""
    tenant = await authenticate_tenant(request, Scope.READ)
    setup = await app_context(request.scope).webhooks.load_config(tenant)
    endpoint = setup.get_endpoint(request.path_params["endpoint_id"])
    return json_response(endpoint_representation(endpoint))


async def create_endpoint(request: Request) -> Response:
    """Make one more endpoint."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    mailroom = app_context(request.scope).webhooks
    draft = parse_endpoint(await read_json_body(request), mailroom.policy)
    endpoint = await mailroom.create_endpoint(tenant, draft)
    where = {"location": f"/v1/webhooks/endpoints/{endpoint.id}"}
    return json_response(endpoint_representation(endpoint), 201, where)


async def change_endpoint(request: Request) -> Response:
    """Change the fields that the body names."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    mailroom = app_context(request.scope).webhooks
    draft = parse_endpoint(await read_json_body(request), mailroom.policy)
    endpoint = await mailroom.change_endpoint(tenant, request.path_params["endpoint_id"], draft)
    return json_response(endpoint_representation(endpoint))


async def delete_endpoint(request: Request) -> Response:
    """Delete an endpoint."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    await app_context(request.scope).webhooks.delete_endpoint(
        tenant, request.path_params["endpoint_id"]
    )
    return Response(status_code=204)


async def rotate_secret(request: Request) -> Response:
    """Make a new secret, which is shown here and never again; of a key the public half."""
    tenant = await authenticate_tenant(request, Scope.SUBMIT)
    rotation = parse_rotation(await read_json_body(request))
    new = await app_context(request.scope).webhooks.rotate_secret(tenant, rotation)
    made = secret_representation(rotation.kind, new)
    document = {"kind": rotation.kind, **made, "overlap": rotation.overlap.total_seconds()}
    return json_response(document)


async def list_public_keys(request: Request) -> Response:
    """The public keys that a tenant's callbacks may be checked with. No key is asked for."""
    resources = app_context(request.scope)
    setup = await resources.webhooks.find_config(request.path_params["tenant"])
    live = setup.live_signing_keys(resources.clock.now()) if setup is not None else ()
    if setup is None or not live:
        raise NotFound("No public keys are published under that name.")
    ends = {key.text: key.expires_at for key in setup.signing_keys}
    keys = [
        {"key": public_key(text), **({"ends_at": ends[text]} if ends[text] else {})}
        for text in live
    ]
    return json_response({"keys": keys}, headers={"cache-control": "max-age=300"})


_ENDPOINTS_PATH: Final = "/v1/webhooks/endpoints"
_ENDPOINT_PATH: Final = f"{_ENDPOINTS_PATH}/{{endpoint_id}}"
ENDPOINT_ID: Final = parameter("endpoint_id", "`default`, or `ep_…`.", {"type": "string"}, "path")

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        _ENDPOINTS_PATH,
        list_endpoints,
        "list_endpoints",
        "List endpoints",
        Tag.WEBHOOKS,
        {
            200: response_spec("All of them.", "Endpoints", ENDPOINTS_EXAMPLE),
            **problem_responses(401, 403, 503),
        },
    ),
    ApiOperation(
        "POST",
        _ENDPOINTS_PATH,
        create_endpoint,
        "create_endpoint",
        "Make an endpoint",
        Tag.WEBHOOKS,
        {
            201: response_spec("The new endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problem_responses(400, 401, 403, 409, 413, 415, 422, 503),
        },
        {"requestBody": request_body_spec("NewEndpoint", NEW_ENDPOINT_EXAMPLE)},
        "The first is the `default`: a submit's own `webhook` stands in for it. The others get "
        "the events of every request.",
    ),
    ApiOperation(
        "GET",
        _ENDPOINT_PATH,
        show_endpoint,
        "show_endpoint",
        "Show an endpoint",
        Tag.WEBHOOKS,
        {
            200: response_spec("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problem_responses(401, 403, 404, 503),
        },
        {"parameters": [ENDPOINT_ID]},
    ),
    ApiOperation(
        "PATCH",
        _ENDPOINT_PATH,
        change_endpoint,
        "change_endpoint",
        "Change, disable or enable an endpoint",
        Tag.WEBHOOKS,
        {
            200: response_spec("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
        {
            "parameters": [ENDPOINT_ID],
            "requestBody": request_body_spec(
                "EndpointChange", ENDPOINT_CHANGE_EXAMPLE, required=False
            ),
        },
        "An endpoint that is enabled again is sent what it missed, a few events each second.",
    ),
    ApiOperation(
        "DELETE",
        _ENDPOINT_PATH,
        delete_endpoint,
        "delete_endpoint",
        "Delete an endpoint",
        Tag.WEBHOOKS,
        {
            204: {"description": "It is gone; what waited for it is given up."},
            **problem_responses(401, 403, 404, 409, 503),
        },
        {"parameters": [ENDPOINT_ID]},
    ),
    ApiOperation(
        "POST",
        "/v1/webhooks/secret/rotate",
        rotate_secret,
        "rotate_secret",
        "Make a new secret",
        Tag.WEBHOOKS,
        {
            200: response_spec("Shown once.", "Secret", SECRET_EXAMPLE),
            **problem_responses(400, 401, 403, 409, 422, 503),
        },
        {"requestBody": request_body_spec("Rotation", ROTATION_EXAMPLE, required=False)},
        "Until `overlap` is over, callbacks carry the signatures of the old and the new one. With "
        "`ed25519` the first call turns such signatures (`v1a`) on.",
    ),
    ApiOperation(
        "GET",
        "/.well-known/webhook-keys/{tenant}",
        list_public_keys,
        "webhook_keys",
        "Public keys of a tenant's callbacks",
        Tag.WEBHOOKS,
        {
            200: response_spec("The live ones.", "WebhookKeys", PUBLIC_KEYS_EXAMPLE),
            **problem_responses(404, 503),
        },
        {"parameters": [TENANT], "security": []},
    ),
)
