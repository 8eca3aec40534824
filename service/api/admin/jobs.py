"""Operators: any tenant's job, and submits in doubt."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import InvalidInput, NotFound
from core.ids import may_be_id
from core.jobs.in_doubt import Attach, Lost, Resend, Resolution
from core.representations.jobs import detail_document, page_document
from service.admin.in_doubt import list_doubts, resolve_doubt
from service.admin.jobs import list_jobs
from service.api.admin.authentication import ROOT, administered, operators
from service.api.admin.representations import doubt_document
from service.api.admin.schemas import DOUBT_EXAMPLE, RESOLUTION_EXAMPLE, RESOLUTIONS
from service.api.jobs.list_query import read_job_query
from service.api.jobs.parameters import JOB_ID, JOB_LIST_PARAMETERS, TENANT
from service.api.schemas import DETAIL_EXAMPLE, REQUESTS_EXAMPLE
from service.http.authentication import json_body, links_for
from service.http.endpoint import Endpoint, Tag, json_answer, shown
from service.http.openapi import answer, body, problems
from service.http.request_context import exchange_of
from service.operator_context import Desk


async def _detail(request: Request, desk: Desk) -> Response:
    job_id: str = request.path_params["request_id"]
    view = await desk.jobs.view(job_id) if may_be_id(job_id) else None
    if view is None:
        raise NotFound
    exchange_of(request.scope).job_id = job_id
    links = links_for(request)
    return json_answer(detail_document(view.record, links, view.timeline, view.delivery_ids))


async def _list(request: Request, desk: Desk) -> Response:
    query = read_job_query(request.url.query)
    page = await list_jobs(desk, request.path_params["tenant"], query)
    return shown(page_document(page, links_for(request)))


async def _list_doubts(_: Request, desk: Desk) -> Response:
    return shown({"doubts": [doubt_document(view) for view in await list_doubts(desk)]})


async def _resolve(request: Request, desk: Desk) -> Response:
    job_id: str = request.path_params["request_id"]
    await resolve_doubt(desk, job_id, read_resolution(await json_body(request)))
    return await _detail(request, desk)


def read_resolution(raw: dict[str, Any]) -> Resolution:
    """What a person decided. Raises `InvalidInput`."""
    match raw:
        case {"resolution": "attach", "upstream_request_id": str(upstream_id), **rest} if not rest:
            return Attach(upstream_id)
        case {"resolution": "lost", **rest} if not rest:
            return Lost()
        case {"resolution": "resend", **rest} if not rest:
            return Resend()
        case _:
            raise InvalidInput(
                f"resolution must be one of {', '.join(RESOLUTIONS)}; "
                "attach needs upstream_request_id."
            )


ENDPOINTS: Final = (
    Endpoint(
        "GET",
        f"{ROOT}/tenants/{{tenant}}/requests",
        administered(_list),
        "admin_list_requests",
        "List a tenant's requests, newest first",
        Tag.CONTROLS,
        {
            200: answer("A page of them.", "Requests", REQUESTS_EXAMPLE),
            **problems(400, 401, 404, 503),
        },
        operators(TENANT, *JOB_LIST_PARAMETERS),
        "As the tenant's own `GET /v1/requests`.",
    ),
    Endpoint(
        "GET",
        f"{ROOT}/requests/{{request_id}}",
        administered(_detail),
        "admin_detail",
        "Everything about any tenant's request",
        Tag.CONTROLS,
        {
            200: answer("The request with its timeline.", "Detail", DETAIL_EXAMPLE),
            **problems(401, 404, 503),
        },
        operators(JOB_ID),
    ),
    Endpoint(
        "GET",
        f"{ROOT}/doubts",
        administered(_list_doubts),
        "admin_list_doubts",
        "Submits in doubt, the longest first",
        Tag.CONTROLS,
        {
            200: answer("What is known of each.", "Doubts", {"doubts": [DOUBT_EXAMPLE]}),
            **problems(401, 404, 503),
        },
        operators(),
        "RunComfy may have taken, and charged for, each of them: look at its web history.",
    ),
    Endpoint(
        "POST",
        f"{ROOT}/doubts/{{request_id}}",
        administered(_resolve),
        "admin_resolve_doubt",
        "Resolve a submit in doubt",
        Tag.CONTROLS,
        {
            200: answer("The request as it is now.", "Detail", DETAIL_EXAMPLE),
            **problems(400, 401, 404, 409, 413, 415, 422, 503),
        },
        operators(JOB_ID, requestBody=body("ResolutionWish", RESOLUTION_EXAMPLE)),
        "`attach`: RunComfy has it under the id that you give, and the job goes on from there. "
        "`lost`: the job fails, `billed: unknown`. `resend`: exactly one further submit may leave, "
        "though the first may have been charged.",
    ),
)
