"""An operator's pages."""

import asyncio
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import orjson
from starlette.responses import Response

from core.clock import iso
from core.errors import InvalidInput
from core.jobs.job import JobState, PublicStatus
from core.money import usd_or_none
from core.observability.gateway_state import GatewayState
from core.operators.operator import Role
from core.tenants.api_keys import Scope
from service.console.api_calls import JsonObject
from service.console.charts import scaled
from service.console.pages import Form, OperatorPage, Page, SentForm, console_router
from service.console.request_view import media_in, phases
from service.console.routes.operator_usage import chart_values
from service.console.routes.tenant import (
    FINAL_STATUSES,
    PAGE_SIZE,
    REQUEST_FILTERS,
    chosen,
    urls_of,
)
from service.console.schema_form import WrongField, parse_setting
from service.context import DISTRIBUTION
from service.tenants.settings import TenantSettings

router = console_router()
_ROOT: Final = "/operator"
_STATE: Final = "gateway_state"


@router.get("/operator")
async def overview(page: OperatorPage) -> Response:
    """Show how the gateway is, and what needs a person."""
    values = await overview_values(page)
    charts = await chart_values(page, values["state"])
    return page.render("overview.html", {**values, **charts})


async def overview_values(page: Page) -> dict[str, Any]:
    """Return what the overview shows."""
    state, limits, circuits = await asyncio.gather(
        page.context.shared_reads.get(_STATE, page.context.read_state),
        page.api.read("admin_show_limits"),
        page.api.read("admin_list_circuits"),
    )
    return {
        "state": state,
        "limits": limits,
        "circuits": circuits["circuits"],
        "needs": needs_of(state, circuits["circuits"], limits),
        "tenants": [_tenant_row(tenant) for tenant in state.tenants],
        "states": scaled([(name, n) for name in JobState if (n := state.jobs.by_state.get(name))]),
    }


def needs_of(state: GatewayState, circuits: list[JsonObject], limits: JsonObject) -> list[str]:
    """Return a sentence for each thing that needs a person."""
    in_doubt = sum(n for name, n in state.jobs.by_state.items() if name == "in_doubt")
    disabled = sum(len(tenant.disabled_reasons) for tenant in state.tenants)
    open_ones = [one["circuit"] for one in circuits if one["state"] == "open"]
    found = {
        f"{in_doubt} submits are in doubt: money may have been spent.": in_doubt,
        f"{state.jobs.stuck} jobs are stuck: no worker advances them.": state.jobs.stuck,
        f"{state.jobs.unreadable} jobs cannot be read.": state.jobs.unreadable,
        f"{disabled} webhook endpoints are disabled.": disabled,
        f"Circuit breakers are open: {', '.join(open_ones)}.": open_ones,
        f"{len(limits['paused'])} pauses are in force.": limits["paused"],
        "No worker runs.": not state.dependencies.workers,
        "Redis cannot write its append-only file.": state.redis.aof_write_ok is False,
    }
    return [text for text, is_so in found.items() if is_so]


def _tenant_row(tenant: Any) -> JsonObject:  # noqa: ANN401 - TenantState
    spent = {window.window: window.reservations.used for window in tenant.windows}
    return {
        "tenant": tenant.name,
        "running": tenant.running,
        "waiting": tenant.waiting,
        "spent": {window: usd_or_none(amount) for window, amount in spent.items()},
        "disabled": len(tenant.disabled_reasons),
    }


def _target(form: Form) -> JsonObject:
    """Return what to pause or resume."""
    kind, name = form.get("kind"), form.get("name")
    return {"all": True} if kind == "all" else {kind: name}


@router.post("/operator/pause")
async def pause(page: OperatorPage, form: SentForm) -> Response:
    """Pause everything, a tenant or a model."""
    await page.api.send("admin_pause", _target(form))
    return page.redirect(_ROOT, "paused")


@router.post("/operator/resume")
async def resume(page: OperatorPage, form: SentForm) -> Response:
    """Resume what was paused."""
    await page.api.send("admin_resume", _target(form))
    return page.redirect(_ROOT, "resumed")


@router.post("/operator/circuits/reset")
async def reset_circuit(page: OperatorPage, form: SentForm) -> Response:
    """Close a circuit breaker."""
    await page.api.send("admin_reset_circuit", form.values("circuit"))
    return page.redirect(_ROOT, "reset")


@router.post("/operator/limits")
async def change_limits(page: OperatorPage, form: SentForm) -> Response:
    """Change the gateway's limits."""
    names = ("running", "submits_per_second", "polls_per_second", "minimum_balance_usd")
    changes = {name: _number_or_null(form.get(name)) for name in names if _is_changed(form, name)}
    await page.api.send("admin_change_limits", changes)
    return page.redirect(_ROOT, "changed")


def _number_or_null(text: str) -> Any:  # noqa: ANN401 - JSON
    return parse_setting(text, {"type": "number"})


# Submits in doubt


@router.get("/operator/in-doubt")
async def list_in_doubt(page: OperatorPage) -> Response:
    """List submits in doubt."""
    return page.render("in_doubt.html", await page.api.read("admin_list_doubts"))


@router.post("/operator/in-doubt/{request_id}")
async def resolve_in_doubt(page: OperatorPage, request_id: str, form: SentForm) -> Response:
    """Resolve a submit in doubt."""
    body: dict[str, Any] = form.values("resolution", "upstream_request_id")
    if form.get("force") == "true":
        body["force"] = True
    await page.api.send("admin_resolve_doubt", body, request_id=request_id)
    return page.redirect("/operator/in-doubt", "resolved")


# Tenants


@router.get("/operator/tenants")
async def list_tenants(page: OperatorPage) -> Response:
    """List tenants."""
    found, limits, state = await asyncio.gather(
        page.api.read("admin_list_tenants"),
        page.api.read("admin_show_limits"),
        page.context.shared_reads.get(_STATE, page.context.read_state),
    )
    rows = {tenant.name: _tenant_row(tenant) for tenant in state.tenants}
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
        if _is_changed(form, name)
    }


def _is_changed(form: Form, name: str) -> bool:
    """Return whether a field differs from what the page showed, which it sends as `was.NAME`.

    A comparison with what is there now would take back a change that was made meanwhile.
    """
    return name in form and form.get(name) != form.get(f"was.{name}")


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


# Requests, catalogue, audit log


@router.get("/operator/requests")
async def list_requests(page: OperatorPage) -> Response:
    """List the requests of a tenant, or of all."""
    tenant, filters = page.query.get("tenant", ""), chosen(page.query, REQUEST_FILTERS)
    query = {**filters, "limit": PAGE_SIZE}
    tenants, found = await asyncio.gather(
        page.api.read("admin_list_tenants"),
        page.api.read("admin_list_requests", query, tenant=tenant)
        if tenant
        else page.api.read("admin_list_all_requests", query),
    )
    values = {
        "tenants": [one["tenant"] for one in tenants["tenants"]],
        "tenant": tenant,
        "statuses": list(PublicStatus),
        "filters": {"tenant": tenant, **filters},
    }
    return page.render("operator_requests.html", {**values, **found})


@router.get("/operator/requests/{request_id}")
async def show_request(page: OperatorPage, request_id: str) -> Response:
    """Show any tenant's request; its input is the tenant's own."""
    detail = await page.api.read("admin_detail", request_id=request_id)
    outputs = media_in(detail.get("output"))
    values = {
        "detail": detail,
        "outputs": outputs,
        "output_text": orjson.dumps(detail.get("output"), option=orjson.OPT_INDENT_2).decode(),
        "phases": phases(detail, (), page.context.clock.now()),
        "is_final": detail["status"] in FINAL_STATUSES,
    }
    return page.render("operator_request.html", values, media=urls_of([outputs]))


@router.get("/operator/catalogue")
async def show_catalogue(page: OperatorPage) -> Response:
    """Show what RunComfy changed, and the pins of models."""
    changes, pins = await asyncio.gather(
        page.api.read("admin_list_catalogue_changes", {"limit": PAGE_SIZE}),
        page.api.read("admin_list_model_pins"),
    )
    registry = page.context.model_cache.registry
    values = {**changes, **pins, "categories": registry.categories_representation()}
    return page.render("catalogue.html", values)


@router.post("/operator/catalogue/pin")
async def pin_model(page: OperatorPage, form: SentForm) -> Response:
    """Pin a model as it is now, or remove a pin."""
    operation = "admin_unpin_model" if form.get("unpin") == "true" else "admin_pin_model"
    await page.api.send(operation, form.values("model_id", "tenant"))
    return page.redirect("/operator/catalogue", "changed")


@router.get("/operator/audit")
async def show_audit_log(page: OperatorPage) -> Response:
    """Show what operators did, or what a tenant did with its keys."""
    filters = chosen(page.query, ("tenant",))
    found = await page.api.read("admin_audit", {**filters, "limit": 200})
    verified = None
    if page.query.get("verify"):
        verified = await page.api.read("admin_verify_audit", filters)
    return page.render("audit.html", {**found, "filters": filters, "verified": verified})


@router.get("/operator/operators")
async def list_operators(page: OperatorPage) -> Response:
    """List operators."""
    found = await page.api.read("admin_list_operators")
    return page.render("operators.html", {**found, "roles": list(Role)})


@router.post("/operator/operators")
async def create_operator(page: OperatorPage, form: SentForm) -> Response:
    """Create an operator and show the token once."""
    fields = form.values("operator", "expires_at")
    body = {**chosen(fields, ("operator", "expires_at")), "roles": form.all("roles")}
    made = (await page.api.send("admin_create_operator", body)).document
    shown = {"Operator": made["operator"], "Token": made["token"]}
    return page.render("shown_once.html", {"shown": shown, "back": "/operator/operators"})


@router.post("/operator/operators/{operator}/revoke")
async def revoke_operator(page: OperatorPage, operator: str, _: SentForm) -> Response:
    """Revoke an operator's token."""
    await page.api.send("admin_revoke_operator", operator=operator)
    return page.redirect("/operator/operators", "revoked")


@router.get("/operator/settings")
async def show_settings(page: OperatorPage) -> Response:
    """Show the settings of this service as they are in effect."""
    rows = page.context.settings_table
    if page.query.get("changed"):
        rows = tuple(row for row in rows if row["source"] != "default")
    return page.render("settings.html", {"rows": rows, "changed": page.query.get("changed")})


@router.get("/operator/about")
async def show_about(page: OperatorPage) -> Response:
    """Show the version, the store, the journal and the storage."""
    context = page.context
    state, position = await asyncio.gather(
        context.shared_reads.get(_STATE, context.read_state), context.stores.identity.load()
    )
    chosen_settings: Mapping[str, str] = {
        row["setting"]: row["value"] for row in context.settings_table
    }
    values = {
        "version": version(DISTRIBUTION),
        "account": context.policy.account,
        "position": position,
        "redis": state.redis,
        "read_at": iso(state.read_at),
        "journal_since": iso(position.journal_since) if position else None,
        "journal": chosen_settings.get("GATEWAY_JOURNAL__URL", ""),
        "objects": chosen_settings.get("GATEWAY_OBJECTS__URL", ""),
    }
    return page.render("about.html", values)
