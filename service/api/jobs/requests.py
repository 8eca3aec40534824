"""Operations on requests: list, status, result, details, cancel and delete.

Each read is one round trip to the store.
"""

from contextlib import nullcontext
from functools import partial
from math import ceil
from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from core.jobs.job import CancelOutcome, Job
from core.jobs.run_times import estimate_finish, poll_hint
from core.representations.jobs import (
    cancellation_to_json,
    job_details_to_json,
    job_page_representation,
    result_to_json,
    status_to_json,
)
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from service.api.jobs.lookup import (
    credential_and_id,
    load_view,
    load_view_when_ended,
    wait_for_change,
)
from service.api.jobs.parameters import INCLUDE_COST, JOB_ID, PREFER_WAIT
from service.context import app_context
from service.http.authentication import output_links, request_links
from service.http.dependencies import Context, ReadKey, RequestLinks
from service.http.json_response import json_bytes_response, json_response
from service.http.openapi import Tag, json_content, problem_responses
from service.http.request_context import query_text, request_context
from service.http.strict_route import FastRoute, api_router
from service.jobs.cancel import MAX_CANCEL_WAIT, pending_cancel_outcome
from service.jobs.delete import delete_job
from service.jobs.list_query import JobListQuery
from service.parsing.fields import parse_boolean, parse_query, parse_query_fields
from service.streaming.subscriptions import Subscription
from service.webhooks.tenant_view import timeline_for_tenant

_PATH: Final = "/v1/requests/{request_id}"
router = api_router(Tag.REQUESTS, 400, 401, 403, 429, 503)
fast_router = api_router(Tag.REQUESTS, 400, 401, 403, 404, 429, 503, route=FastRoute)


@fast_router.get(
    f"{_PATH}/status",
    responses={200: json_content("The current status.", "Status")},
    openapi_extra={"parameters": [JOB_ID, PREFER_WAIT]},
)
async def status(request: Request) -> Response:
    """Get the status of a request.

    Until the request has ended, `Retry-After` suggests when to poll again. It and
    `estimated_finish` are computed from the model's last runs. `Prefer: wait=N` waits for the end
    first.
    """
    context = app_context(request.scope)
    view, headers = await load_view_when_ended(request, Projection.STATUS)
    job, now = view.record.job, context.clock.now()
    history = context.run_times.get(job.model_id)
    if not job.is_final:
        hint = poll_hint(job, history, now, context.policy.hints)
        headers = {**headers, "retry-after": str(ceil(hint.total_seconds()))}
    body = status_to_json(job, request_links(request), estimate_finish(job, history, now))
    return json_bytes_response(body, headers=headers)


@fast_router.get(
    f"{_PATH}/result",
    responses={
        200: json_content("The result; before the end the current status.", "Result"),
        **problem_responses(400),
    },
    openapi_extra={"parameters": [JOB_ID, INCLUDE_COST, PREFER_WAIT]},
)
async def result(request: Request) -> Response:
    """Get the result of a request.

    `Prefer: wait=N` waits for the end first.
    """
    includes_cost = _parse_include_cost(request)
    view, headers = await load_view_when_ended(request, Projection.RESULT)
    return json_bytes_response(
        result_to_json(view.record, output_links(request), include_cost=includes_cost),
        headers=headers,
    )


@fast_router.get(
    _PATH,
    responses={200: json_content("The request with its timeline.", "Detail")},
    openapi_extra={"parameters": [JOB_ID]},
)
async def detail(request: Request) -> Response:
    """Get all details of a request."""
    view = await load_view(request, Projection.ALL)
    links = request_links(request)
    return json_bytes_response(
        job_details_to_json(
            view.record,
            links,
            timeline_for_tenant(view.timeline),
            view.delivery_ids,
            output_links(request),
        )
    )


@fast_router.post(
    f"{_PATH}/cancel",
    responses={
        202: json_content("Something was cancelled, or requested.", "Cancel"),
        200: json_content("Nothing was left to cancel.", "Cancel"),
        **problem_responses(409),
    },
    openapi_extra={"parameters": [JOB_ID]},
)
async def cancel(request: Request) -> Response:
    """Cancel a request.

    Immediate and free while the request waits in the gateway. After that the cancel is passed on
    to RunComfy, whose answer is waited for up to 2 s: `cancelled`, or `not_cancellable` for a
    request that RunComfy already runs. `requested` means that no answer came; the cancel goes on,
    and the request's `cancel_outcome` shows what became of it.
    """
    credential, job_id = await credential_and_id(request, Scope.CANCEL)
    context = app_context(request.scope)
    # Subscribed before the cancel, so that RunComfy's answer cannot be missed.
    with (
        context.subscriptions.subscribe(job_id, credential.tenant) or nullcontext() as subscription
    ):
        done = await context.job_canceller.cancel(credential, job_id)
        request_context(request.scope).job_id = job_id
        job, outcome = done.job, done.outcome
        if outcome is CancelOutcome.REQUESTED and subscription is not None:
            subscription.seen_version = job.version
            job = await _wait_for_outcome(request, subscription, credential, job)
            outcome = pending_cancel_outcome(job)
    return json_bytes_response(cancellation_to_json(job, outcome), 202 if done.is_acted_on else 200)


async def _wait_for_outcome(
    request: Request, subscription: Subscription, credential: Credential, job: Job
) -> Job:
    """Return the job once RunComfy answered the cancel, or as it is after `MAX_CANCEL_WAIT`."""
    jobs = app_context(request.scope).stores.jobs
    read = partial(jobs.read, credential, job.id, Projection.STATUS, Scope.CANCEL)

    def is_answered(view: JobView) -> bool:
        return pending_cancel_outcome(view.record.job) is not CancelOutcome.REQUESTED

    view = await wait_for_change(request, is_answered, subscription, read, MAX_CANCEL_WAIT)
    return job if view is None else view.record.job


@fast_router.delete(
    _PATH,
    status_code=204,
    responses={204: {"description": "The request is deleted."}, **problem_responses(409)},
    openapi_extra={"parameters": [JOB_ID]},
)
async def delete_request(request: Request) -> Response:
    """Delete a request.

    Deletes input, output, timeline and deliveries; the cost stays in the usage. Only for a request
    that has ended and has no delivery pending; `held` deliveries are deleted too. Requires a key
    with the scope `cancel`.
    """
    credential, job_id = await credential_and_id(request, Scope.CANCEL)
    request_context(request.scope).job_id = job_id
    context = app_context(request.scope)
    await delete_job(
        context.stores.jobs, context.stores.job_index, context.emit, credential, job_id
    )
    return Response(status_code=204)


def _parse_include_cost(request: Request) -> bool:
    # Clients of RunComfy send the option without a value too: that is its default.
    given = parse_query(query_text(request.scope)).get("include_cost")
    if not given:
        return True
    fields = parse_query_fields({"include_cost": given}, {"include_cost": parse_boolean})
    return bool(fields["include_cost"])


@router.get("/v1/requests", responses={200: json_content("A page of requests.", "Requests")})
async def list_requests(
    key: ReadKey, context: Context, links: RequestLinks, query: Annotated[JobListQuery, Query()]
) -> Response:
    """List requests, newest first.

    Filters are combined with *and*. A page may have fewer than `limit` requests and still have a
    `next_cursor`: a filter reads a bounded number at a time. Requests that are admitted, end or
    are deleted meanwhile neither repeat nor hide older ones.
    """
    page = await context.stores.job_index.list_page(key, query.job_query())
    return json_response(job_page_representation(page, links))
