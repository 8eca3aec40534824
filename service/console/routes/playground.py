"""The playground: a form from a model's schema, its price by a dry run, and the submit."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from core.errors import GatewayError, InvalidInput, MalformedRequest
from core.runtime.garbage_collection import drop_frames
from core.tenants.api_keys import Credential
from service.callers.api_calls import JsonObject
from service.console.filters import chosen
from service.console.pages import (
    MAX_FORM_BYTES,
    Form,
    Page,
    SentForm,
    TenantPage,
    console_router,
)
from service.console.rendering import html_response
from service.console.schema_form import WrongField, filled, parse_object, widgets
from service.console.sessions import new_token
from service.jobs.read_input import read_input
from service.parsing.json_body import parse_object as parse_json_object

router = console_router()
MODELS_PER_PAGE: Final = 50
_OPTIONS: Final = ("reference", "max_cost", "priority", "cache")
_JSON_MODE: Final = "json"
MAX_LAID_OUT_BYTES: Final = 64 * 1024
"""Of an input that is shown indented and as code: others wait while that is written."""


@router.get("/playground")
async def list_models(page: TenantPage) -> Response:
    """List the models of the catalogue."""
    filters = chosen(page.query, ("search", "category", "offset"))
    found, categories = await asyncio.gather(
        page.api.read("list_models", {**filters, "limit": MODELS_PER_PAGE}),
        page.api.read("list_categories"),
    )
    values = {"filters": filters, "categories": categories["categories"], **found}
    return page.render("models.html", values)


@router.get("/playground/{model_id:path}")
async def show_model(page: TenantPage, model_id: str) -> Response:
    """Show the form of a model, filled with its sample or with the input of a request."""
    model = await page.api.read("show_model", model_id=model_id)
    given = await _given_input(page, page.query.get("again", ""))
    files = await page.try_read("list_files", {"limit": 20})
    schema = model.get("input_schema") or {}
    given = filled(schema, given)
    values = {
        "model": model,
        "widgets": widgets(schema, given),
        "raw": _as_text(given),
        "files": (files or {}).get("files", []),
        # Sent with the form: a second click repeats the same submit, and pays nothing.
        "submit_key": new_token(page.context.ids.secret()),
        **await _priced(page, model_id, given, {}),
    }
    return page.render("model.html", values)


def _as_text(given: JsonObject) -> str:
    text = orjson.dumps(given)
    is_small = len(text) <= MAX_LAID_OUT_BYTES
    return (orjson.dumps(given, option=orjson.OPT_INDENT_2) if is_small else text).decode()


async def _given_input(page: Page, request_id: str) -> dict[str, Any]:
    identity = page.user.identity
    if not request_id or not isinstance(identity, Credential):
        return {}
    text = await read_input(page.context.stores.jobs, identity, request_id)
    if text and len(text) > MAX_FORM_BYTES:
        raise InvalidInput("The input of that request is too large for a form.")
    given = orjson.loads(text) if text else {}
    return given if isinstance(given, dict) else {}


@router.post("/playground-price/{model_id:path}")
async def show_price(page: TenantPage, model_id: str, form: SentForm) -> Response:
    """Return the price of the input in the form, what is wrong with it, and it as code."""
    try:
        given = await _input_of(page, model_id, form)
    except InvalidInput as error:
        return html_response("price.html", {"problem": error})
    values = await _priced(page, model_id, given, form.values(*_OPTIONS))
    return html_response("price.html", values)


@router.post("/playground/{model_id:path}")
async def submit(page: TenantPage, model_id: str, form: SentForm) -> Response:
    """Submit the input in the form, and go to the request."""
    given = await _input_of(page, model_id, form)
    key = (b"idempotency-key", form.get("submit_key").encode("latin-1", "replace"))
    answer = await page.api.send(
        "submit",
        orjson.dumps(given),
        form.values(*_OPTIONS),
        (key,) if key[1] else (),
        model_id=model_id,
    )
    return page.redirect(f"/requests/{answer.document['request_id']}")


async def _input_of(page: Page, model_id: str, form: Form) -> dict[str, Any]:
    """Return the input that a form holds. Raises `InvalidInput`."""
    if form.get("mode") == _JSON_MODE:
        return parse_input(form.get("raw"))
    model = await page.api.read("show_model", model_id=model_id)
    fields: dict[str, list[str]] = defaultdict(list)
    for name, text in form.pairs:
        fields[name].append(text)
    try:
        return parse_object(model.get("input_schema") or {}, fields)
    except WrongField as error:
        raise InvalidInput(str(error)) from error


def parse_input(text: str) -> dict[str, Any]:
    """Return a text as an input. Raises `InvalidInput`."""
    try:
        return parse_json_object(text.encode())
    except MalformedRequest as error:
        raise InvalidInput(error.detail) from error


async def _priced(
    page: Page, model_id: str, given: JsonObject, options: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a submit would cost, or what is wrong with it, and the submit as code."""
    sent = orjson.dumps(given)
    is_small = len(sent) <= MAX_LAID_OUT_BYTES
    code = code_samples(page.api.base_url, model_id, given) if is_small else ()
    if not page.user.may("submit"):
        return {"code": code, "problem": None, "price": None}
    try:
        answer = await page.api.send(
            "submit", sent, {**options, "dry_run": "true"}, model_id=model_id
        )
    except GatewayError as error:
        drop_frames(error)
        return {"code": code, "problem": error, "price": None}
    return {"code": code, "problem": None, "price": answer.document}


def code_samples(base_url: str, model_id: str, given: JsonObject) -> Sequence[tuple[str, str]]:
    """Return the submit of an input as a command and as programs; the key is a variable."""
    text = json.dumps(given, indent=2, ensure_ascii=False)
    quoted = text.replace("'", "'\\''")
    curl = (
        f"curl {base_url}/v1/models/{model_id} \\\n"
        '  -H "Authorization: Bearer $GATEWAY_API_KEY" \\\n'
        '  -H "Idempotency-Key: $(uuidgen)" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d '{quoted}'"
    )
    python = (
        "from runcomfy_gateway_client import Client\n\n"
        "with Client() as client:  # GATEWAY_URL and GATEWAY_API_KEY\n"
        f"    result = client.run({model_id!r}, {given!r})\n"
        "    print(result.output, result.cost)"
    )
    javascript = (
        f"const answer = await fetch({json.dumps(f'{base_url}/v1/models/{model_id}')}, {{\n"
        '  method: "POST",\n'
        "  headers: {\n"
        "    Authorization: `Bearer ${process.env.GATEWAY_API_KEY}`,\n"
        '    "Idempotency-Key": crypto.randomUUID(),\n'
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({text}),\n"
        "});\nconsole.log(await answer.json());"
    )
    return (("curl", curl), ("Python", python), ("JavaScript", javascript))


# Files


@router.post("/files", name="upload")
async def upload_file(page: TenantPage) -> Response:
    """Upload a file; its address then goes into a media field."""
    await page.api.forward("upload_file")
    if "hx-request" in page.request.headers:
        files = await page.api.read("list_files", {"limit": 20})
        return html_response("file_list.html", files)
    return page.redirect("/files", "uploaded")


@router.get("/files")
async def list_files(page: TenantPage) -> Response:
    """List uploaded files."""
    return page.render("files.html", await page.api.read("list_files", {"limit": 200}))
