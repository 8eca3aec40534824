"""A kept output of a request: its content, by key or by signed link."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.archive import MAX_OUTPUTS, ArchivedOutput
from core.errors import NotFound
from core.files.records import file_object_name
from core.ids import is_valid_id
from core.jobs.job import Job
from core.objects.links import EXPIRES, SIGNATURE, output_path
from core.objects.media_type import file_extension
from core.store.jobs import Projection
from service.api.files import CONTENT_RESPONSES, parse_signature
from service.api.jobs.lookup import load_view
from service.api.jobs.parameters import JOB_ID
from service.context import app_context
from service.http.object_response import ObjectContent, object_response
from service.http.openapi import Tag, parameter, problem_responses
from service.http.request_context import request_context
from service.http.strict_route import FastRoute, api_router

router = api_router(Tag.REQUESTS, 400, 401, 403, 404, 429, 503, route=FastRoute)
_INDEX: Final = parameter(
    "index",
    "Which of the request's `outputs`.",
    {"type": "integer", "minimum": 0, "maximum": MAX_OUTPUTS - 1},
    "path",
)
_NO_LINK: Final = "This link does not fit, or has expired."


@router.get(
    "/v1/requests/{request_id}/outputs/{index}",
    responses={**CONTENT_RESPONSES, **problem_responses(400)},
    openapi_extra={
        "parameters": [
            JOB_ID,
            _INDEX,
            parameter(EXPIRES, "Of a signed link.", {"type": "integer"}),
            parameter(SIGNATURE, "Of a signed link.", {"type": "string"}),
        ]
    },
)
async def get_output(request: Request) -> Response:
    """Get a kept output of a request.

    With a key of its tenant, or by the signed `url` in the request's `outputs`, which a browser can
    open for a day. `Range`, `If-Range` and `If-None-Match` are supported. Deleting the request
    revokes its links.
    """
    job = await _authorized_job(request)
    output = _find_output(job, request.path_params["index"])
    file_id, media_type = output.file_id or "", output.media_type or ""
    content = ObjectContent(
        name=file_object_name(job.tenant, file_id),
        size=output.bytes or 0,
        sha256=output.sha256 or "",
        media_type=media_type,
        file_name=f"{file_id}.{file_extension(media_type)}",
    )
    return await object_response(request, app_context(request.scope).files.objects, content)


async def _authorized_job(request: Request) -> Job:
    """Return the job, if link or key permit."""
    signature, context = parse_signature(request), app_context(request.scope)
    if signature is None:
        return (await load_view(request, Projection.STATUS)).record.job
    job_id, index = request.path_params["request_id"], request.path_params["index"]
    record = await context.stores.jobs.load(job_id) if is_valid_id(job_id) else None
    if record is None or not record.job.link_secret:
        raise NotFound(_NO_LINK)
    secret, path = bytes.fromhex(record.job.link_secret), output_path(job_id, index)
    if not signature.is_valid(secret, path, context.clock.now()):
        raise NotFound(_NO_LINK)
    request_context(request.scope).job_id = job_id
    return record.job


def _find_output(job: Job, index: str) -> ArchivedOutput:
    """Return an output that is kept. Raises `NotFound`."""
    position = int(index) if index.isascii() and index.isdecimal() and len(index) <= 3 else -1  # noqa: PLR2004 - digits of `MAX_OUTPUTS`
    if not job.is_final or not 0 <= position < len(job.outputs):
        raise NotFound("The request has no such output that is kept.")
    output = job.outputs[position]
    if output.file_id is None:
        raise NotFound(f"The output is not kept: {output.error}.")
    return output
