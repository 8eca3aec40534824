"""Requests: their list, and one's status, result, details, cancellation and deletion.

Each read is one round trip.
"""

from math import ceil
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import MalformedRequest
from core.jobs.run_times import estimate, poll_hint
from core.representations.jobs import (
    cancel_document,
    detail_document,
    page_document,
    result_document,
    status_document,
)
from core.store.jobs import Depth
from core.tenants.api_keys import Scope
from service.api.jobs.list_query import read_job_query
from service.api.jobs.lookup import awaited, named, view_of
from service.api.jobs.parameters import INCLUDE_COST, JOB_ID, JOB_LIST_PARAMETERS, PREFER_WAIT
from service.api.schemas import (
    CANCEL_EXAMPLE,
    DETAIL_EXAMPLE,
    REQUESTS_EXAMPLE,
    RESULT_EXAMPLE,
    STATUS_EXAMPLE,
)
from service.context import resources_of
from service.http.authentication import key_of, links_for
from service.http.endpoint import Endpoint, Tag, json_answer, shown
from service.http.openapi import answer, problems
from service.http.request_context import exchange_of
from service.jobs.cancel import cancel_job
from service.jobs.delete import delete_job
from service.parsing.fields import flag, read_query, read_table


async def status(request: Request) -> Response:
    """Where a job stands."""
    resources = resources_of(request.scope)
    view, headers = await awaited(request, Depth.STATUS)
    job, now = view.record.job, resources.clock.now()
    history = resources.histories.of(job.model_id)
    if not job.final:
        hint = poll_hint(job, history, now, resources.policy.hints)
        headers = {**headers, "retry-after": str(ceil(hint.total_seconds()))}
    body = status_document(job, links_for(request), estimate(job, history, now))
    return json_answer(body, headers=headers)


async def result(request: Request) -> Response:
    """What a job brought, or where it stands."""
    includes_cost = _includes_cost(request)
    view, headers = await awaited(request, Depth.RESULT)
    return json_answer(result_document(view.record, include_cost=includes_cost), headers=headers)


async def detail(request: Request) -> Response:
    """Everything about a job, with its history."""
    view = await view_of(request, Depth.ALL)
    links = links_for(request)
    return json_answer(detail_document(view.record, links, view.timeline, view.delivery_ids))


async def cancel(request: Request) -> Response:
    """Cancel as far as that is possible, and say how far."""
    credential, job_id = await named(request, Scope.CANCEL)
    cancelled = await cancel_job(resources_of(request.scope), credential, job_id)
    exchange_of(request.scope).job_id = job_id
    return json_answer(cancel_document(cancelled.job, cancelled.outcome))


async def list_requests(request: Request) -> Response:
    """The tenant's jobs, newest first."""
    resources, credential = resources_of(request.scope), key_of(request)
    try:
        query = read_job_query(request.url.query)
    except MalformedRequest:
        await resources.jobs.authenticate(credential, Scope.READ)
        raise
    page = await resources.listed.page(credential, query)
    return shown(page_document(page, links_for(request)))


async def delete(request: Request) -> Response:
    """Forget a job that has ended."""
    credential, job_id = await named(request, Scope.CANCEL)
    exchange_of(request.scope).job_id = job_id
    await delete_job(resources_of(request.scope), credential, job_id)
    return Response(status_code=204)


def _includes_cost(request: Request) -> bool:
    given = read_query(request.url.query).get("include_cost", "false")
    return bool(read_table({"include_cost": given}, {"include_cost": flag})["include_cost"])


_LIST: Final = "/v1/requests"
_ROOT: Final = "/v1/requests/{request_id}"
_PROBLEMS: Final = problems(401, 403, 404, 503)

ENDPOINTS: Final = (
    Endpoint(
        "GET",
        _LIST,
        list_requests,
        "list_requests",
        "List requests, newest first",
        Tag.REQUESTS,
        {
            200: answer("A page of them.", "Requests", REQUESTS_EXAMPLE),
            **problems(400, 401, 403, 503),
        },
        {"parameters": JOB_LIST_PARAMETERS},
        "Filters are joined by *and*. A page may hold fewer than `limit` and still have a "
        "`next_cursor`: a filter looks through a bounded number at a time. What is admitted, ends "
        "or is deleted meanwhile neither repeats nor hides an older request.",
    ),
    Endpoint(
        "GET",
        f"{_ROOT}/status",
        status,
        "status",
        "Where a request stands",
        Tag.REQUESTS,
        {200: answer("The present status.", "Status", STATUS_EXAMPLE), **_PROBLEMS},
        {"parameters": [JOB_ID, PREFER_WAIT]},
        "`Retry-After` hints at when to ask again, until the request has ended; it and "
        "`estimated_finish` are learnt from the model's last runs. `Prefer: wait=N` waits for the "
        "end first.",
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
        {"parameters": [JOB_ID, INCLUDE_COST, PREFER_WAIT]},
        "`Prefer: wait=N` waits for the end first.",
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
    Endpoint(
        "DELETE",
        _ROOT,
        delete,
        "delete_request",
        "Delete a request",
        Tag.REQUESTS,
        {204: {"description": "It is gone."}, **problems(401, 403, 404, 409, 503)},
        {"parameters": [JOB_ID]},
        "Its input, output, history and callbacks are forgotten at once; what it cost stays in "
        "the usage. Only of a request that has ended, with no callback still to come; `held` ones "
        "go with it. It takes a key that may cancel.",
    ),
)
