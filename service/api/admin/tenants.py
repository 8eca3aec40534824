"""Operators: tenants, their keys and webhook secrets."""

import re
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import InvalidInput
from core.tenants.api_keys import ALL_SCOPES, Scope
from service.admin.representations import (
    key_representation,
    new_key_representation,
    new_secret_representation,
    new_tenant_representation,
    step_representation,
    tenant_representation,
)
from service.api.admin.authentication import ADMIN_ROOT, admin_openapi_extra, require_admin
from service.api.admin.schemas import (
    CREATE_KEY_EXAMPLE,
    KEY_EXAMPLE,
    NEW_KEY_EXAMPLE,
    NEW_TENANT_EXAMPLE,
    PLAN_EXAMPLE,
    SETTINGS_EXAMPLE,
    TENANT_EXAMPLE,
    WEBHOOK_SECRET_EXAMPLE,
)
from service.api.jobs.parameters import TENANT
from service.api.schemas import USAGE_EXAMPLE
from service.context import app_context
from service.http.authentication import read_json_body
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import parameter, problem_responses, request_body_spec, response_spec
from service.operator_context import AdminContext
from service.parsing.fields import parse_boolean, parse_query, parse_query_fields
from service.tenants.api_keys import create_key, list_keys, revoke_key
from service.tenants.apply_file import apply, preview
from service.tenants.tenants import (
    change_tenant,
    create_tenant,
    delete_tenant,
    list_tenants,
    load_tenant,
    load_usage,
    retire_webhook_secret,
    rotate_webhook_secret,
)
from service.tenants.usage import usage_representation
from service.webhooks.parser import parse_overlap

# RFC 3339; `fromisoformat` reads more, also instants without a zone.
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d.*[Zz+-]")


async def _list(_: Request, admin: AdminContext) -> Response:
    return json_response(
        {"tenants": [tenant_representation(tenant) for tenant in await list_tenants(admin)]}
    )


async def _create(request: Request, admin: AdminContext) -> Response:
    raw = await read_json_body(request)
    name = raw.pop("tenant", None)
    if not isinstance(name, str):
        raise InvalidInput("tenant must be the new tenant's name.")
    return json_response(new_tenant_representation(await create_tenant(admin, name, raw)), 201)


async def _show(request: Request, admin: AdminContext) -> Response:
    return json_response(tenant_representation(await load_tenant(admin, _tenant_name(request))))


async def _change(request: Request, admin: AdminContext) -> Response:
    changed = await change_tenant(admin, _tenant_name(request), await read_json_body(request))
    return json_response(tenant_representation(changed.tenant))


async def _delete(request: Request, admin: AdminContext) -> Response:
    await delete_tenant(admin, _tenant_name(request))
    return Response(status_code=204)


async def _apply(request: Request, admin: AdminContext) -> Response:
    asked = parse_query_fields(parse_query(request.url.query), {"dry_run": parse_boolean})
    carry_out = preview if asked.get("dry_run") else apply
    steps = await carry_out(admin, await read_json_body(request))
    return json_response({"steps": [step_representation(step) for step in steps]})


async def _usage(request: Request, admin: AdminContext) -> Response:
    name = _tenant_name(request)
    used = await load_usage(admin, name)
    silent = await app_context(request.scope).webhooks.disabled_endpoints(name)
    return json_response(usage_representation(name, used, admin.clock.now(), silent))


async def _rotate(request: Request, admin: AdminContext) -> Response:
    overlap = parse_overlap(await read_json_body(request))
    return json_response(
        new_secret_representation(
            await rotate_webhook_secret(admin, _tenant_name(request), overlap)
        ),
        201,
    )


async def _retire(request: Request, admin: AdminContext) -> Response:
    return json_response(
        tenant_representation(await retire_webhook_secret(admin, _tenant_name(request)))
    )


async def _list_keys(request: Request, admin: AdminContext) -> Response:
    uses = await list_keys(admin, _tenant_name(request))
    return json_response({"keys": [key_representation(use) for use in uses]})


async def _create_key(request: Request, admin: AdminContext) -> Response:
    raw = await read_json_body(request)
    if raw.keys() - {"scopes", "expires_at"}:
        raise InvalidInput("A key has scopes and expires_at, nothing else.")
    try:
        scopes = frozenset(map(Scope, raw.get("scopes", ALL_SCOPES)))
        ends = _parse_timestamp(raw.get("expires_at"))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(
            f"scopes must be some of {', '.join(Scope)}; expires_at an instant with its zone."
        ) from error
    return json_response(
        new_key_representation(await create_key(admin, _tenant_name(request), scopes, ends)), 201
    )


def _parse_timestamp(text: object) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str) or not _RFC3339.match(text):
        raise ValueError
    return datetime.fromisoformat(text).astimezone(UTC)


async def _revoke_key(request: Request, admin: AdminContext) -> Response:
    await revoke_key(admin, _tenant_name(request), request.path_params["key_id"])
    return Response(status_code=204)


def _tenant_name(request: Request) -> str:
    name: str = request.path_params["tenant"]
    return name


_TENANT_PATH: Final = f"{ADMIN_ROOT}/tenants/{{tenant}}"
_KEYS_PATH: Final = f"{_TENANT_PATH}/keys"
_SECRET_PATH: Final = f"{_TENANT_PATH}/webhook-secret"
_DRY_RUN: Final = parameter("dry_run", "Only tell what would change.", {"type": "boolean"})
_KEY_ID: Final = parameter("key_id", "The key's id.", {"type": "string"}, "path")
_READ_PROBLEMS: Final = problem_responses(401, 404, 503)
_WRITE_PROBLEMS: Final = problem_responses(400, 401, 404, 409, 413, 415, 422, 503)
_CHANGE_EXAMPLE: Final = {"usd_per_day": 50, "waiting": None}
_NO_CONTENT: Final = {"description": "Done."}

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/tenants",
        require_admin(_list),
        "admin_list_tenants",
        "List tenants",
        Tag.ADMIN_TENANTS,
        {
            200: response_spec("Every tenant.", "Tenants", {"tenants": [TENANT_EXAMPLE]}),
            **_READ_PROBLEMS,
        },
        admin_openapi_extra(),
    ),
    ApiOperation(
        "POST",
        f"{ADMIN_ROOT}/tenants",
        require_admin(_create),
        "admin_create_tenant",
        "Create a tenant with its first key",
        Tag.ADMIN_TENANTS,
        {201: response_spec("Shown once.", "NewTenant", NEW_TENANT_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            requestBody=request_body_spec(
                "TenantWish", {"tenant": "video-team", **SETTINGS_EXAMPLE}
            )
        ),
        "The body is `tenant` (its name) and any settings; those that it leaves out set no limit.",
    ),
    ApiOperation(
        "PUT",
        f"{ADMIN_ROOT}/tenants",
        require_admin(_apply),
        "admin_apply_tenants",
        "Make tenants as a file says",
        Tag.ADMIN_TENANTS,
        {200: response_spec("What was done.", "Plan", PLAN_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            _DRY_RUN,
            requestBody=request_body_spec(
                "TenantsFile", {"tenants": {"video-team": SETTINGS_EXAMPLE}}
            ),
        ),
        "Settings that are left out get their defaults; tenants that are left out stay as they "
        "are. Doing it twice changes nothing.",
    ),
    ApiOperation(
        "GET",
        _TENANT_PATH,
        require_admin(_show),
        "admin_show_tenant",
        "Show a tenant",
        Tag.ADMIN_TENANTS,
        {200: response_spec("Without its secrets.", "Tenant", TENANT_EXAMPLE), **_READ_PROBLEMS},
        admin_openapi_extra(TENANT),
    ),
    ApiOperation(
        "PATCH",
        _TENANT_PATH,
        require_admin(_change),
        "admin_change_tenant",
        "Change a tenant's settings",
        Tag.ADMIN_TENANTS,
        {200: response_spec("As it is now.", "Tenant", TENANT_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            TENANT, requestBody=request_body_spec("TenantSettings", _CHANGE_EXAMPLE, required=False)
        ),
        "Only what the body names; null takes a limit away. In force with the next submit: what "
        "runs or waits above a lowered limit goes on.",
    ),
    ApiOperation(
        "DELETE",
        _TENANT_PATH,
        require_admin(_delete),
        "admin_delete_tenant",
        "Delete a tenant",
        Tag.ADMIN_TENANTS,
        {204: _NO_CONTENT, **problem_responses(401, 404, 409, 503)},
        admin_openapi_extra(TENANT),
        "Its keys stop at once; its open jobs go on, are paid for and called back. The name can be "
        "given anew after 30 days.",
    ),
    ApiOperation(
        "GET",
        f"{_TENANT_PATH}/usage",
        require_admin(_usage),
        "admin_usage",
        "What a tenant used",
        Tag.ADMIN_TENANTS,
        {
            200: response_spec("The day and the month, by model.", "Usage", USAGE_EXAMPLE),
            **_READ_PROBLEMS,
        },
        admin_openapi_extra(TENANT),
    ),
    ApiOperation(
        "GET",
        _KEYS_PATH,
        require_admin(_list_keys),
        "admin_list_keys",
        "List a tenant's keys",
        Tag.ADMIN_TENANTS,
        {
            200: response_spec("By id, oldest first.", "Keys", {"keys": [KEY_EXAMPLE]}),
            **_READ_PROBLEMS,
        },
        admin_openapi_extra(TENANT),
    ),
    ApiOperation(
        "POST",
        _KEYS_PATH,
        require_admin(_create_key),
        "admin_create_key",
        "Give a tenant one more key",
        Tag.ADMIN_TENANTS,
        {201: response_spec("Shown once.", "NewKey", NEW_KEY_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            TENANT, requestBody=request_body_spec("KeyWish", CREATE_KEY_EXAMPLE, required=False)
        ),
    ),
    ApiOperation(
        "DELETE",
        f"{_KEYS_PATH}/{{key_id}}",
        require_admin(_revoke_key),
        "admin_revoke_key",
        "Revoke a key",
        Tag.ADMIN_TENANTS,
        {204: _NO_CONTENT, **_READ_PROBLEMS},
        admin_openapi_extra(TENANT, _KEY_ID),
        "It ends at once. Jobs that it submitted go on and end; no new ones come.",
    ),
    ApiOperation(
        "POST",
        _SECRET_PATH,
        require_admin(_rotate),
        "admin_rotate_webhook_secret",
        "Make a new webhook secret",
        Tag.ADMIN_TENANTS,
        {
            201: response_spec("Shown once.", "WebhookSecret", WEBHOOK_SECRET_EXAMPLE),
            **_WRITE_PROBLEMS,
        },
        admin_openapi_extra(
            TENANT,
            requestBody=request_body_spec("SecretWish", {"overlap_seconds": 3600}, required=False),
        ),
        "Callbacks carry both signatures until `overlap_seconds` are over (a day unless told), or "
        "the old secret is retired.",
    ),
    ApiOperation(
        "DELETE",
        f"{_SECRET_PATH}/previous",
        require_admin(_retire),
        "admin_retire_webhook_secret",
        "Retire the webhook secret before the newest",
        Tag.ADMIN_TENANTS,
        {200: response_spec("As it is now.", "Tenant", TENANT_EXAMPLE), **_READ_PROBLEMS},
        admin_openapi_extra(TENANT),
    ),
)
