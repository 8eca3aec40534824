"""A tenant's endpoints and secrets, and the public keys that its receivers may check with."""

from typing import Any, Final

from starlette.responses import Response

from core.clock import iso
from core.errors import NotFound
from core.webhooks.signing_keys import public_key
from service.api.webhooks.schemas import Endpoint, Endpoints, Secret, WebhookKeys
from service.http.dependencies import Context, EndpointId, Manager, Reader, TenantPath
from service.http.openapi import Tag, problem_responses
from service.http.strict_route import api_router
from service.webhooks import audited_webhooks
from service.webhooks.representations import (
    endpoint_representation,
    endpoints_representation,
    secret_representation,
)
from service.webhooks.requests import EndpointChange, EndpointRequest, SecretRotation
from service.webhooks.tenant_view import endpoints_for_tenant

JsonObject = dict[str, Any]
_ROOT: Final = "/v1/webhooks/endpoints"
_WRITE_PROBLEMS: Final = problem_responses(400, 409, 413, 415, 422)

router = api_router(Tag.WEBHOOKS, 401, 403, 429, 503)
# What an omitted body means.
_NO_CHANGE: Final = EndpointChange()
_DEFAULT_ROTATION: Final = SecretRotation()


@router.get(_ROOT, response_model=Endpoints)
async def list_endpoints(tenant: Reader, context: Context) -> JsonObject:
    """List endpoints."""
    rows = await context.webhooks.list_endpoints(tenant)
    return endpoints_representation(endpoints_for_tenant(rows))


@router.post(_ROOT, response_model=Endpoint, status_code=201, responses=_WRITE_PROBLEMS)
async def create_endpoint(
    manager: Manager, context: Context, response: Response, new: EndpointRequest
) -> JsonObject:
    """Create an endpoint.

    The first is the `default`: a submit's own `webhook` replaces it. The others get the events of
    every request.
    """
    endpoint = await audited_webhooks.add_endpoint(
        manager.audit, context.webhooks, manager.tenant, new
    )
    response.headers["location"] = f"{_ROOT}/{endpoint.id}"
    return endpoint_representation(endpoint)


@router.get(f"{_ROOT}/{{endpoint_id}}", response_model=Endpoint, responses=problem_responses(404))
async def show_endpoint(tenant: Reader, context: Context, endpoint_id: EndpointId) -> JsonObject:
    """Show an endpoint."""
    row = await context.webhooks.show_endpoint(tenant, endpoint_id)
    ((endpoint, circuit),) = endpoints_for_tenant([row])
    return endpoint_representation(endpoint, circuit)


@router.patch(
    f"{_ROOT}/{{endpoint_id}}",
    response_model=Endpoint,
    responses={**_WRITE_PROBLEMS, **problem_responses(404)},
)
async def change_endpoint(
    manager: Manager,
    context: Context,
    endpoint_id: EndpointId,
    change: EndpointChange = _NO_CHANGE,
) -> JsonObject:
    """Change, disable or enable an endpoint.

    An endpoint that is enabled again is sent what it missed, a few events per second.
    """
    changed = await audited_webhooks.change_endpoint(
        manager.audit, context.webhooks, (manager.tenant, endpoint_id), change
    )
    return endpoint_representation(changed)


@router.delete(f"{_ROOT}/{{endpoint_id}}", status_code=204, responses=problem_responses(404, 409))
async def delete_endpoint(manager: Manager, context: Context, endpoint_id: EndpointId) -> None:
    """Delete an endpoint.

    Its pending deliveries are given up.
    """
    await audited_webhooks.delete_endpoint(
        manager.audit, context.webhooks, manager.tenant, endpoint_id
    )


@router.post(
    "/v1/webhooks/secret/rotate",
    response_model=Secret,
    responses=problem_responses(400, 409, 413, 415, 422),
)
async def rotate_secret(
    manager: Manager, context: Context, rotation: SecretRotation = _DEFAULT_ROTATION
) -> JsonObject:
    """Create a new secret.

    It is shown once. Until `overlap` has passed, webhooks carry the signatures of the old and the
    new one. With `ed25519` the first call turns such signatures (`v1a`) on.
    """
    new, _ = await audited_webhooks.rotate_secret(
        manager.audit, context.webhooks, manager.tenant, rotation
    )
    secret = secret_representation(rotation.kind, new)
    return {"kind": rotation.kind, **secret, "overlap": rotation.overlap}


@router.get(
    "/.well-known/webhook-keys/{tenant}",
    response_model=WebhookKeys,
    responses=problem_responses(404),
    openapi_extra={"security": []},
    name="webhook_keys",
)
async def list_public_keys(context: Context, response: Response, tenant: TenantPath) -> JsonObject:
    """List the public keys that verify a tenant's webhooks.

    No key is needed for it.
    """
    config = await context.webhooks.find_config(tenant)
    live = config.live_signing_keys(context.clock.now()) if config is not None else ()
    if config is None or not live:
        raise NotFound("No public keys are published under that name.")
    ends = {key.text: key.expires_at for key in config.signing_keys}
    response.headers["cache-control"] = "max-age=300"
    return {
        "keys": [
            {"key": public_key(text), **({"ends_at": iso(ends[text])} if ends[text] else {})}
            for text in live
        ]
    }
