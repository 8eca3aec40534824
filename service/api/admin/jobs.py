"""Operators: any tenant's requests, and submits in doubt."""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from core.errors import NotFound
from core.ids import is_valid_id
from core.representations.jobs import Links, job_details_to_json, job_page_representation
from service.admin import in_doubt
from service.admin.jobs import list_all_jobs, list_jobs
from service.admin.representations import in_doubt_representation
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import InDoubtList, ResolutionRequest
from service.http.dependencies import Admin, RequestLinks
from service.http.json_response import json_bytes_response, json_response
from service.http.openapi import Responses, Tag, json_content, problem_responses
from service.http.request_context import request_context
from service.jobs.list_query import JobListQuery
from service.operator_context import AdminContext

router = admin_router(Tag.ADMIN_REQUESTS)
_DETAIL: Final[Responses] = {200: json_content("The request with its timeline.", "Detail")}


@router.get(
    "/tenants/{tenant}/requests",
    responses={
        200: json_content("A page of them.", "Requests"),
        **problem_responses(400),
    },
)
async def list_requests(
    admin: Admin, links: RequestLinks, tenant: str, query: Annotated[JobListQuery, Query()]
) -> Response:
    """List a tenant's requests, newest first.

    As the tenant's own `GET /v1/requests`.
    """
    page = await list_jobs(admin, tenant, query.job_query())
    return json_response(job_page_representation(page, links))


@router.get(
    "/requests",
    responses={200: json_content("A page of them.", "AllRequests"), **problem_responses(400)},
)
async def list_all_requests(
    admin: Admin, links: RequestLinks, query: Annotated[JobListQuery, Query()]
) -> Response:
    """List all tenants' requests, newest first.

    As the list of one tenant, with the tenant of each. Deleted tenants are left out.
    """
    page = await list_all_jobs(admin, query.job_query())
    document = job_page_representation(page, links)
    rows = zip(document["requests"], page.items, strict=True)
    return json_response(
        document | {"requests": [row | {"tenant": job.tenant} for row, job in rows]}
    )


@router.get("/requests/{request_id}", responses=_DETAIL, name="detail")
async def show_request(
    request: Request, admin: Admin, links: RequestLinks, request_id: str
) -> Response:
    """Show everything about any tenant's request.

    That it was read is written to the audit log.
    """
    detail = await _detail(request, admin, links, request_id)
    await admin.record_action("request.read", request_id)
    return detail


@router.get("/doubts", response_model=InDoubtList, name="list_doubts")
async def list_in_doubt(admin: Admin) -> dict[str, Any]:
    """List submits in doubt, the oldest first.

    RunComfy may have accepted, and charged for, each of them: check its web history.
    """
    views = await in_doubt.list_in_doubt(admin)
    return {"doubts": [in_doubt_representation(view) for view in views]}


@router.post("/doubts/{request_id}", responses={**_DETAIL, **WRITE_PROBLEMS}, name="resolve_doubt")
async def resolve_in_doubt(
    request: Request,
    admin: Admin,
    links: RequestLinks,
    request_id: str,
    resolution: ResolutionRequest,
) -> Response:
    """Resolve a submit in doubt.

    `attach`: RunComfy has it under the id that you give. A worker reads its status there; if
    RunComfy knows the id, the job continues from there, else the answer is 409 and the job stays in
    doubt.
    `force` attaches the id all the same, but never one that another job has or had. `undo` takes
    an attached id off again while RunComfy does not know it.
    `lost`: the job fails, `billed: unknown`. `resend`: exactly one more submit may be sent, though
    the first may have been charged.
    """
    await in_doubt.resolve_in_doubt(admin, request_id, resolution.decision())
    return await _detail(request, admin, links, request_id)


async def _detail(request: Request, admin: AdminContext, links: Links, job_id: str) -> Response:
    view = await admin.stores.jobs.load_view(job_id) if is_valid_id(job_id) else None
    if view is None:
        raise NotFound
    request_context(request.scope).job_id = job_id
    return json_bytes_response(
        job_details_to_json(view.record, links, view.timeline, view.delivery_ids)
    )
