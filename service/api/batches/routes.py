"""Batches: many submits in one call, their common status, the cancel of the rest."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from core.batches import MAX_BATCH_ITEMS, BatchSnapshot, BatchStatus
from core.errors import CallerError, StoreSilent
from core.observability.events import BatchAdmitted as BatchAdmittedEvent
from core.store.batches import ItemSlice
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import BatchAdmission, BatchAdmissionResult
from service.api.batches.representations import (
    batch_cancellation_to_json,
    batch_page_to_json,
    batch_to_json,
)
from service.api.batches.schemas import (
    BATCH_CANCEL_EXAMPLE,
    BATCH_EXAMPLE,
    BATCHES_EXAMPLE,
    NEW_BATCH_EXAMPLE,
)
from service.api.jobs.lookup import credential_and_id
from service.api.jobs.parameters import IDEMPOTENCY_KEY as KEY_PARAMETER
from service.api.schemas import RATELIMIT_HEADERS
from service.batches.admission import (
    BatchContext,
    BatchValidator,
    accepted_jobs,
    batch_rejection,
    build_batch_snapshot,
    quotas_after,
)
from service.batches.cancel import ALL_ITEMS, cancel_batch
from service.batches.parser import parse_batch
from service.context import AppContext, app_context
from service.errors import AcceptanceUnclear
from service.http.authentication import request_credential, request_links
from service.http.endpoint import ApiOperation, Tag, json_bytes_response
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    digest_idempotency_key,
    parse_idempotency_key,
)
from service.http.openapi import parameter, problem_responses, request_body_spec, response_spec
from service.http.request_body import check_content_type, read_body
from service.http.request_context import request_context
from service.jobs.admission import emit_admitted
from service.parsing.fields import InvalidField, parse_integer, parse_query, parse_query_fields
from service.rate_limit_headers import rate_limit_headers

DEFAULT_ITEM_COUNT: Final = 100
MAX_PAGE_SIZE: Final = 100
DEFAULT_PAGE_SIZE: Final = 20
_BATCH_ID: Final = re.compile(r"bat_[A-Za-z0-9]{1,64}")


async def submit(request: Request) -> Response:
    """Take a batch in. A wrong key learns nothing: what is wrong with the rest is said after it."""
    resources = app_context(request.scope)
    credential = request_credential(request)
    try:
        admission = await _parse_admission(request, resources, credential)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    admitted = await _admit(resources, admission)
    if admitted.existing_batch_id is not None:
        view = await resources.batches.read(
            credential, admitted.existing_batch_id, ALL_ITEMS, Scope.SUBMIT
        )
        return _response(request, view, {IDEMPOTENCY_REPLAYED: "true"})
    if not admitted.stored:
        raise batch_rejection(admission, admitted)
    view = build_batch_snapshot(admission, admitted, resources.clock.now())
    _emit_batch(resources, admission, admitted, view)
    return _response(request, view, dict(rate_limit_headers(quotas_after(admitted))))


async def _parse_admission(
    request: Request, context: AppContext, credential: Credential
) -> BatchAdmission:
    check_content_type(request.headers)
    key = parse_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    policy, now = context.policy, context.clock.now()
    body = await read_body(request, policy.batch_body_limits)
    judge = BatchValidator(context.model_cache.registry, policy.options, policy.cache, context.ids)
    call = BatchContext(
        batch_id=context.ids.batch_id(now),
        credential=credential,
        now=now,
        trace=request_context(request.scope).trace,
        idempotency_digest=None if key is None else digest_idempotency_key(key),
    )

    def decide() -> BatchAdmission:
        return judge.build_admission(
            parse_batch(body, policy.options, policy.body_limits.max_bytes), call
        )

    # A thousand inputs take longer to judge than other callers should wait.
    return await asyncio.to_thread(decide)


async def _admit(context: AppContext, admission: BatchAdmission) -> BatchAdmissionResult:
    try:
        return await context.batches.admit(admission)
    except StoreSilent as silence:
        raise AcceptanceUnclear(
            "The store fell silent while it took the batch in: whether it has it is not known. "
            f"GET /v1/batches/{admission.batch.id} will tell.",
            retry_after=silence.retry_after,
        ) from silence


def _emit_batch(
    context: AppContext,
    admission: BatchAdmission,
    admitted: BatchAdmissionResult,
    view: BatchSnapshot,
) -> None:
    for asked, verdict in accepted_jobs(admission, admitted):
        emit_admitted(context.emit, asked, verdict)
    batch = view.batch
    told = BatchAdmittedEvent(batch.id, batch.tenant, batch.size, view.counts.admitted, batch.trace)
    context.emit(told)


def _response(request: Request, view: BatchSnapshot, headers: dict[str, str]) -> Response:
    """202, or 200 where nothing has still to be done."""
    base = request_links(request).base
    status = 200 if view.status is BatchStatus.COMPLETED else 202
    headers = {"location": f"{base}/v1/batches/{view.batch.id}"} | headers
    return json_bytes_response(batch_to_json(view, base), status, headers)


async def read(request: Request) -> Response:
    """A batch as it stands, with a page of its items."""
    credential, batch_id = await credential_and_id(request, Scope.READ, "batch_id")
    span = _parse_slice(request)
    view = await app_context(request.scope).batches.read(credential, batch_id, span)
    return json_bytes_response(batch_to_json(view, request_links(request).base))


async def list_batches(request: Request) -> Response:
    """The tenant's batches, newest first."""
    credential = request_credential(request)
    resources = app_context(request.scope)
    try:
        asked = parse_query_fields(parse_query(request.url.query), _PAGE_PARSERS)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.READ)
        raise
    page = await resources.batches.list_page(
        credential, asked.get("cursor"), asked.get("limit", DEFAULT_PAGE_SIZE)
    )
    return json_bytes_response(batch_page_to_json(page, request_links(request).base))


async def cancel(request: Request) -> Response:
    """Cancel whatever has not ended, as far as that is possible, and say of each how far."""
    credential, batch_id = await credential_and_id(request, Scope.CANCEL, "batch_id")
    context = app_context(request.scope)
    done = await cancel_batch(context.batches, context.job_canceller, credential, batch_id)
    return json_bytes_response(batch_cancellation_to_json(done))


def _parse_slice(request: Request) -> ItemSlice:
    asked = parse_query_fields(parse_query(request.url.query), _SLICE_PARSERS)
    return ItemSlice(asked.get("offset", 0), asked.get("limit", DEFAULT_ITEM_COUNT))


def _parse_cursor(text: str) -> str:
    if not _BATCH_ID.fullmatch(text):
        raise InvalidField("must be the next_cursor of a page before")
    return text


_SLICE_PARSERS: Final = {
    "offset": lambda text: parse_integer(text, 0, MAX_BATCH_ITEMS),
    "limit": lambda text: parse_integer(text, 1, MAX_BATCH_ITEMS),
}
_PAGE_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "limit": lambda text: parse_integer(text, 1, MAX_PAGE_SIZE),
    "cursor": _parse_cursor,
}

BATCH_ID: Final = parameter(
    "batch_id", "The id that the batch was given.", {"type": "string"}, "path"
)
_OFFSET: Final = parameter(
    "offset",
    "The first item's index.",
    {"type": "integer", "minimum": 0, "maximum": MAX_BATCH_ITEMS, "default": 0},
)
_LIMIT: Final = parameter(
    "limit",
    "How many items.",
    {"type": "integer", "minimum": 1, "maximum": MAX_BATCH_ITEMS, "default": DEFAULT_ITEM_COUNT},
)
_PAGE: Final = [
    parameter(
        "limit",
        "Page size.",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": DEFAULT_PAGE_SIZE},
    ),
    parameter(
        "cursor",
        "`next_cursor` of the page before.",
        {"type": "string", "pattern": f"^{_BATCH_ID.pattern}$"},
    ),
]

OPERATIONS: Final = (
    ApiOperation(
        "POST",
        "/v1/batches",
        submit,
        "submit_batch",
        "Submit many requests at once",
        Tag.BATCHES,
        {
            202: {
                **response_spec("Accepted, all of it or what fits.", "Batch", BATCH_EXAMPLE),
                "headers": RATELIMIT_HEADERS,
            },
            200: {
                **response_spec(
                    "Every request has ended: results that were kept, or a replay.",
                    "Batch",
                    BATCH_EXAMPLE,
                ),
                "headers": RATELIMIT_HEADERS,
            },
            **problem_responses(400, 401, 402, 403, 408, 413, 415, 422, 429, 503),
        },
        {
            "parameters": [KEY_PARAMETER],
            "requestBody": request_body_spec("NewBatch", NEW_BATCH_EXAMPLE),
        },
        "Each item is a submit: its `input` is passed on byte for byte, its options have the names "
        "of the submit's query. One decision is made for all of them: with `admit: all` they are "
        "taken in together or not at all, with `fit` each that its input and the limits allow. "
        "What is refused counts in no limit.",
    ),
    ApiOperation(
        "GET",
        "/v1/batches",
        list_batches,
        "list_batches",
        "List batches, newest first",
        Tag.BATCHES,
        {
            200: response_spec("A page of them, without items.", "Batches", BATCHES_EXAMPLE),
            **problem_responses(400, 401, 403, 503),
        },
        {"parameters": _PAGE},
    ),
    ApiOperation(
        "GET",
        "/v1/batches/{batch_id}",
        read,
        "batch",
        "Where a batch stands",
        Tag.BATCHES,
        {
            200: response_spec("The counts, and a page of items.", "Batch", BATCH_EXAMPLE),
            **problem_responses(400, 401, 403, 404, 503),
        },
        {"parameters": [BATCH_ID, _OFFSET, _LIMIT]},
        "An item whose request was deleted, or is not kept any more, has no `status`.",
    ),
    ApiOperation(
        "POST",
        "/v1/batches/{batch_id}/cancel",
        cancel,
        "cancel_batch",
        "Cancel the rest of a batch",
        Tag.BATCHES,
        {
            200: response_spec("What came of it.", "BatchCancel", BATCH_CANCEL_EXAMPLE),
            **problem_responses(401, 403, 404, 503),
        },
        {"parameters": [BATCH_ID]},
        "Every request of the batch that has not ended is cancelled as by its own `cancel`; to "
        "repeat it is safe.",
    ),
)
