"""One request's status, result, details and cancellation. Each read is one round trip."""

import re
from math import ceil
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.documents import cancel_document, detail_document, result_document, status_document
from core.errors import MalformedRequest, NotFound
from core.store.jobs import Depth, JobView
from core.tenants import Credential, Scope
from service.auth import presented
from service.cancellation import cancel_job
from service.exchange import exchange_of, resources_of
from service.links import links_of
from service.openapi import INCLUDE_COST, JOB_ID, problems
from service.options import read_flag, read_query
from service.routes.endpoint import Endpoint, Tag, json_answer
from service.schemas import (
    CANCEL_EXAMPLE,
    DETAIL_EXAMPLE,
    RESULT_EXAMPLE,
    STATUS_EXAMPLE,
    answer,
)

# RunComfy's own bound on its ids; ours are shorter.
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


async def status(request: Request) -> Response:
    """Where a job stands."""
    resources = resources_of(request.scope)
    job = (await _view(request, Depth.STATUS)).record.job
    links = links_of(request.scope, resources.policy.public_url)
    hint = {"retry-after": str(ceil(resources.policy.poll_hint.total_seconds()))}
    return json_answer(status_document(job, links), headers=None if job.final else hint)


async def result(request: Request) -> Response:
    """What a job brought, or where it stands."""
    view = await _view(request, Depth.RESULT)
    return json_answer(result_document(view.record, include_cost=_includes_cost(request)))


async def detail(request: Request) -> Response:
    """Everything about a job, with its history."""
    view = await _view(request, Depth.ALL)
    links = links_of(request.scope, resources_of(request.scope).policy.public_url)
    return json_answer(detail_document(view.record, links, view.timeline, view.delivery_ids))


async def cancel(request: Request) -> Response:
    """Cancel as far as that is possible, and say how far."""
    credential, job_id = await _named(request, Scope.CANCEL)
    cancelled = await cancel_job(resources_of(request.scope), credential, job_id)
    exchange_of(request.scope).job_id = job_id
    return json_answer(cancel_document(cancelled.job, cancelled.outcome))


async def _view(request: Request, depth: Depth) -> JobView:
    credential, job_id = await _named(request, Scope.READ)
    view = await resources_of(request.scope).jobs.read(credential, job_id, depth)
    exchange_of(request.scope).job_id = job_id
    return view


async def _named(request: Request, scope: Scope) -> tuple[Credential, str]:
    """Whose request is asked for. What cannot be an id is not looked for."""
    credential = presented(request.headers)
    exchange_of(request.scope).tenant = credential.tenant
    job_id: str = request.path_params["request_id"]
    if not _JOB_ID.fullmatch(job_id):
        await resources_of(request.scope).jobs.authenticate(credential, scope)
        raise NotFound
    return credential, job_id


def _includes_cost(request: Request) -> bool:
    text = read_query(request.url.query).get("include_cost", "false")
    try:
        return read_flag(text)
    except ValueError as error:
        raise MalformedRequest(f"include_cost {error}.") from error


_ROOT: Final = "/v1/requests/{request_id}"
_PROBLEMS: Final = problems(401, 403, 404, 503)

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        f"{_ROOT}/status",
        status,
        "status",
        "Where a request stands",
        Tag.REQUESTS,
        {200: answer("The present status.", "Status", STATUS_EXAMPLE), **_PROBLEMS},
        {"parameters": [JOB_ID]},
        "`Retry-After` hints at when to ask again, until the request has ended.",
    ),
    Endpoint(
        "GET",
        f"{_ROOT}/result",
        result,
        "result",
        "What a request brought",
        Tag.REQUESTS,
        {
            200: answer("The result; before the end the present status.", "Result", RESULT_EXAMPLE),
            **problems(400, 401, 403, 404, 503),
        },
        {"parameters": [JOB_ID, INCLUDE_COST]},
    ),
    Endpoint(
        "POST",
        f"{_ROOT}/cancel",
        cancel,
        "cancel",
        "Cancel a request",
        Tag.REQUESTS,
        {
            200: answer("What became of the cancel.", "Cancel", CANCEL_EXAMPLE),
            **problems(401, 403, 404, 409, 503),
        },
        {"parameters": [JOB_ID]},
        "Free and at once while the request waits with the gateway; passed on to RunComfy after "
        "that (`requested`); a request that RunComfy already runs is `not_cancellable`.",
    ),
    Endpoint(
        "GET",
        _ROOT,
        detail,
        "detail",
        "Everything about a request",
        Tag.REQUESTS,
        {200: answer("The request with its timeline.", "Detail", DETAIL_EXAMPLE), **_PROBLEMS},
        {"parameters": [JOB_ID]},
    ),
)
