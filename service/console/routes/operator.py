"""An operator's pages; those of tenants and of usage are modules of their own."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import orjson
from starlette.responses import Response

from core.clock import iso
from core.jobs.job import JobState, PublicStatus
from core.observability.gateway_state import GatewayState
from core.operators.operator import Role
from service.callers.api_calls import JsonObject
from service.console.charts import scaled
from service.console.filters import PAGE_SIZE, REQUEST_FILTERS, chosen
from service.console.pages import Form, OperatorPage, Page, SentForm, console_router
from service.console.request_view import FINAL_STATUSES, media_in, phases, urls_of
from service.console.routes.operator_tenants import tenant_row
from service.console.routes.operator_usage import chart_values
from service.console.schema_form import parse_setting
from service.context import DISTRIBUTION

router = console_router()
_ROOT: Final = "/operator"


@router.get("/operator")
async def overview(page: OperatorPage) -> Response:
    """Show how the gateway is, and what needs a person."""
    values = await overview_values(page)
    charts = await chart_values(page, values["state"])
    return page.render("overview.html", {**values, **charts})


async def overview_values(page: Page) -> dict[str, Any]:
    """Return what the overview shows."""
    state, limits, circuits = await asyncio.gather(
        page.gateway_state(),
        page.api.read("admin_show_limits"),
        page.api.read("admin_list_circuits"),
    )
    return {
        "state": state,
        "limits": limits,
        "circuits": circuits["circuits"],
        "needs": needs_of(state, circuits["circuits"], limits),
        "tenants": [tenant_row(tenant) for tenant in state.tenants],
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
    changes = {name: _number_or_null(form.get(name)) for name in names if form.is_changed(name)}
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
    state, position = await asyncio.gather(page.gateway_state(), context.stores.identity.load())
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
