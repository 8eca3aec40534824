"""An operator's pages of tenants: their settings, keys, secrets and endpoints."""

import asyncio
import tomllib
from functools import cache
from typing import Any

import orjson
from starlette.responses import Response

from core.errors import InvalidInput
from core.money import usd_or_none
from core.tenants.api_keys import Scope
from service.callers.api_calls import JsonObject
from service.console.filters import chosen
from service.console.pages import Form, OperatorPage, SentForm, console_router
from service.console.schema_form import WrongField, parse_setting
from service.tenants.settings import TenantSettings

router = console_router()


def tenant_row(tenant: Any) -> JsonObject:  # noqa: ANN401 - TenantState
    """Return a tenant as a row of a table."""
    spent = {window.window: window.reservations.used for window in tenant.windows}
    return {
        "tenant": tenant.name,
        "running": tenant.running,
        "waiting": tenant.waiting,
        "spent": {window: usd_or_none(amount) for window, amount in spent.items()},
        "disabled": len(tenant.disabled_reasons),
    }


@router.get("/operator/tenants")
async def list_tenants(page: OperatorPage) -> Response:
    """List tenants."""
    found, limits, state = await asyncio.gather(
        page.api.read("admin_list_tenants"),
        page.api.read("admin_show_limits"),
        page.gateway_state(),
    )
    rows = {tenant.name: tenant_row(tenant) for tenant in state.tenants}
    values = {"tenants": found["tenants"], "rows": rows, "defaults": limits["default_limits"]}
    return page.render("tenants.html", values)


@router.post("/operator/tenants")
async def create_tenant(page: OperatorPage, form: SentForm) -> Response:
    """Create a tenant, and show its key and secret once."""
    body = {"tenant": form.get("tenant"), **_settings_in(form)}
    made = (await page.api.send("admin_create_tenant", body)).document
    shown = {"Tenant": made["tenant"], "Key": made["key"], "Webhook secret": made["webhook_secret"]}
    back = f"/operator/tenants/{made['tenant']}"
    return page.render("shown_once.html", {"shown": shown, "back": back})


@router.post("/operator/tenants/apply")
async def apply_tenants(page: OperatorPage, form: SentForm) -> Response:
    """Compare a file of tenants with those that there are, or apply it."""
    text, is_final = form.get("file"), form.get("apply") == "true"
    body, query = parse_tenants_file(text), {} if is_final else {"dry_run": "true"}
    steps = (await page.api.send("admin_apply_tenants", body, query)).document["steps"]
    return page.render("apply.html", {"steps": steps, "file": text, "applied": is_final})


def parse_tenants_file(text: str) -> bytes:
    """Return a `tenants.toml` as JSON. Raises `InvalidInput`."""
    try:
        return orjson.dumps(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, TypeError, RecursionError) as error:
        raise InvalidInput(f"The file is no TOML: {error}") from error


@router.get("/operator/tenants/{tenant}")
async def show_tenant(page: OperatorPage, tenant: str) -> Response:
    """Show a tenant: settings, usage, keys, endpoints, deliveries."""
    details, usage, keys, endpoints, deliveries, limits = await asyncio.gather(
        page.api.read("admin_show_tenant", tenant=tenant),
        page.api.read("admin_usage", tenant=tenant),
        page.api.read("admin_list_keys", tenant=tenant),
        page.api.read("admin_list_endpoints", tenant=tenant),
        page.api.read("admin_list_deliveries", {"limit": 20}, tenant=tenant),
        page.api.read("admin_show_limits"),
    )
    values = {
        "tenant": details,
        "usage": usage,
        "keys": keys["keys"],
        "endpoints": endpoints["endpoints"],
        "deliveries": deliveries["deliveries"],
        "settings": setting_rows(details),
        "scopes": list(Scope),
        "paused": f"tenant:{tenant}" in limits["paused"],
    }
    return page.render("tenant.html", values)


@cache
def _schema() -> JsonObject:
    schema: JsonObject = TenantSettings.model_json_schema()
    return schema


def setting_rows(details: JsonObject) -> list[JsonObject]:
    """Return each setting of a tenant with its description and its value as a form shows it."""
    return [
        {
            "name": name,
            "help": part.get("description", ""),
            "options": _options(part),
            "value": _shown(details.get(name)),
        }
        for name, part in _schema()["properties"].items()
    ]


def _options(part: JsonObject) -> list[str]:
    """Return the values of a setting with few of them; "" stands for null."""
    if part.get("type") == "boolean":
        return ["true", "false"]
    choices = [part, *part.get("anyOf", ())]
    found: list[str] = []
    for one in choices:
        named = _schema().get("$defs", {}).get(str(one.get("$ref", "")).rpartition("/")[2], one)
        found += [str(value) for value in named.get("enum", ())]
    is_optional = any(one.get("type") == "null" for one in choices)
    return ["", *found] if found and is_optional else found


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


def _settings_in(form: Form) -> JsonObject:
    """Return the settings that a form changes."""
    return {
        name: _parsed_setting(name, form.get(name), part)
        for name, part in _schema()["properties"].items()
        if form.is_changed(name)
    }


def _parsed_setting(name: str, text: str, part: JsonObject) -> Any:  # noqa: ANN401 - JSON
    try:
        return parse_setting(text, part)
    except WrongField as error:
        raise InvalidInput(f"{name}: {error}") from error


@router.post("/operator/tenants/{tenant}")
async def change_tenant(page: OperatorPage, tenant: str, form: SentForm) -> Response:
    """Change a tenant's settings."""
    await page.api.send("admin_change_tenant", _settings_in(form), tenant=tenant)
    return page.redirect(f"/operator/tenants/{tenant}", "changed")


@router.post("/operator/tenants/{tenant}/delete")
async def delete_tenant(page: OperatorPage, tenant: str, _: SentForm) -> Response:
    """Delete a tenant."""
    await page.api.send("admin_delete_tenant", tenant=tenant)
    return page.redirect("/operator/tenants", "deleted")


@router.post("/operator/tenants/{tenant}/pause")
async def pause_tenant(page: OperatorPage, tenant: str, form: SentForm) -> Response:
    """Pause or resume a tenant."""
    is_paused = form.get("paused") == "true"
    operation = "admin_resume" if is_paused else "admin_pause"
    await page.api.send(operation, {"tenant": tenant})
    return page.redirect(f"/operator/tenants/{tenant}", "resumed" if is_paused else "paused")


@router.post("/operator/tenants/{tenant}/keys")
async def create_key(page: OperatorPage, tenant: str, form: SentForm) -> Response:
    """Create a key and show it once."""
    fields = form.values("expires_at")
    body = {**chosen(fields, ("expires_at",)), "scopes": form.all("scopes")}
    made = (await page.api.send("admin_create_key", body, tenant=tenant)).document
    shown = {"Key id": made["key_id"], "Key": made["key"]}
    return page.render("shown_once.html", {"shown": shown, "back": f"/operator/tenants/{tenant}"})


@router.post("/operator/tenants/{tenant}/keys/{key_id}/revoke")
async def revoke_key(page: OperatorPage, tenant: str, key_id: str, _: SentForm) -> Response:
    """Revoke a key."""
    await page.api.send("admin_revoke_key", tenant=tenant, key_id=key_id)
    return page.redirect(f"/operator/tenants/{tenant}", "revoked")


@router.post("/operator/tenants/{tenant}/secret")
async def rotate_secret(page: OperatorPage, tenant: str, form: SentForm) -> Response:
    """Create a webhook secret and show it once, or retire the ones before."""
    back = f"/operator/tenants/{tenant}"
    if form.get("retire") == "true":
        await page.api.send("admin_retire_webhook_secret", tenant=tenant)
        return page.redirect(back, "retired")
    answer = await page.api.send("admin_rotate_webhook_secret", {}, tenant=tenant)
    shown = {"Webhook secret": answer.document["webhook_secret"]}
    return page.render("shown_once.html", {"shown": shown, "back": back})


@router.post("/operator/tenants/{tenant}/endpoints/{endpoint_id}")
async def change_endpoint(
    page: OperatorPage, tenant: str, endpoint_id: str, form: SentForm
) -> Response:
    """Enable or disable an endpoint."""
    change = {"enabled": form.get("enabled") == "true"}
    await page.api.send("admin_change_endpoint", change, tenant=tenant, endpoint_id=endpoint_id)
    return page.redirect(f"/operator/tenants/{tenant}", "changed")


@router.post("/operator/tenants/{tenant}/deliveries/{delivery_id}/resend")
async def resend_delivery(
    page: OperatorPage, tenant: str, delivery_id: str, _: SentForm
) -> Response:
    """Send a tenant's delivery again."""
    await page.api.send("admin_resend_delivery", tenant=tenant, delivery_id=delivery_id)
    return page.redirect(f"/operator/tenants/{tenant}", "resent")
