"""Batches: many submits in one call, their common status, the cancel of the rest."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from core.batches import BatchSnapshot, BatchStatus
from core.errors import (
    CallerError,
    NotFound,
    ObjectsUnavailable,
    RequestDeleted,
    StoreTimeout,
    StoreUnavailable,
)
from core.ids import is_valid_id
from core.observability.events import BatchAdmitted as BatchAdmittedEvent
from core.runtime.many_items import call_with_many, give_turn
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import BatchAdmission, BatchAdmissionResult, IdempotencyClaim
from service.api.batches.representations import (
    batch_cancellation_to_json,
    batch_page_to_json,
    batch_to_json,
)
from service.api.batches.schemas import (
    BATCH_SUBMIT_BODY,
    BatchListQuery,
    ItemQuery,
)
from service.api.jobs.parameters import GATEWAY_LABELS, RATELIMIT_HEADERS
from service.api.jobs.parameters import IDEMPOTENCY_KEY as KEY_PARAMETER
from service.batches import cancel
from service.batches.admission import (
    BatchContext,
    BatchValidator,
    accepted_jobs,
    batch_rejection,
    build_batch_snapshot,
    claim_batch,
    quotas_after,
)
from service.batches.parser import ParsedBatch, parse_batch
from service.context import BATCH_ROUTE, AppContext, app_context
from service.errors import AcceptanceUnclear, SubmitsStopped
from service.http.authentication import checked_credential, request_links
from service.http.dependencies import BatchId, CancelKey, Context, ReadKey, RequestLinks
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    digest_idempotency_key,
    parse_idempotency_key,
)
from service.http.json_response import json_bytes_response
from service.http.openapi import Tag, json_content, problem_responses
from service.http.request_body import check_content_type, read_body
from service.http.request_context import request_context
from service.http.strict_route import FastRoute, api_router
from service.jobs.admission import emit_admitted
from service.models import NamedFiles
from service.parsing.labels import LABELS_HEADER, with_header_labels
from service.rate_limit_headers import rate_limit_headers

FORGOTTEN: Final = (
    "Batch {} with this Idempotency-Key is no longer stored. Some of its requests may have been "
    "paid for: the list of requests has them. Use a new key for a new batch."
)
router = api_router(Tag.BATCHES, 401, 403, 429, 503)
fast_router = api_router(
    Tag.BATCHES, 400, 401, 402, 403, 408, 410, 413, 415, 422, 429, 503, route=FastRoute
)


@fast_router.post(
    BATCH_ROUTE,
    status_code=202,
    responses={
        202: json_content("Accepted, all of it or what fits.", "Batch", headers=RATELIMIT_HEADERS),
        200: json_content(
            "Every request has ended: cached results, or an idempotent replay.",
            "Batch",
            headers=RATELIMIT_HEADERS,
        ),
    },
    openapi_extra={"parameters": [KEY_PARAMETER, GATEWAY_LABELS], "requestBody": BATCH_SUBMIT_BODY},
)
async def submit_batch(request: Request) -> Response:
    """Submit many requests in one call.

    Each item is a submit: its `input` is passed on byte for byte, its options have the names of
    the submit's query. One decision is made for all of them: with `admit: all` they are taken in
    together or not at all, with `fit` each that its input and the limits allow. What is refused
    counts in no limit.
    """
    # An error of the body is reported only to a caller whose key is valid.
    context = app_context(request.scope)
    credential = await checked_credential(request, Scope.SUBMIT)
    try:
        parsed, call = await _parse_request(request, context, credential)
    except CallerError:
        await context.stores.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    try:
        admission = await _build_admission(context, parsed, call)
        await context.submit_availability.check()
        stored = await context.input_files.store_all(admission.admissions)
    except (CallerError, ObjectsUnavailable, SubmitsStopped):
        existing = await _find_replay(context, call)
        if existing is None:
            raise
        return await _replay(request, context, credential, existing)
    admission = replace(admission, admissions=stored)
    admitted = await _admit(context, admission)
    if admitted.existing_batch_id is not None:
        return await _replay(request, context, credential, admitted.existing_batch_id, admission)
    size = admission.batch.size
    if not admitted.stored:
        raise await call_with_many(size, batch_rejection, admission, admitted)
    now = context.clock.now()
    view = await call_with_many(size, build_batch_snapshot, admission, admitted, now)
    await _emit_batch(context, admission, admitted, view)
    return await _response(request, view, dict(rate_limit_headers(quotas_after(admitted))))


async def _parse_request(
    request: Request, context: AppContext, credential: Credential
) -> tuple[ParsedBatch, BatchContext]:
    check_content_type(request.headers)
    key = parse_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    labels = with_header_labels((), request.headers.getlist(LABELS_HEADER))
    policy, now = context.policy, context.clock.now()
    body = await read_body(request, policy.batch_body_limits)

    def parse() -> tuple[ParsedBatch, IdempotencyClaim | None]:
        parsed = parse_batch(body, policy.options, policy.body_limits.max_bytes, labels)
        claim = claim_batch(digest_idempotency_key(key), parsed) if key is not None else None
        return parsed, claim

    # Reading a thousand inputs would block the event loop for other callers.
    parsed, claim = await context.large_bodies.call_in_thread(credential.tenant, parse)
    trace = request_context(request.scope).trace
    return parsed, BatchContext(context.ids.batch_id(now), credential, now, trace, claim)


async def _build_admission(
    context: AppContext, parsed: ParsedBatch, call: BatchContext
) -> BatchAdmission:
    tenant, policy = call.credential.tenant, context.policy
    models = await context.model_cache.for_tenant(tenant)
    names = {item.model_id for item in parsed.items if item.error is None}
    if not all(map(models.lists, names)):
        await context.stores.jobs.authenticate(call.credential, Scope.SUBMIT)
        models = await context.model_cache.covering(names, tenant)
    call = replace(call, files=await _load_files(context, tenant, parsed))
    validator = BatchValidator(models, policy.options, policy.cache, context.ids)
    return await context.large_bodies.call_in_thread(
        tenant, validator.build_admission, parsed, call
    )


async def _load_files(
    context: AppContext, tenant: str, parsed: ParsedBatch
) -> Mapping[int, NamedFiles]:
    """Return the files that items name, and what else their media may be, by index."""
    bodies = (item.body for item in parsed.items)
    return dict(enumerate(await context.input_files.load_all(tenant, bodies)))


async def _find_replay(context: AppContext, call: BatchContext) -> str | None:
    """Return the batch to which the first sending of a refused batch led, if it led to one."""
    if call.idempotency is not None:
        return await context.stores.batches.find_replay(call.credential, call.idempotency)
    await context.stores.jobs.authenticate(call.credential, Scope.SUBMIT)
    return None


async def _replay(
    request: Request,
    context: AppContext,
    credential: Credential,
    batch_id: str,
    admission: BatchAdmission | None = None,
) -> Response:
    """Return the batch as it is now. `admission`: what was admitted, if it may be this batch.

    A store that went back may have forgotten it: immediately, or with its idempotency key left,
    which the journal has. Its requests may have been paid for. Nor is it known whether a store has
    it that fails now.
    """
    batches = context.stores.batches
    try:
        view = await batches.read(credential, batch_id, cancel.ALL_ITEMS, Scope.SUBMIT)
    except (NotFound, StoreUnavailable) as error:
        if admission is not None and admission.batch.id == batch_id:
            raise _unclear(admission, error.retry_after) from error
        if isinstance(error, StoreUnavailable):
            raise
        raise RequestDeleted(FORGOTTEN.format(batch_id)) from error
    return await _response(request, view, {IDEMPOTENCY_REPLAYED: "true"})


async def _admit(context: AppContext, admission: BatchAdmission) -> BatchAdmissionResult:
    try:
        return await context.stores.batches.admit(admission)
    except StoreTimeout as error:
        raise _unclear(admission, error.retry_after) from error


def _unclear(admission: BatchAdmission, retry_after: timedelta | None = None) -> AcceptanceUnclear:
    url, has_key = f"{BATCH_ROUTE}/{admission.batch.id}", admission.idempotency is not None
    return AcceptanceUnclear(url, has_key=has_key, retry_after=retry_after)


async def _emit_batch(
    context: AppContext,
    admission: BatchAdmission,
    admitted: BatchAdmissionResult,
    view: BatchSnapshot,
) -> None:
    for number, (item, result) in enumerate(accepted_jobs(admission, admitted)):
        emit_admitted(context.emit, item, result)
        await give_turn(number)
    batch = view.batch
    context.emit(
        BatchAdmittedEvent(batch.id, batch.tenant, batch.size, view.counts.admitted, batch.trace)
    )


async def _response(request: Request, view: BatchSnapshot, headers: dict[str, str]) -> Response:
    """Return 202, or 200 if every job of the batch has ended."""
    base = request_links(request).base
    status = 200 if view.status is BatchStatus.COMPLETED else 202
    headers = {"location": f"{base}/v1/batches/{view.batch.id}"} | headers
    return json_bytes_response(await _render(view, base), status, headers)


async def _render(view: BatchSnapshot, base: str) -> bytes:
    return await call_with_many(len(view.items), batch_to_json, view, base)


@router.get(
    BATCH_ROUTE,
    responses={200: json_content("A page of batches.", "Batches"), **problem_responses(400)},
)
async def list_batches(
    key: ReadKey, context: Context, links: RequestLinks, query: Annotated[BatchListQuery, Query()]
) -> Response:
    """List batches, newest first.

    Without their items.
    """
    page = await context.stores.batches.list_page(key, query.cursor, query.limit)
    return json_bytes_response(batch_page_to_json(page, links.base))


@router.get(
    "/v1/batches/{batch_id}",
    responses={200: json_content("The batch.", "Batch"), **problem_responses(400, 404)},
    name="batch",
)
async def show_batch(
    key: ReadKey,
    context: Context,
    links: RequestLinks,
    batch_id: BatchId,
    query: Annotated[ItemQuery, Query()],
) -> Response:
    """Show the state of a batch.

    Its counts and a page of its items. An item has no `status` once its request was deleted or is
    no longer stored.
    """
    await _check_id(context, key, batch_id, Scope.READ)
    indexes = range(query.offset, query.offset + query.limit)
    view = await context.stores.batches.read(key, batch_id, indexes)
    return json_bytes_response(await _render(view, links.base))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    responses={
        200: json_content("What became of each item.", "BatchCancel"),
        **problem_responses(404),
    },
)
async def cancel_batch(key: CancelKey, context: Context, batch_id: BatchId) -> Response:
    """Cancel the rest of a batch.

    Every request of the batch that has not ended is cancelled as by its own `cancel`; it is safe
    to repeat.
    """
    await _check_id(context, key, batch_id, Scope.CANCEL)
    done = await cancel.cancel_batch(context.stores.batches, context.job_canceller, key, batch_id)
    return json_bytes_response(batch_cancellation_to_json(done))


async def _check_id(context: AppContext, key: Credential, batch_id: str, scope: Scope) -> None:
    """Raises `NotFound` to a valid key for an id that no batch can have."""
    if not is_valid_id(batch_id):
        await context.stores.jobs.authenticate(key, scope)
        raise NotFound
