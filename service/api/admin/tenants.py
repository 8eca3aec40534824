"""Operators: tenants, their keys and webhook secrets."""

import re
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import InvalidInput
from core.tenants.api_keys import ALL_SCOPES, Scope
from service.api.admin.authentication import ROOT, administered, operators
from service.api.admin.representations import (
    key_document,
    new_key_document,
    new_secret_document,
    new_tenant_document,
    step_document,
    tenant_document,
)
from service.api.admin.schemas import (
    KEY_EXAMPLE,
    KEY_WISH_EXAMPLE,
    NEW_KEY_EXAMPLE,
    NEW_TENANT_EXAMPLE,
    PLAN_EXAMPLE,
    SECRET_EXAMPLE,
    SETTINGS_EXAMPLE,
    TENANT_EXAMPLE,
)
from service.api.jobs.parameters import TENANT
from service.api.schemas import USAGE_EXAMPLE
from service.context import resources_of
from service.http.authentication import json_body
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, body, parameter, problems
from service.operator_context import Desk
from service.parsing.fields import flag, read_query, read_table
from service.tenants.api_keys import create_key, list_keys, revoke_key
from service.tenants.apply_file import apply, preview
from service.tenants.tenants import (
    change_tenant,
    create_tenant,
    delete_tenant,
    list_tenants,
    load_tenant,
    retire_webhook_secret,
    rotate_webhook_secret,
    usage_of,
)
from service.tenants.usage import usage_document
from service.webhooks.parser import read_overlap

# RFC 3339; `fromisoformat` reads more, also instants without a zone.
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d.*[Zz+-]")


async def _list(_: Request, desk: Desk) -> Response:
    return shown({"tenants": [tenant_document(tenant) for tenant in await list_tenants(desk)]})


async def _create(request: Request, desk: Desk) -> Response:
    raw = await json_body(request)
    name = raw.pop("tenant", None)
    if not isinstance(name, str):
        raise InvalidInput("tenant must be the new tenant's name.")
    return shown(new_tenant_document(await create_tenant(desk, name, raw)), 201)


async def _show(request: Request, desk: Desk) -> Response:
    return shown(tenant_document(await load_tenant(desk, _named(request))))


async def _change(request: Request, desk: Desk) -> Response:
    changed = await change_tenant(desk, _named(request), await json_body(request))
    return shown(tenant_document(changed.tenant))


async def _delete(request: Request, desk: Desk) -> Response:
    await delete_tenant(desk, _named(request))
    return Response(status_code=204)


async def _apply(request: Request, desk: Desk) -> Response:
    asked = read_table(read_query(request.url.query), {"dry_run": flag})
    carry_out = preview if asked.get("dry_run") else apply
    steps = await carry_out(desk, await json_body(request))
    return shown({"steps": [step_document(step) for step in steps]})


async def _usage(request: Request, desk: Desk) -> Response:
    name = _named(request)
    used = await usage_of(desk, name)
    silent = await resources_of(request.scope).mailroom.silent(name)
    return shown(usage_document(name, used, desk.clock.now(), silent))


async def _rotate(request: Request, desk: Desk) -> Response:
    overlap = read_overlap(await json_body(request))
    return shown(
        new_secret_document(await rotate_webhook_secret(desk, _named(request), overlap)), 201
    )


async def _retire(request: Request, desk: Desk) -> Response:
    return shown(tenant_document(await retire_webhook_secret(desk, _named(request))))


async def _list_keys(request: Request, desk: Desk) -> Response:
    uses = await list_keys(desk, _named(request))
    return shown({"keys": [key_document(use) for use in uses]})


async def _create_key(request: Request, desk: Desk) -> Response:
    raw = await json_body(request)
    if raw.keys() - {"scopes", "expires_at"}:
        raise InvalidInput("A key has scopes and expires_at, nothing else.")
    try:
        scopes = frozenset(map(Scope, raw.get("scopes", ALL_SCOPES)))
        ends = _instant(raw.get("expires_at"))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(
            f"scopes must be some of {', '.join(Scope)}; expires_at an instant with its zone."
        ) from error
    return shown(new_key_document(await create_key(desk, _named(request), scopes, ends)), 201)


def _instant(text: object) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str) or not _INSTANT.match(text):
        raise ValueError
    return datetime.fromisoformat(text).astimezone(UTC)


async def _revoke_key(request: Request, desk: Desk) -> Response:
    await revoke_key(desk, _named(request), request.path_params["key_id"])
    return Response(status_code=204)


def _named(request: Request) -> str:
    name: str = request.path_params["tenant"]
    return name


_ONE: Final = f"{ROOT}/tenants/{{tenant}}"
_KEYS: Final = f"{_ONE}/keys"
_SECRET: Final = f"{_ONE}/webhook-secret"
_DRY_RUN: Final = parameter("dry_run", "Only tell what would change.", {"type": "boolean"})
_KEY_ID: Final = parameter("key_id", "The key's id.", {"type": "string"}, "path")
_FAULTS: Final = problems(401, 404, 503)
_WISHES: Final = problems(400, 401, 404, 409, 413, 415, 422, 503)
_CHANGE_EXAMPLE: Final = {"usd_per_day": 50, "waiting": None}
_GONE: Final = {"description": "Done."}

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        f"{ROOT}/tenants",
        administered(_list),
        "admin_list_tenants",
        "List tenants",
        Tag.TENANTS,
        {200: answer("Every tenant.", "Tenants", {"tenants": [TENANT_EXAMPLE]}), **_FAULTS},
        operators(),
    ),
    Endpoint(
        "POST",
        f"{ROOT}/tenants",
        administered(_create),
        "admin_create_tenant",
        "Create a tenant with its first key",
        Tag.TENANTS,
        {201: answer("Shown once.", "NewTenant", NEW_TENANT_EXAMPLE), **_WISHES},
        operators(requestBody=body("TenantWish", {"tenant": "video-team", **SETTINGS_EXAMPLE})),
        "The body is `tenant` (its name) and any settings; those that it leaves out set no limit.",
    ),
    Endpoint(
        "PUT",
        f"{ROOT}/tenants",
        administered(_apply),
        "admin_apply_tenants",
        "Make tenants as a file says",
        Tag.TENANTS,
        {200: answer("What was done.", "Plan", PLAN_EXAMPLE), **_WISHES},
        operators(
            _DRY_RUN, requestBody=body("TenantsFile", {"tenants": {"video-team": SETTINGS_EXAMPLE}})
        ),
        "Settings that are left out get their defaults; tenants that are left out stay as they "
        "are. Doing it twice changes nothing.",
    ),
    Endpoint(
        "GET",
        _ONE,
        administered(_show),
        "admin_show_tenant",
        "Show a tenant",
        Tag.TENANTS,
        {200: answer("Without its secrets.", "Tenant", TENANT_EXAMPLE), **_FAULTS},
        operators(TENANT),
    ),
    Endpoint(
        "PATCH",
        _ONE,
        administered(_change),
        "admin_change_tenant",
        "Change a tenant's settings",
        Tag.TENANTS,
        {200: answer("As it is now.", "Tenant", TENANT_EXAMPLE), **_WISHES},
        operators(TENANT, requestBody=body("TenantSettings", _CHANGE_EXAMPLE, required=False)),
        "Only what the body names; null takes a limit away. In force with the next submit: what "
        "runs or waits above a lowered limit goes on.",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        administered(_delete),
        "admin_delete_tenant",
        "Delete a tenant",
        Tag.TENANTS,
        {204: _GONE, **problems(401, 404, 409, 503)},
        operators(TENANT),
        "Its keys stop at once; its open jobs go on, are paid for and called back. The name can be "
        "given anew after 30 days.",
    ),
    Endpoint(
        "GET",
        f"{_ONE}/usage",
        administered(_usage),
        "admin_usage",
        "What a tenant used",
        Tag.TENANTS,
        {200: answer("The day and the month, by model.", "Usage", USAGE_EXAMPLE), **_FAULTS},
        operators(TENANT),
    ),
    Endpoint(
        "GET",
        _KEYS,
        administered(_list_keys),
        "admin_list_keys",
        "List a tenant's keys",
        Tag.TENANTS,
        {200: answer("By id, oldest first.", "Keys", {"keys": [KEY_EXAMPLE]}), **_FAULTS},
        operators(TENANT),
    ),
    Endpoint(
        "POST",
        _KEYS,
        administered(_create_key),
        "admin_create_key",
        "Give a tenant one more key",
        Tag.TENANTS,
        {201: answer("Shown once.", "NewKey", NEW_KEY_EXAMPLE), **_WISHES},
        operators(TENANT, requestBody=body("KeyWish", KEY_WISH_EXAMPLE, required=False)),
    ),
    Endpoint(
        "DELETE",
        f"{_KEYS}/{{key_id}}",
        administered(_revoke_key),
        "admin_revoke_key",
        "Revoke a key",
        Tag.TENANTS,
        {204: _GONE, **_FAULTS},
        operators(TENANT, _KEY_ID),
        "It ends at once. Jobs that it submitted go on and end; no new ones come.",
    ),
    Endpoint(
        "POST",
        _SECRET,
        administered(_rotate),
        "admin_rotate_webhook_secret",
        "Make a new webhook secret",
        Tag.TENANTS,
        {
            201: answer("Shown once.", "WebhookSecret", SECRET_EXAMPLE),
            **_WISHES,
        },
        operators(
            TENANT, requestBody=body("SecretWish", {"overlap_seconds": 3600}, required=False)
        ),
        "Callbacks carry both signatures until `overlap_seconds` are over (a day unless told), or "
        "the old secret is retired.",
    ),
    Endpoint(
        "DELETE",
        f"{_SECRET}/previous",
        administered(_retire),
        "admin_retire_webhook_secret",
        "Retire the webhook secret before the newest",
        Tag.TENANTS,
        {200: answer("As it is now.", "Tenant", TENANT_EXAMPLE), **_FAULTS},
        operators(TENANT),
    ),
)
