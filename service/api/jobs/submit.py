"""Submitting: from bytes to 202 in one round trip to the store, or to the result for who waits."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.errors import CallerError, StoreSilent
from core.jobs.job import Job, JobRecord, JobState
from core.jobs.run_times import estimate
from core.representations.jobs import result_document, status_document
from core.store.jobs import Depth, JobView
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import Reuse
from core.transactions.admission import Admission, Admitted
from service.api.jobs.parameters import SUBMIT_BODY, SUBMIT_PARAMETERS
from service.api.schemas import ACCEPTED_EXAMPLE, RATELIMIT_HEADERS, RESULT_EXAMPLE
from service.context import SUBMIT_ROUTE, Resources, resources_of
from service.errors import AcceptanceUnclear
from service.http.authentication import presented
from service.http.endpoint import Endpoint, Tag, json_answer
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    REPLAYED,
    digest_of_key,
    read_idempotency_key,
)
from service.http.openapi import answer, problems
from service.http.prefer_header import PREFER, applied, wait_preference
from service.http.request_body import check_content_type, read_body
from service.http.request_context import exchange_of, links_of
from service.jobs.admission import Submission, Usual, admission_of, dry_run_document, tell_admitted
from service.jobs.submit_options import read_options
from service.rate_limit_headers import ratelimit_fields
from service.streaming.long_poll import told_of_leaving, wait_for_end
from service.streaming.subscriptions import Waiter

CACHE_FIELD: Final = "gateway-cache"


async def submit(request: Request) -> Response:
    """Take a job in. A wrong key learns nothing: what is wrong with the rest is said after it."""
    resources = resources_of(request.scope)
    credential = presented(request.headers)
    exchange_of(request.scope).tenant = credential.tenant
    try:
        submission = await _read(request, resources, credential)
        admission = _admission(resources, submission)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    if admission.dry_run:
        admitted = await _admit(request, resources, admission)
        return json_answer(dry_run_document(admission, admitted), headers=_fields(admitted))
    wait = wait_preference(request.headers.getlist(PREFER), resources.policy.longest_wait)
    # The place is taken before the job is: no news of it can be missed.
    waiter = resources.waiters.join(admission.job.id, ends_only=True) if wait else None
    if wait is None or waiter is None:
        admitted = await _admit(request, resources, admission)
        return _answer(request, resources, _record(admission, admitted), _fields(admitted))
    with waiter:
        admitted = await _admit(request, resources, admission)
        record, more = _record(admission, admitted), _fields(admitted) | applied(wait)
        if record.job.final:
            return _answer(request, resources, record, more)
        waiter.move(record.job.id)
        place = _Wait(waiter, wait, more)
        return await _answer_later(request, resources, credential, record.job, place)


def _admission(resources: Resources, submission: Submission) -> Admission:
    model_id, now = submission.model_id, resources.clock.now()
    policy = resources.policy
    usual = Usual(policy.options.deadlines_of(model_id), policy.cache.usual_of(model_id))
    return admission_of(submission, resources.shelf.models, usual, resources.ids.job_id(now), now)


def _record(admission: Admission, admitted: Admitted) -> JobRecord:
    """The job as the store has it."""
    return admitted.record or JobRecord(admission.job)


def _fields(admitted: Admitted) -> dict[str, str]:
    """What an answer says beside its body of limits and of reuse."""
    if admitted.reuse is Reuse.REPLAYED:
        return {REPLAYED: "true"}
    return {CACHE_FIELD: admitted.reuse, **ratelimit_fields(admitted.quotas)}


@dataclass(frozen=True, slots=True)
class _Wait:
    """A place to wait at, for how long, and what the answer says beside its body."""

    waiter: Waiter
    span: timedelta
    headers: Mapping[str, str]


def _answer(
    request: Request, resources: Resources, record: JobRecord, more: Mapping[str, str]
) -> Response:
    """202, or 200 with the result of a job that has ended by now, if the key may read it."""
    job, links = record.job, links_of(request.scope, resources.policy.public_url)
    headers = {"location": links.of(job.id)["status_url"]} | dict(more)
    if job.final and (record.output is not None or job.state is not JobState.SUCCEEDED):
        return json_answer(result_document(record, include_cost=False), headers=headers)
    foretold = estimate(job, resources.histories.of(job.model_id), resources.clock.now())
    return json_answer(status_document(job, links, foretold), 202, headers)


async def _answer_later(
    request: Request, resources: Resources, credential: Credential, job: Job, wait: _Wait
) -> Response:
    """200 with the result if the job ends in time and the key may read it, else the usual 202."""

    def read() -> Awaitable[JobView]:
        return resources.jobs.read(credential, job.id, Depth.RESULT)

    try:
        async with told_of_leaving(wait.waiter, request.receive):
            view = await wait_for_end(wait.waiter, read, wait.span, resources.clock)
    finally:
        exchange_of(request.scope).waited = wait.waiter.waited
    record = view.record if view is not None else JobRecord(job)
    return _answer(request, resources, record, wait.headers)


async def _admit(request: Request, resources: Resources, admission: Admission) -> Admitted:
    exchange = exchange_of(request.scope)
    try:
        admitted = await resources.jobs.admit(admission)
    except StoreSilent as silence:
        exchange.job_id = admission.job.id
        raise AcceptanceUnclear(retry_after=silence.retry_after) from silence
    if not admission.dry_run:
        exchange.job_id = _record(admission, admitted).job.id
        tell_admitted(resources.emit, admission, admitted)
    return admitted


async def _read(request: Request, resources: Resources, credential: Credential) -> Submission:
    check_content_type(request.headers)
    key = read_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    return Submission(
        credential=credential,
        model_id=request.path_params["model_id"],
        options=read_options(
            request.scope["query_string"].decode("latin-1"), resources.policy.options
        ),
        body=await read_body(request, resources.policy.body),
        trace=exchange_of(request.scope).trace,
        idempotency=None if key is None else digest_of_key(key),
    )


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        SUBMIT_ROUTE,
        submit,
        "submit",
        "Submit a request to a model",
        Tag.REQUESTS,
        {
            202: {
                **answer("Accepted: the gateway has the job.", "Status", ACCEPTED_EXAMPLE),
                "headers": RATELIMIT_HEADERS,
            },
            200: {
                **answer(
                    "It has ended: within `Prefer: wait`, or before (a kept result, a replay).",
                    "Result",
                    RESULT_EXAMPLE,
                ),
                "headers": RATELIMIT_HEADERS,
            },
            **problems(400, 401, 402, 403, 404, 408, 410, 413, 415, 422, 429, 503),
        },
        {"parameters": SUBMIT_PARAMETERS, "requestBody": SUBMIT_BODY},
        "The body is the model's input, passed on byte for byte. Options are query parameters; "
        "unknown ones are refused. With `Prefer: wait=N` the answer is the result, if it comes in "
        "time; who hangs up early cancels nothing. `RateLimit` and `RateLimit-Policy` tell how the "
        "tenant's limits stand, also where one of them refused: 429 with `Retry-After`, 402 for "
        "budgets, 403 for models; `violated-policies` names it.",
    ),
)
