"""A tenant's endpoints and secrets, and the public keys that its receivers may check with."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound
from core.tenants.api_keys import Scope
from core.webhooks.signing_keys import public_key
from service.api.jobs.parameters import TENANT
from service.api.webhooks.representations import (
    endpoint_document,
    endpoints_document,
    secret_document,
)
from service.api.webhooks.schemas import (
    CHANGE_EXAMPLE,
    ENDPOINT_EXAMPLE,
    ENDPOINTS_EXAMPLE,
    KEYS_EXAMPLE,
    NEW_ENDPOINT_EXAMPLE,
    ROTATION_EXAMPLE,
    SECRET_EXAMPLE,
)
from service.context import resources_of
from service.http.authentication import json_body, tenant_calling
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, body, parameter, problems
from service.webhooks.parser import read_endpoint, read_rotation


async def list_endpoints(request: Request) -> Response:
    """The tenant's endpoints."""
    tenant = await tenant_calling(request, Scope.READ)
    setup = await resources_of(request.scope).mailroom.setup(tenant)
    return shown(endpoints_document(setup.endpoints))


async def show_endpoint(request: Request) -> Response:
    """One endpoint."""
    tenant = await tenant_calling(request, Scope.READ)
    setup = await resources_of(request.scope).mailroom.setup(tenant)
    endpoint = setup.endpoint(request.path_params["endpoint_id"])
    return shown(endpoint_document(endpoint))


async def create_endpoint(request: Request) -> Response:
    """Make one more endpoint."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    mailroom = resources_of(request.scope).mailroom
    draft = read_endpoint(await json_body(request), mailroom.policy)
    endpoint = await mailroom.create(tenant, draft)
    where = {"location": f"/v1/webhooks/endpoints/{endpoint.id}"}
    return shown(endpoint_document(endpoint), 201, where)


async def change_endpoint(request: Request) -> Response:
    """Change the fields that the body names."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    mailroom = resources_of(request.scope).mailroom
    draft = read_endpoint(await json_body(request), mailroom.policy)
    endpoint = await mailroom.change(tenant, request.path_params["endpoint_id"], draft)
    return shown(endpoint_document(endpoint))


async def delete_endpoint(request: Request) -> Response:
    """Delete an endpoint."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    await resources_of(request.scope).mailroom.remove(tenant, request.path_params["endpoint_id"])
    return Response(status_code=204)


async def rotate_secret(request: Request) -> Response:
    """Make a new secret, which is shown here and never again; of a key the public half."""
    tenant = await tenant_calling(request, Scope.SUBMIT)
    rotation = read_rotation(await json_body(request))
    new = await resources_of(request.scope).mailroom.rotate(tenant, rotation)
    made = secret_document(rotation.kind, new)
    document = {"kind": rotation.kind, **made, "overlap": rotation.overlap.total_seconds()}
    return shown(document)


async def show_keys(request: Request) -> Response:
    """The public keys that a tenant's callbacks may be checked with. No key is asked for."""
    resources = resources_of(request.scope)
    setup = await resources.mailroom.find(request.path_params["tenant"])
    live = setup.live_keys(resources.clock.now()) if setup is not None else ()
    if setup is None or not live:
        raise NotFound("No public keys are published under that name.")
    ends = {key.text: key.ends_at for key in setup.signing_keys}
    keys = [
        {"key": public_key(text), **({"ends_at": ends[text]} if ends[text] else {})}
        for text in live
    ]
    return shown({"keys": keys}, headers={"cache-control": "max-age=300"})


_ROOT: Final = "/v1/webhooks/endpoints"
_ONE: Final = f"{_ROOT}/{{endpoint_id}}"
ENDPOINT_ID: Final = parameter("endpoint_id", "`default`, or `ep_…`.", {"type": "string"}, "path")

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        _ROOT,
        list_endpoints,
        "list_endpoints",
        "List endpoints",
        Tag.WEBHOOKS,
        {200: answer("All of them.", "Endpoints", ENDPOINTS_EXAMPLE), **problems(401, 403, 503)},
    ),
    Endpoint(
        "POST",
        _ROOT,
        create_endpoint,
        "create_endpoint",
        "Make an endpoint",
        Tag.WEBHOOKS,
        {
            201: answer("The new endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problems(400, 401, 403, 409, 413, 415, 422, 503),
        },
        {"requestBody": body("NewEndpoint", NEW_ENDPOINT_EXAMPLE)},
        "The first is the `default`: a submit's own `webhook` stands in for it. The others get "
        "the events of every request.",
    ),
    Endpoint(
        "GET",
        _ONE,
        show_endpoint,
        "show_endpoint",
        "Show an endpoint",
        Tag.WEBHOOKS,
        {
            200: answer("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problems(401, 403, 404, 503),
        },
        {"parameters": [ENDPOINT_ID]},
    ),
    Endpoint(
        "PATCH",
        _ONE,
        change_endpoint,
        "change_endpoint",
        "Change, disable or enable an endpoint",
        Tag.WEBHOOKS,
        {
            200: answer("The endpoint.", "Endpoint", ENDPOINT_EXAMPLE),
            **problems(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
        {
            "parameters": [ENDPOINT_ID],
            "requestBody": body("EndpointChange", CHANGE_EXAMPLE, required=False),
        },
        "An endpoint that is enabled again is sent what it missed, a few events each second.",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        delete_endpoint,
        "delete_endpoint",
        "Delete an endpoint",
        Tag.WEBHOOKS,
        {
            204: {"description": "It is gone; what waited for it is given up."},
            **problems(401, 403, 404, 409, 503),
        },
        {"parameters": [ENDPOINT_ID]},
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/secret/rotate",
        rotate_secret,
        "rotate_secret",
        "Make a new secret",
        Tag.WEBHOOKS,
        {
            200: answer("Shown once.", "Secret", SECRET_EXAMPLE),
            **problems(400, 401, 403, 409, 422, 503),
        },
        {"requestBody": body("Rotation", ROTATION_EXAMPLE, required=False)},
        "Until `overlap` is over, callbacks carry the signatures of the old and the new one. With "
        "`ed25519` the first call turns such signatures (`v1a`) on.",
    ),
    Endpoint(
        "GET",
        "/.well-known/webhook-keys/{tenant}",
        show_keys,
        "webhook_keys",
        "Public keys of a tenant's callbacks",
        Tag.WEBHOOKS,
        {200: answer("The live ones.", "WebhookKeys", KEYS_EXAMPLE), **problems(404, 503)},
        {"parameters": [TENANT], "security": []},
    ),
)
