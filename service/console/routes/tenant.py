"""A tenant's pages: home, requests, webhooks, usage, keys, batches."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from core.billing.usage_history import GroupBy
from core.errors import NotPermitted
from core.jobs.job import PublicStatus
from core.tenants.api_keys import Credential, Scope
from core.webhooks.delivery import DeliveryState
from core.webhooks.endpoint import SUBSCRIBABLE_EVENTS
from service.admin.representations import key_representation
from service.callers.api_calls import JsonObject
from service.console.charts import bars_of, table_of
from service.console.filters import PAGE_SIZE, REPORT_FILTERS, REQUEST_FILTERS, chosen
from service.console.pages import Form, Page, SentForm, TenantPage, console_router
from service.console.request_view import (
    FINAL_STATUSES,
    Medium,
    media_in,
    outputs_in,
    phases,
    urls_of,
)
from service.console.schema_form import as_number
from service.jobs.read_input import read_input
from service.tenants.api_keys import list_keys

router = console_router()
RECENT: Final = 6


@router.get("/home")
async def home(page: TenantPage) -> Response:
    """Show what runs, what it costs and what is wrong."""
    values, report = await asyncio.gather(
        home_values(page), page.try_read("usage", {"by": GroupBy.DAY})
    )
    values["bars"] = bars_of(report) if report else []
    return page.render("home.html", values, media=urls_of(values["pictures"].values()))


async def home_values(page: Page) -> dict[str, Any]:
    """Return what the home page shows."""
    usage, requests, failed = await asyncio.gather(
        page.try_read("usage"),
        page.try_read("list_requests", {"limit": RECENT}),
        page.try_read("list_deliveries", {"status": "failed", "limit": 5}),
    )
    recent = (requests or {}).get("requests", [])
    return {
        "usage": usage,
        "requests": recent,
        "pictures": await _pictures(page, recent),
        "failed": (failed or {}).get("deliveries", []),
    }


async def _pictures(page: Page, requests: Sequence[JsonObject]) -> dict[str, list[Medium]]:
    """Return the first medium of each completed request, by id."""
    ended = [one["request_id"] for one in requests if one["status"] == "completed"]
    details = await asyncio.gather(
        *(page.api.read("detail", request_id=one) for one in ended), return_exceptions=True
    )
    return {
        one: media_in(detail.get("output"))[:1]
        for one, detail in zip(ended, details, strict=True)
        if isinstance(detail, dict)  # a request may be deleted meanwhile
    }


@router.get("/requests")
async def list_requests(page: TenantPage) -> Response:
    """List requests that match the filters."""
    return page.render("requests.html", await requests_values(page))


async def requests_values(page: Page) -> dict[str, Any]:
    """Return what the list of requests shows."""
    filters = chosen(page.query, REQUEST_FILTERS)
    found = await page.api.read("list_requests", {**filters, "limit": PAGE_SIZE})
    return {"filters": filters, "statuses": list(PublicStatus), **found}


@router.get("/requests/{request_id}")
async def show_request(page: TenantPage, request_id: str) -> Response:
    """Show one request."""
    state, sent = await asyncio.gather(
        request_state(page, request_id), _input_values(page, request_id)
    )
    detail = state["detail"]
    values = {
        **state,
        **sent,
        "outputs": outputs_in(detail),
        "output_text": orjson.dumps(detail.get("output"), option=orjson.OPT_INDENT_2).decode(),
    }
    media = [*values["outputs"], *values["inputs"]]
    addresses = [*urls_of([media]), *await page.storage_addresses()]
    return page.render("request.html", values, media=addresses)


async def request_state(page: Page, request_id: str) -> dict[str, Any]:
    """Return what the page of a request shows of its life: what changes while it is open."""
    detail, sent = await asyncio.gather(
        page.api.read("detail", request_id=request_id),
        page.api.read("request_deliveries", request_id=request_id),
    )
    deliveries = sent["deliveries"]
    return {
        "detail": detail,
        "deliveries": deliveries,
        "phases": phases(detail, deliveries, page.context.clock.now()),
        "is_final": detail["status"] in FINAL_STATUSES,
    }


async def _input_values(page: Page, request_id: str) -> dict[str, Any]:
    identity = page.user.identity
    assert isinstance(identity, Credential)  # noqa: S101 - a tenant's page
    text = await read_input(page.context.stores.jobs, identity, request_id)
    if text is None:
        return {"input_text": None, "inputs": []}
    return {"input_text": pretty_json(text), "inputs": media_in(parse_json(text))}


def parse_json(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON text as a value; None if it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def pretty_json(text: bytes) -> str:
    """Return a JSON text with indentation; any other text as it is."""
    value = parse_json(text)
    if value is None:
        return text.decode(errors="replace")
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


@router.post("/requests/{request_id}/cancel")
async def cancel_request(page: TenantPage, request_id: str, _: SentForm) -> Response:
    """Cancel a request."""
    await page.api.send("cancel", request_id=request_id)
    return page.redirect(f"/requests/{request_id}", "cancelled")


@router.post("/requests/{request_id}/delete")
async def delete_request(page: TenantPage, request_id: str, _: SentForm) -> Response:
    """Delete a request that has ended."""
    await page.api.send("delete_request", request_id=request_id)
    return page.redirect("/requests", "deleted")


# Webhooks


@router.get("/webhooks")
async def show_webhooks(page: TenantPage) -> Response:
    """Show endpoints and deliveries."""
    return page.render("webhooks.html", await webhook_values(page))


async def webhook_values(page: Page) -> dict[str, Any]:
    """Return what the page of webhooks shows."""
    filters = chosen(page.query, ("status", "since", "until", "cursor"))
    endpoints, found, usage = await asyncio.gather(
        page.api.read("list_endpoints"),
        page.api.read("list_deliveries", {**filters, "limit": PAGE_SIZE}),
        page.api.read("usage"),
    )
    pending = {one["endpoint_id"]: one["owed"] for one in usage["disabled_endpoints"]}
    return {
        "filters": filters,
        "endpoints": endpoints["endpoints"],
        "pending": pending,
        "events": SUBSCRIBABLE_EVENTS,
        "statuses": list(DeliveryState),
        **found,
    }


@router.post("/webhooks/endpoints")
async def create_endpoint(page: TenantPage, form: SentForm) -> Response:
    """Create an endpoint."""
    await page.api.send("create_endpoint", endpoint_fields(form))
    return page.redirect("/webhooks", "created")


def endpoint_fields(form: Form) -> dict[str, Any]:
    """Return the fields of an endpoint that a form has."""
    fields: dict[str, Any] = form.values("url", "payload")
    if "choose_events" in form:
        fields["events"] = form.all("events") or None
    if timeout := form.get("timeout"):
        fields["timeout"] = as_number(timeout)
    if "enabled" in form:
        fields["enabled"] = form.get("enabled") == "true"
    return fields


@router.post("/webhooks/endpoints/{endpoint_id}")
async def change_endpoint(page: TenantPage, endpoint_id: str, form: SentForm) -> Response:
    """Change, disable or enable an endpoint."""
    await page.api.send("change_endpoint", endpoint_fields(form), endpoint_id=endpoint_id)
    return page.redirect("/webhooks", "changed")


@router.post("/webhooks/endpoints/{endpoint_id}/delete")
async def delete_endpoint(page: TenantPage, endpoint_id: str, _: SentForm) -> Response:
    """Delete an endpoint."""
    await page.api.send("delete_endpoint", endpoint_id=endpoint_id)
    return page.redirect("/webhooks", "deleted")


@router.post("/webhooks/test")
async def test_webhook(page: TenantPage, form: SentForm) -> Response:
    """Send a test event."""
    await page.api.send("test_webhook", form.values("endpoint_id"))
    return page.redirect("/webhooks", "tested")


@router.post("/webhooks/replay")
async def replay_deliveries(page: TenantPage, form: SentForm) -> Response:
    """Send a range of deliveries again."""
    fields = form.values("since", "until", "status", "endpoint_id")
    await page.api.send("replay_deliveries", chosen(fields, tuple(fields)))
    return page.redirect("/webhooks", "replayed")


@router.post("/webhooks/rotate")
async def rotate_secret(page: TenantPage, form: SentForm) -> Response:
    """Create a secret and show it once."""
    answer = await page.api.send("rotate_secret", form.values("kind"))
    made = answer.document
    shown = {"Webhook secret": made.get("secret"), "Public key": made.get("public_key")}
    return page.render("shown_once.html", {"shown": shown, "back": "/webhooks"})


@router.post("/deliveries/{delivery_id}/resend")
async def resend_delivery(page: TenantPage, delivery_id: str, form: SentForm) -> Response:
    """Send a delivery again."""
    await page.api.send("resend_delivery", delivery_id=delivery_id)
    request_id = form.get("request_id")
    return page.redirect(f"/requests/{request_id}" if request_id else "/webhooks", "resent")


# Usage, keys, batches


@router.get("/usage")
async def show_usage(page: TenantPage) -> Response:
    """Show what was spent: over days by a group, and in each window."""
    filters = {"by": GroupBy.DAY, **chosen(page.query, REPORT_FILTERS)}
    usage, report = await asyncio.gather(page.api.read("usage"), page.api.read("usage", filters))
    values = {"groupings": list(GroupBy), "report": report, "bars": bars_of(report)}
    return page.render("usage.html", {"usage": usage, **values})


@router.get("/usage.csv")
async def download_usage(page: TenantPage) -> Response:
    """Return the report that the page shows as a table for spreadsheets."""
    filters = {"by": GroupBy.DAY, **chosen(page.query, REPORT_FILTERS)}
    report = await page.api.read("usage", filters)
    headers = {"content-disposition": f'attachment; filename="usage-{page.user.tenant}.csv"'}
    return Response(table_of(report), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/keys")
async def show_keys(page: TenantPage) -> Response:
    """List the tenant's keys."""
    if Scope.READ not in page.user.scopes:
        raise NotPermitted("This needs a key with the scope read.")
    found = await list_keys(page.context.admin, page.user.tenant)
    return page.render("keys.html", {"keys": [key_representation(use) for use in found]})


@router.get("/batches")
async def list_batches(page: TenantPage) -> Response:
    """List batches."""
    found = await page.api.read("list_batches", chosen(page.query, ("cursor",)))
    return page.render("batches.html", found)


@router.get("/batches/{batch_id}")
async def show_batch(page: TenantPage, batch_id: str) -> Response:
    """Show a batch and its items."""
    found = await page.api.read("batch", chosen(page.query, ("offset",)), batch_id=batch_id)
    return page.render("batch.html", {"batch": found})


@router.post("/batches/{batch_id}/cancel")
async def cancel_batch(page: TenantPage, batch_id: str, _: SentForm) -> Response:
    """Cancel the rest of a batch."""
    await page.api.send("cancel_batch", batch_id=batch_id)
    return page.redirect(f"/batches/{batch_id}", "cancelled")
