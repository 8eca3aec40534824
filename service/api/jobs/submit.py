"""Submitting: from bytes to 202 in one round trip to the store, or to the result for who waits."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import CallerError, StoreSilent
from core.jobs.job import Job, JobRecord, JobState
from core.jobs.run_times import estimate_finish
from core.representations.jobs import result_to_json, status_to_json
from core.store.jobs import JobView, Projection
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import CacheStatus
from core.transactions.admission import Admission, AdmissionResult
from service.api.jobs.parameters import SUBMIT_BODY, SUBMIT_PARAMETERS
from service.api.schemas import ACCEPTED_EXAMPLE, RATELIMIT_HEADERS, RESULT_EXAMPLE
from service.context import SUBMIT_ROUTE, AppContext, app_context
from service.errors import AcceptanceUnclear
from service.http.authentication import bearer_credential
from service.http.endpoint import ApiOperation, Tag, json_bytes_response
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    digest_idempotency_key,
    parse_idempotency_key,
)
from service.http.openapi import problem_responses, response_spec
from service.http.prefer_header import PREFER, parse_wait_preference, preference_applied_header
from service.http.request_body import check_content_type, read_body
from service.http.request_context import build_links, request_context
from service.jobs.admission import (
    ModelDefaults,
    SubmitRequest,
    build_admission,
    dry_run_to_json,
    emit_admitted,
)
from service.jobs.submit_options import parse_options
from service.rate_limit_headers import rate_limit_headers
from service.streaming.long_poll import wait_for_end, watch_disconnect
from service.streaming.subscriptions import Subscription

CACHE_HEADER: Final = "gateway-cache"


async def submit(request: Request) -> Response:
    """Take a job in. A wrong key learns nothing: what is wrong with the rest is said after it."""
    resources = app_context(request.scope)
    credential = bearer_credential(request.headers)
    request_context(request.scope).tenant = credential.tenant
    try:
        submission = await _parse_submit(request, resources, credential)
        admission = _build_admission(resources, submission)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    if admission.dry_run:
        admitted = await _admit(request, resources, admission)
        return json_bytes_response(
            dry_run_to_json(admission, admitted), headers=_response_headers(admitted)
        )
    wait = parse_wait_preference(request.headers.getlist(PREFER), resources.policy.max_wait)
    # The place is taken before the job is: no news of it can be missed.
    waiter = resources.subscriptions.subscribe(admission.job.id, final_only=True) if wait else None
    if wait is None or waiter is None:
        admitted = await _admit(request, resources, admission)
        return _response(
            request, resources, _record(admission, admitted), _response_headers(admitted)
        )
    with waiter:
        admitted = await _admit(request, resources, admission)
        record, more = (
            _record(admission, admitted),
            _response_headers(admitted) | preference_applied_header(wait),
        )
        if record.job.is_final:
            return _response(request, resources, record, more)
        waiter.switch_job(record.job.id)
        place = _WaitOptions(waiter, wait, more)
        return await _wait_and_respond(request, resources, credential, record.job, place)


def _build_admission(context: AppContext, submit_request: SubmitRequest) -> Admission:
    model_id, now = submit_request.model_id, context.clock.now()
    policy = context.policy
    usual = ModelDefaults(policy.options.deadlines_of(model_id), policy.cache.rule_for(model_id))
    return build_admission(
        submit_request, context.model_cache.registry, usual, context.ids.job_id(now), now
    )


def _record(admission: Admission, admitted: AdmissionResult) -> JobRecord:
    """The job as the store has it."""
    return admitted.record or JobRecord(admission.job)


def _response_headers(admitted: AdmissionResult) -> dict[str, str]:
    """What an answer says beside its body of limits and of reuse."""
    if admitted.cache_status is CacheStatus.REPLAYED:
        return {IDEMPOTENCY_REPLAYED: "true"}
    return {CACHE_HEADER: admitted.cache_status, **rate_limit_headers(admitted.quotas)}


@dataclass(frozen=True, slots=True)
class _WaitOptions:
    """A place to wait at, for how long, and what the answer says beside its body."""

    subscription: Subscription
    timeout: timedelta
    headers: Mapping[str, str]


def _response(
    request: Request, context: AppContext, record: JobRecord, extra_headers: Mapping[str, str]
) -> Response:
    """202, or 200 with the result of a job that has ended by now, if the key may read it."""
    job, links = record.job, build_links(request.scope, context.policy.public_url)
    headers = {"location": links.for_job(job.id)["status_url"]} | dict(extra_headers)
    if job.is_final and (record.output is not None or job.state is not JobState.SUCCEEDED):
        return json_bytes_response(result_to_json(record, include_cost=False), headers=headers)
    foretold = estimate_finish(job, context.run_times.get(job.model_id), context.clock.now())
    return json_bytes_response(status_to_json(job, links, foretold), 202, headers)


async def _wait_and_respond(
    request: Request, context: AppContext, credential: Credential, job: Job, wait: _WaitOptions
) -> Response:
    """200 with the result if the job ends in time and the key may read it, else the usual 202."""

    def read() -> Awaitable[JobView]:
        return context.jobs.read(credential, job.id, Projection.RESULT)

    try:
        async with watch_disconnect(wait.subscription, request.receive):
            view = await wait_for_end(wait.subscription, read, wait.timeout, context.clock)
    finally:
        request_context(request.scope).wait_time = wait.subscription.wait_time
    record = view.record if view is not None else JobRecord(job)
    return _response(request, context, record, wait.headers)


async def _admit(request: Request, context: AppContext, admission: Admission) -> AdmissionResult:
    exchange = request_context(request.scope)
    try:
        admitted = await context.jobs.admit(admission)
    except StoreSilent as silence:
        exchange.job_id = admission.job.id
        raise AcceptanceUnclear(retry_after=silence.retry_after) from silence
    if not admission.dry_run:
        exchange.job_id = _record(admission, admitted).job.id
        emit_admitted(context.emit, admission, admitted)
    return admitted


async def _parse_submit(
    request: Request, context: AppContext, credential: Credential
) -> SubmitRequest:
    check_content_type(request.headers)
    key = parse_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    return SubmitRequest(
        credential=credential,
        model_id=request.path_params["model_id"],
        options=parse_options(
            request.scope["query_string"].decode("latin-1"), context.policy.options
        ),
        body=await read_body(request, context.policy.body_limits),
        trace=request_context(request.scope).trace,
        idempotency_digest=None if key is None else digest_idempotency_key(key),
    )


OPERATIONS: Final = (
    ApiOperation(
        "POST",
        SUBMIT_ROUTE,
        submit,
        "submit",
        "Submit a request to a model",
        Tag.REQUESTS,
        {
            202: {
                **response_spec("Accepted: the gateway has the job.", "Status", ACCEPTED_EXAMPLE),
                "headers": RATELIMIT_HEADERS,
            },
            200: {
                **response_spec(
                    "It has ended: within `Prefer: wait`, or before (a kept result, a replay).",
                    "Result",
                    RESULT_EXAMPLE,
                ),
                "headers": RATELIMIT_HEADERS,
            },
            **problem_responses(400, 401, 402, 403, 404, 408, 410, 413, 415, 422, 429, 503),
        },
        {"parameters": SUBMIT_PARAMETERS, "requestBody": SUBMIT_BODY},
        "The body is the model's input, passed on byte for byte. Options are query parameters; "
        "unknown ones are refused. With `Prefer: wait=N` the answer is the result, if it comes in "
        "time; who hangs up early cancels nothing. `RateLimit` and `RateLimit-Policy` tell how the "
        "tenant's limits stand, also where one of them refused: 429 with `Retry-After`, 402 for "
        "budgets, 403 for models; `violated-policies` names it.",
    ),
)
