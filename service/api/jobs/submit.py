"""Submit: one round trip to the store, then 202, or the result if the caller waits for it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import CallerError, ObjectsUnavailable, StoreTimeout
from core.jobs.job import JobRecord, JobState
from core.jobs.run_times import estimate_finish
from core.observability.events import SUBMIT_ROUTE
from core.representations.jobs import status_to_json, submit_result_to_json
from core.store.jobs import Projection
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import PAID_CACHE_STATUSES, CacheStatus
from core.transactions.admission import Admission, AdmissionResult
from service.api.jobs.lookup import wait_until_ended
from service.api.jobs.parameters import RATELIMIT_HEADERS, SUBMIT_BODY, SUBMIT_PARAMETERS
from service.context import AppContext, app_context
from service.errors import AcceptanceUnclear, SubmitsStopped
from service.http.authentication import checked_credential, output_links, request_links
from service.http.cache_control_header import CACHE_CONTROL, parse_cache_control
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    digest_idempotency_key,
    parse_idempotency_key,
)
from service.http.json_response import json_bytes_response
from service.http.openapi import Tag, json_content
from service.http.prefer_header import PREFER, parse_wait_preference, preference_applied_header
from service.http.request_body import read_body
from service.http.request_context import RequestContext, query_text, request_context
from service.http.strict_route import FastRoute, api_router
from service.jobs.admission import (
    ParsedSubmit,
    build_admission,
    claim_idempotency,
    dry_run_to_json,
    emit_admitted,
)
from service.jobs.input_files import CheckedInput
from service.jobs.kept_outputs import with_kept_outputs
from service.jobs.submit_options import parse_options
from service.models import NamedFiles
from service.parsing.labels import LABELS_HEADER, with_header_labels
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
            "Accepted: the gateway has the job.", "SubmitAnswer", headers=RATELIMIT_HEADERS
        ),
        200: json_content(
            "The request has ended: within `Prefer: wait`, or before (cache hit, replay). Or the "
            "answer to a dry run.",
            "SubmitAnswer",
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
        parsed = await _parse_submit(request, context, credential, current.trace)
    except CallerError:
        await context.stores.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    try:
        checked = await _check(context, parsed)
    except CallerError:
        replayed = await _find_replay(context, parsed)
        if replayed is None or replayed.record is None:
            raise
        return _response(request, context, replayed.record, _outcome_headers(replayed))
    if checked.admission.dry_run:
        return await _dry_run(request, context, checked)
    response = _admit_and_wait(request, context, current, checked)
    del parsed, checked  # the input may be large, and the wait long
    return await response


async def _admit_and_wait(
    request: Request, context: AppContext, current: RequestContext, checked: CheckedInput
) -> Response:
    """Admit a job and answer, after its end if the caller waits and that comes in time."""
    wait = parse_wait_preference(request.headers.getlist(PREFER), context.policy.max_wait)
    # Subscribed before the job exists, so that no change of it can be missed.
    job_id, credential = checked.admission.job.id, checked.admission.credential
    subscription = (
        context.subscriptions.subscribe(job_id, credential.tenant, final_only=True)
        if wait
        else None
    )
    if wait is None or subscription is None:
        admitted, record = await _admit(context, current, checked)
        return _response(request, context, record, _outcome_headers(admitted))
    # A proxy in front counts its time-out from here too: a slow admission is part of the wait.
    until = context.clock.monotonic() + wait
    with subscription:
        admitted, record = await _admit(context, current, checked)
        del checked  # as in `submit`
        headers = _outcome_headers(admitted) | preference_applied_header(wait)
        if not record.job.is_final:
            subscription.switch_job(record.job.id)
            read = partial(context.stores.jobs.read, credential, record.job.id, Projection.RESULT)
            rest = max(until - context.clock.monotonic(), timedelta())
            view = await wait_until_ended(request, subscription, read, rest)
            record = view.record if view else record
        return _response(request, context, record, headers)


async def _dry_run(request: Request, context: AppContext, checked: CheckedInput) -> Response:
    admitted, _ = await _admit(context, request_context(request.scope), checked)
    delivery = context.input_files.chosen_delivery if checked.named else None
    answer = dry_run_to_json(checked.admission, admitted, request_links(request), delivery)
    return json_bytes_response(answer, headers=_outcome_headers(admitted))


async def _parse_submit(
    request: Request, context: AppContext, credential: Credential, trace: str | None
) -> ParsedSubmit:
    headers, policy = request.headers, context.policy
    key = parse_idempotency_key(headers.getlist(IDEMPOTENCY_KEY))
    options = parse_options(query_text(request.scope), policy.options)
    if options.cache is None and CACHE_CONTROL in headers:
        options = replace(options, cache=parse_cache_control(headers.getlist(CACHE_CONTROL)))
    if LABELS_HEADER in headers:
        labels = with_header_labels(options.label, headers.getlist(LABELS_HEADER))
        options = replace(options, label=labels)
    return ParsedSubmit(
        credential=credential,
        model_id=request.path_params["model_id"],
        options=options,
        body=await read_body(request, policy.body_limits),
        trace=trace,
        idempotency_digest=None if key is None else digest_idempotency_key(key),
    )


async def _check(context: AppContext, submit: ParsedSubmit) -> CheckedInput:
    tenant, policy, now = submit.credential.tenant, context.policy, context.clock.now()
    models = await context.model_cache.for_tenant(tenant)
    if not models.lists(submit.model_id):
        await context.stores.jobs.authenticate(submit.credential, Scope.SUBMIT)
        models = await context.model_cache.covering([submit.model_id], tenant)
    job_id = context.ids.job_id(now)

    def build(files: NamedFiles) -> Admission:
        whole = replace(submit, files=files)
        return build_admission(whole, models, policy.options, policy.cache, job_id, now)

    return await context.input_files.check(tenant, submit.body, build)


async def _find_replay(context: AppContext, submit: ParsedSubmit) -> AdmissionResult | None:
    """Return the job to which the first sending of a refused submit led, if it led to one.

    Raises `Unauthenticated`, `NotPermitted`, `IdempotencyMismatch`, `RequestDeleted`.
    """
    claim = None
    if not submit.options.dry_run:
        tenant, size = submit.credential.tenant, len(submit.body)
        claim = await context.large_bodies.call(tenant, size, claim_idempotency, submit)
    if claim is not None:
        return await context.stores.jobs.find_replay(submit.credential, claim)
    await context.stores.jobs.authenticate(submit.credential, Scope.SUBMIT)
    return None


async def _admit(
    context: AppContext, current: RequestContext, checked: CheckedInput
) -> tuple[AdmissionResult, JobRecord]:
    """Return the outcome, and the job as the store has it: another one for a hit or a replay."""
    admission = checked.admission
    if not admission.dry_run:
        await _check_availability(context, admission)
    try:
        admitted = await _store_and_admit(context, checked)
    except StoreTimeout as error:
        # The job may exist. Its id in the problem lets the caller find out.
        current.job_id = admission.job.id
        raise AcceptanceUnclear(
            f"/v1/requests/{admission.job.id}",
            has_key=admission.idempotency is not None,
            retry_after=error.retry_after,
        ) from error
    current.release_body()
    record = admitted.record or JobRecord(admission.job)
    is_hit = admitted.cache_status is CacheStatus.HIT and record.output is not None
    if is_hit and context.input_files.objects is not None:  # else nothing is kept
        record = await with_kept_outputs(context.stores.jobs, record)
    if not admission.dry_run:
        current.job_id = record.job.id
        emit_admitted(context.emit, admission, admitted)
    return admitted, record


async def _store_and_admit(context: AppContext, checked: CheckedInput) -> AdmissionResult:
    """Return the outcome of an admission, or of the submit that it repeats."""
    admission = checked.admission
    if admission.dry_run:
        return await context.stores.jobs.admit(admission)
    try:
        stored = await context.input_files.store(checked)
    except (CallerError, ObjectsUnavailable):
        replayed = await _replay_of(context, admission)
        if replayed is None:
            raise
        return replayed
    return await context.stores.jobs.admit(stored)


async def _replay_of(context: AppContext, admission: Admission) -> AdmissionResult | None:
    """Return what a repeated submit led to: it needs no storage for its input."""
    if admission.idempotency is None:
        return None
    found = await context.stores.jobs.find_replay(admission.credential, admission.idempotency)
    return None if found is None or found.record is None else found


async def _check_availability(context: AppContext, admission: Admission) -> None:
    """Raise `SubmitsStopped` for a submit that no process could submit."""
    try:
        await context.submit_availability.check()
    except SubmitsStopped:
        # A replay and a cached result need no worker, and a wrong key gets 401 as always.
        tried = await context.stores.jobs.admit(replace(admission, dry_run=True))
        if tried.cache_status in PAID_CACHE_STATUSES:
            raise


def _outcome_headers(admitted: AdmissionResult) -> dict[str, str]:
    if admitted.cache_status is CacheStatus.REPLAYED:
        return {IDEMPOTENCY_REPLAYED: "true"}
    return {CACHE_HEADER: admitted.cache_status, **rate_limit_headers(admitted.quotas)}


def _response(
    request: Request, context: AppContext, record: JobRecord, headers: Mapping[str, str]
) -> Response:
    job, links = record.job, request_links(request)
    headers = {"location": links.for_job(job.id)["status_url"], **headers}
    # A key that may not read gets a record without its output, hence the status.
    if job.is_final and (record.output is not None or job.state is not JobState.SUCCEEDED):
        return json_bytes_response(
            submit_result_to_json(record, links, output_links(request)), headers=headers
        )
    estimate = estimate_finish(job, context.run_times.get(job.model_id), context.clock.now())
    return json_bytes_response(status_to_json(job, links, estimate), 202, headers)
