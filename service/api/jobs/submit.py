"""Submit: one round trip to the store, then 202, or the result if the caller waits for it."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import CallerError, StoreTimeout
from core.jobs.job import JobRecord, JobState
from core.jobs.run_times import estimate_finish
from core.representations.jobs import result_to_json, status_to_json
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import CacheStatus
from core.transactions.admission import Admission, AdmissionResult
from service.api.jobs.lookup import wait_until_ended
from service.api.jobs.parameters import RATELIMIT_HEADERS, SUBMIT_BODY, SUBMIT_PARAMETERS
from service.context import SUBMIT_ROUTE, AppContext, app_context
from service.errors import AcceptanceUnclear
from service.http.authentication import checked_credential
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    digest_idempotency_key,
    parse_idempotency_key,
)
from service.http.json_response import json_bytes_response
from service.http.openapi import Tag, json_content
from service.http.prefer_header import PREFER, parse_wait_preference, preference_applied_header
from service.http.request_body import check_content_type, read_body
from service.http.request_context import RequestContext, build_links, request_context
from service.http.strict_route import FastRoute, api_router
from service.jobs.admission import (
    ParsedSubmit,
    build_admission,
    dry_run_to_json,
    emit_admitted,
)
from service.jobs.submit_options import parse_options
from service.rate_limit_headers import rate_limit_headers

CACHE_HEADER: Final = "gateway-cache"


router = api_router(
    Tag.REQUESTS, 400, 401, 402, 403, 404, 408, 410, 413, 415, 422, 429, 503, route=FastRoute
)


@router.post(
    SUBMIT_ROUTE,
    status_code=202,
    responses={
        202: json_content(
            "Accepted: the gateway has the job.", "Status", headers=RATELIMIT_HEADERS
        ),
        200: json_content(
            "The request has ended: within `Prefer: wait`, or before (cache hit, replay).",
            "Result",
            headers=RATELIMIT_HEADERS,
        ),
    },
    openapi_extra={"parameters": SUBMIT_PARAMETERS, "requestBody": SUBMIT_BODY},
)
async def submit(request: Request) -> Response:
    """Submit a request to a model.

    The body is the model's input; it is passed on byte for byte. Options are query parameters;
    unknown ones are rejected. With `Prefer: wait=N` the response is the result, if the request
    ends in time; to disconnect early cancels nothing. `RateLimit` and `RateLimit-Policy` return
    the tenant's remaining quotas, also if a limit rejects the submit: 429 with `Retry-After`, 402
    for budgets, 403 for models; `violated-policies` names the limit.
    """
    # An invalid key gets 401 whatever else is wrong, so that it learns nothing about the input.
    context, current = app_context(request.scope), request_context(request.scope)
    credential = await checked_credential(request, Scope.SUBMIT)
    try:
        admission = await _build_admission(request, context, credential, current.trace)
    except CallerError:
        await context.stores.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    if admission.dry_run:
        admitted, _ = await _admit(context, current, admission)
        return json_bytes_response(
            dry_run_to_json(admission, admitted), headers=_outcome_headers(admitted)
        )
    wait = parse_wait_preference(request.headers.getlist(PREFER), context.policy.max_wait)
    # Subscribed before the job exists, so that no change of it can be missed.
    job_id, subscriptions = admission.job.id, context.subscriptions
    subscription = (
        subscriptions.subscribe(job_id, credential.tenant, final_only=True) if wait else None
    )
    if wait is None or subscription is None:
        admitted, record = await _admit(context, current, admission)
        return _response(request, context, record, _outcome_headers(admitted))
    with subscription:
        admitted, record = await _admit(context, current, admission)
        del admission  # its input may be large, and the wait long
        headers = _outcome_headers(admitted) | preference_applied_header(wait)
        if not record.job.is_final:
            subscription.switch_job(record.job.id)
            read = partial(context.stores.jobs.read, credential, record.job.id, Projection.RESULT)
            view = await wait_until_ended(request, subscription, read, wait)
            record = view.record if view else record
        return _response(request, context, record, headers)


async def _build_admission(
    request: Request, context: AppContext, credential: Credential, trace: str | None
) -> Admission:
    check_content_type(request.headers)
    key = parse_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    policy = context.policy
    submit = ParsedSubmit(
        credential=credential,
        model_id=request.path_params["model_id"],
        options=parse_options(request.scope["query_string"].decode("latin-1"), policy.options),
        body=await read_body(request, policy.body_limits),
        trace=trace,
        idempotency_digest=None if key is None else digest_idempotency_key(key),
    )
    now = context.clock.now()
    models, job_id = context.model_cache.registry, context.ids.job_id(now)
    return build_admission(submit, models, policy.options, policy.cache, job_id, now)


async def _admit(
    context: AppContext, current: RequestContext, admission: Admission
) -> tuple[AdmissionResult, JobRecord]:
    """Return the outcome, and the job as the store has it: another one for a hit or a replay."""
    try:
        admitted = await context.stores.jobs.admit(admission)
    except StoreTimeout as error:
        # The job may exist. Its id in the problem lets the caller find out.
        current.job_id = admission.job.id
        raise AcceptanceUnclear(retry_after=error.retry_after) from error
    current.release_body()
    record = admitted.record or JobRecord(admission.job)
    if not admission.dry_run:
        current.job_id = record.job.id
        emit_admitted(context.emit, admission, admitted)
    return admitted, record


def _outcome_headers(admitted: AdmissionResult) -> dict[str, str]:
    if admitted.cache_status is CacheStatus.REPLAYED:
        return {IDEMPOTENCY_REPLAYED: "true"}
    return {CACHE_HEADER: admitted.cache_status, **rate_limit_headers(admitted.quotas)}


def _response(
    request: Request, context: AppContext, record: JobRecord, headers: Mapping[str, str]
) -> Response:
    job, links = record.job, build_links(request.scope, context.policy.public_url)
    headers = {"location": links.for_job(job.id)["status_url"], **headers}
    # A key that may not read gets a record without its output, hence the status.
    if job.is_final and (record.output is not None or job.state is not JobState.SUCCEEDED):
        return json_bytes_response(result_to_json(record, include_cost=False), headers=headers)
    estimate = estimate_finish(job, context.run_times.get(job.model_id), context.clock.now())
    return json_bytes_response(status_to_json(job, links, estimate), 202, headers)
