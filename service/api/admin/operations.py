"""Operators: limits of the whole gateway, the wallet's floor, pauses, the audit log."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from service.admin.limits_and_pauses import change_limits, pause, read_pause, resume, show_limits
from service.api.admin.authentication import ROOT, administered, operators
from service.api.admin.representations import audit_document, gateway_document, pauses_document
from service.api.admin.schemas import AUDIT_EXAMPLE, GATEWAY_EXAMPLE, LIMITS_EXAMPLE
from service.http.authentication import json_body
from service.http.endpoint import Endpoint, Tag, shown
from service.http.openapi import answer, body, parameter, problems
from service.operator_context import Desk
from service.parsing.fields import read_query, read_table, whole

MOST_ENTRIES: Final = 1000
_USUAL_ENTRIES: Final = 100


async def _show(_: Request, desk: Desk) -> Response:
    gateway = await show_limits(desk)
    return shown(gateway_document(gateway, await desk.controls.pauses()))


async def _change(request: Request, desk: Desk) -> Response:
    gateway = await change_limits(desk, await json_body(request))
    return shown(gateway_document(gateway, await desk.controls.pauses()))


async def _pause(request: Request, desk: Desk) -> Response:
    pauses = await pause(desk, read_pause(await json_body(request)))
    return shown({"paused": pauses_document(pauses)})


async def _resume(request: Request, desk: Desk) -> Response:
    pauses = await resume(desk, read_pause(await json_body(request)))
    return shown({"paused": pauses_document(pauses)})


async def _audit(request: Request, desk: Desk) -> Response:
    asked = read_table(
        read_query(request.url.query), {"limit": lambda text: whole(text, 1, MOST_ENTRIES)}
    )
    entries = await desk.controls.audit(asked.get("limit", _USUAL_ENTRIES))
    return shown({"entries": [audit_document(entry) for entry in entries]})


_FAULTS: Final = problems(401, 404, 503)
_WISHES: Final = problems(400, 401, 404, 413, 415, 422, 503)
_LIMIT: Final = parameter(
    "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MOST_ENTRIES}
)
_PAUSED: Final = {"paused": ["tenant:video-team"]}

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        f"{ROOT}/limits",
        administered(_show),
        "admin_show_limits",
        "Show the gateway's limits, wallet and pauses",
        Tag.CONTROLS,
        {200: answer("What is in force.", "Gateway", GATEWAY_EXAMPLE), **_FAULTS},
        operators(),
    ),
    Endpoint(
        "PATCH",
        f"{ROOT}/limits",
        administered(_change),
        "admin_change_limits",
        "Change the gateway's limits or the wallet's floor",
        Tag.CONTROLS,
        {200: answer("As they are now.", "Gateway", GATEWAY_EXAMPLE), **_WISHES},
        operators(requestBody=body("GatewayLimits", LIMITS_EXAMPLE, required=False)),
        "Only what the body names; null takes a limit away. What runs goes on.",
    ),
    Endpoint(
        "POST",
        f"{ROOT}/pause",
        administered(_pause),
        "admin_pause",
        "Pause everything, a tenant or a model",
        Tag.CONTROLS,
        {200: answer("All that is paused.", "Paused", _PAUSED), **_WISHES},
        operators(requestBody=body("Pausable", {"tenant": "video-team"})),
        "Nothing of it leaves for RunComfy; jobs are taken in, wait and are not lost.",
    ),
    Endpoint(
        "POST",
        f"{ROOT}/resume",
        administered(_resume),
        "admin_resume",
        "Resume what was paused",
        Tag.CONTROLS,
        {200: answer("All that is still paused.", "Paused", {"paused": []}), **_WISHES},
        operators(requestBody=body("Pausable", {"all": True})),
    ),
    Endpoint(
        "GET",
        f"{ROOT}/audit",
        administered(_audit),
        "admin_audit",
        "What operators did, newest first",
        Tag.CONTROLS,
        {200: answer("The latest acts.", "Audit", AUDIT_EXAMPLE), **problems(400), **_FAULTS},
        operators(_LIMIT),
    ),
)
