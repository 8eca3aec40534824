"""Operators: any tenant's job, and submits in doubt."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import InvalidInput, NotFound
from core.ids import is_valid_id
from core.jobs.in_doubt import Attach, MarkLost, Resend, Resolution
from core.representations.jobs import job_details_to_json, job_page_representation
from service.admin.in_doubt import list_in_doubt, resolve_in_doubt
from service.admin.jobs import list_jobs
from service.admin.representations import in_doubt_representation
from service.api.admin.authentication import ADMIN_ROOT, admin_openapi_extra, require_admin
from service.api.admin.schemas import IN_DOUBT_EXAMPLE, RESOLUTION_EXAMPLE, RESOLUTIONS
from service.api.jobs.parameters import JOB_ID, JOB_LIST_PARAMETERS, TENANT
from service.api.schemas import DETAIL_EXAMPLE, REQUESTS_EXAMPLE
from service.http.authentication import read_json_body, request_links
from service.http.endpoint import ApiOperation, Tag, json_bytes_response, json_response
from service.http.openapi import problem_responses, request_body_spec, response_spec
from service.http.request_context import request_context
from service.jobs.list_query import parse_job_query
from service.operator_context import AdminContext


async def _detail(request: Request, admin: AdminContext) -> Response:
    job_id: str = request.path_params["request_id"]
    view = await admin.jobs.load_view(job_id) if is_valid_id(job_id) else None
    if view is None:
        raise NotFound
    request_context(request.scope).job_id = job_id
    links = request_links(request)
    return json_bytes_response(
        job_details_to_json(view.record, links, view.timeline, view.delivery_ids)
    )


async def _list(request: Request, admin: AdminContext) -> Response:
    query = parse_job_query(request.url.query)
    page = await list_jobs(admin, request.path_params["tenant"], query)
    return json_response(job_page_representation(page, request_links(request)))


async def _list_in_doubt(_: Request, admin: AdminContext) -> Response:
    return json_response(
        {"doubts": [in_doubt_representation(view) for view in await list_in_doubt(admin)]}
    )


async def _resolve(request: Request, admin: AdminContext) -> Response:
    job_id: str = request.path_params["request_id"]
    await resolve_in_doubt(admin, job_id, parse_resolution(await read_json_body(request)))
    return await _detail(request, admin)


def parse_resolution(raw: dict[str, Any]) -> Resolution:
    """What a person decided. Raises `InvalidInput`."""
    match raw:
        case {"resolution": "attach", "upstream_request_id": str(upstream_id), **rest} if not rest:
            return Attach(upstream_id)
        case {"resolution": "lost", **rest} if not rest:
            return MarkLost()
        case {"resolution": "resend", **rest} if not rest:
            return Resend()
        case _:
            raise InvalidInput(
                f"resolution must be one of {', '.join(RESOLUTIONS)}; "
                "attach needs upstream_request_id."
            )


OPERATIONS: Final = (
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/tenants/{{tenant}}/requests",
        require_admin(_list),
        "admin_list_requests",
        "List a tenant's requests, newest first",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("A page of them.", "Requests", REQUESTS_EXAMPLE),
            **problem_responses(400, 401, 404, 503),
        },
        admin_openapi_extra(TENANT, *JOB_LIST_PARAMETERS),
        "As the tenant's own `GET /v1/requests`.",
    ),
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/requests/{{request_id}}",
        require_admin(_detail),
        "admin_detail",
        "Everything about any tenant's request",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("The request with its timeline.", "Detail", DETAIL_EXAMPLE),
            **problem_responses(401, 404, 503),
        },
        admin_openapi_extra(JOB_ID),
    ),
    ApiOperation(
        "GET",
        f"{ADMIN_ROOT}/doubts",
        require_admin(_list_in_doubt),
        "admin_list_doubts",
        "Submits in doubt, the longest first",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("What is known of each.", "Doubts", {"doubts": [IN_DOUBT_EXAMPLE]}),
            **problem_responses(401, 404, 503),
        },
        admin_openapi_extra(),
        "RunComfy may have taken, and charged for, each of them: look at its web history.",
    ),
    ApiOperation(
        "POST",
        f"{ADMIN_ROOT}/doubts/{{request_id}}",
        require_admin(_resolve),
        "admin_resolve_doubt",
        "Resolve a submit in doubt",
        Tag.ADMIN_OPERATIONS,
        {
            200: response_spec("The request as it is now.", "Detail", DETAIL_EXAMPLE),
            **problem_responses(400, 401, 404, 409, 413, 415, 422, 503),
        },
        admin_openapi_extra(
            JOB_ID, requestBody=request_body_spec("ResolutionWish", RESOLUTION_EXAMPLE)
        ),
        "`attach`: RunComfy has it under the id that you give, and the job goes on from there. "
        "`lost`: the job fails, `billed: unknown`. `resend`: exactly one further submit may leave, "
        "though the first may have been charged.",
    ),
)
