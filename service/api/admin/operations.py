"""Operators: limits of the whole gateway, the wallet's floor, pauses, the audit log."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from service.admin.limits_and_pauses import change_limits, load_limits, parse_pause, pause, resume
from service.admin.representations import (
    audit_entry_representation,
    gateway_representation,
    pauses_representation,
)
from service.api.admin.authentication import ADMIN_ROOT, admin_openapi_extra, require_admin
from service.api.admin.schemas import AUDIT_EXAMPLE, GATEWAY_EXAMPLE, LIMITS_EXAMPLE
from service.http.authentication import read_json_body
from service.http.endpoint import ApiOperation, Tag, json_response
from service.http.openapi import parameter, problem_responses, request_body_spec, response_spec
from service.operator_context import AdminContext
from service.parsing.fields import parse_integer, parse_query, parse_query_fields

MAX_ENTRIES: Final = 1000
_DEFAULT_ENTRIES: Final = 100


async def _show(_: Request, admin: AdminContext) -> Response:
    gateway = await load_limits(admin)
    return json_response(gateway_representation(gateway, await admin.operations.list_pauses()))


async def _change(request: Request, admin: AdminContext) -> Response:
    gateway = await change_limits(admin, await read_json_body(request))
    return json_response(gateway_representation(gateway, await admin.operations.list_pauses()))


async def _pause(request: Request, admin: AdminContext) -> Response:
    pauses = await pause(admin, parse_pause(await read_json_body(request)))
    return json_response({"paused": pauses_representation(pauses)})


async def _resume(request: Request, admin: AdminContext) -> Response:
    pauses = await resume(admin, parse_pause(await read_json_body(request)))
    return json_response({"paused": pauses_representation(pauses)})


async def _audit(request: Request, admin: AdminContext) -> Response:
    asked = parse_query_fields(
        parse_query(request.url.query), {"limit": lambda text: parse_integer(text, 1, MAX_ENTRIES)}
    )
    entries = await admin.operations.list_audit_entries(asked.get("limit", _DEFAULT_ENTRIES))
    return json_response({"entries": [audit_entry_representation(entry) for entry in entries]})


_READ_PROBLEMS: Final = problem_responses(401, 404, 503)
_WRITE_PROBLEMS: Final = problem_responses(400, 401, 404, 413, 415, 422, 503)
_LIMIT: Final = parameter(
    "limit", "How many.", {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES}
)
_PAUSED_EXAMPLE: Final = {"paused": ["tenant:video-team"]}

OPERATIONS: Final = (
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/limits",
        require_admin(_show),
        "admin_show_limits",
        "Show the gateway's limits, wallet and pauses",
        Tag.ADMIN_OPERATIONS,
        {200: response_spec("What is in force.", "Gateway", GATEWAY_EXAMPLE), **_READ_PROBLEMS},
        admin_openapi_extra(),
    ),
    ApiOperation(
        "PATCH",
        f"{ADMIN_ROOT}/limits",
        require_admin(_change),
        "admin_change_limits",
        "Change the gateway's limits or the wallet's floor",
        Tag.ADMIN_OPERATIONS,
        {200: response_spec("As they are now.", "Gateway", GATEWAY_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(
            requestBody=request_body_spec("GatewayLimits", LIMITS_EXAMPLE, required=False)
        ),
        "Only what the body names; null takes a limit away. What runs goes on.",
    ),
    ApiOperation(
        "POST",
        f"{ADMIN_ROOT}/pause",
        require_admin(_pause),
        "admin_pause",
        "Pause everything, a tenant or a model",
        Tag.ADMIN_OPERATIONS,
        {200: response_spec("All that is paused.", "Paused", _PAUSED_EXAMPLE), **_WRITE_PROBLEMS},
        admin_openapi_extra(requestBody=request_body_spec("Pausable", {"tenant": "video-team"})),
        "Nothing of it leaves for RunComfy; jobs are taken in, wait and are not lost.",
    ),
    ApiOperation(
        "POST",
        f"{ADMIN_ROOT}/resume",
        require_admin(_resume),
        "admin_resume",
        "Resume what was paused",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("All that is still paused.", "Paused", {"paused": []}),
            **_WRITE_PROBLEMS,
        },
        admin_openapi_extra(requestBody=request_body_spec("Pausable", {"all": True})),
    ),
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/audit",
        require_admin(_audit),
        "admin_audit",
        "What operators did, newest first",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("The latest acts.", "Audit", AUDIT_EXAMPLE),
            **problem_responses(400),
            **_READ_PROBLEMS,
        },
        admin_openapi_extra(_LIMIT),
    ),
)
