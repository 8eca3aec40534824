"""Submitting: from bytes to 202 in one round trip to the store."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from core.changes import Admission, Admitted
from core.documents import status_document
from core.errors import CallerError, MalformedRequest, StoreSilent
from core.events import JobAdmitted
from core.tenants import Credential, Scope
from service.admission import Submission, admission_of
from service.auth import presented
from service.bodies import check_content_type, read_body
from service.errors import AcceptanceUnclear
from service.exchange import exchange_of, resources_of
from service.links import links_of
from service.openapi import SUBMIT_BODY, SUBMIT_PARAMETERS, problems
from service.options import read_options
from service.ratelimits import ratelimit_fields
from service.resources import SUBMIT_ROUTE, Resources
from service.routes.endpoint import Endpoint, Tag, json_answer
from service.schemas import ACCEPTED_EXAMPLE, RATELIMIT_HEADERS, answer

_IDEMPOTENCY_KEY: Final = "idempotency-key"


async def submit(request: Request) -> Response:
    """Take a job in. A wrong key learns nothing: what is wrong with the rest is said after it."""
    resources = resources_of(request.scope)
    credential = presented(request.headers)
    exchange_of(request.scope).tenant = credential.tenant
    try:
        submission = await _read(request, resources, credential)
        now = resources.clock.now()
        admission = admission_of(
            submission,
            resources.shelf.models,
            resources.policy.options.deadlines_of(submission.model_id),
            resources.ids.job_id(now),
            now,
        )
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    admitted = await _admit(request, resources, admission)
    job = admission.job
    resources.emit(JobAdmitted(job.id, job.tenant, job.model_id, job.estimate))
    links = links_of(request.scope, resources.policy.public_url)
    standing = ratelimit_fields(admitted.quotas)
    headers = {"location": links.of(job.id)["status_url"], **standing}
    return json_answer(status_document(job, links), 202, headers)


async def _admit(request: Request, resources: Resources, admission: Admission) -> Admitted:
    exchange = exchange_of(request.scope)
    try:
        admitted = await resources.jobs.admit(admission)
    except StoreSilent as silence:
        exchange.job_id = admission.job.id
        raise AcceptanceUnclear(retry_after=silence.retry_after) from silence
    exchange.job_id = admission.job.id
    return admitted


async def _read(request: Request, resources: Resources, credential: Credential) -> Submission:
    check_content_type(request.headers)
    if _IDEMPOTENCY_KEY in request.headers:
        # Ignoring it would let a caller repeat, trusting in it, and pay twice.
        raise MalformedRequest("Idempotency-Key is not available in this version.")
    return Submission(
        credential=credential,
        model_id=request.path_params["model_id"],
        options=read_options(request.url.query, resources.policy.options),
        body=await read_body(request, resources.policy.body),
        traceparent=request.headers.get("traceparent"),
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
            **problems(400, 401, 402, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        {"parameters": SUBMIT_PARAMETERS, "requestBody": SUBMIT_BODY},
        "The body is the model's input, passed on byte for byte. Options are query parameters; "
        "unknown ones are refused. `RateLimit` and `RateLimit-Policy` tell how the tenant's limits "
        "stand, also where one of them refused: 429 with `Retry-After`, 402 for budgets, 403 for "
        "models; `violated-policies` names it.",
    ),
)
