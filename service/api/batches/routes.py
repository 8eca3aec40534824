"""Batches: many submits in one call, their common status, the cancel of the rest."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from core.batches import MOST_ITEMS, BatchStatus, BatchView
from core.errors import CallerError, StoreSilent
from core.observability.events import BatchAdmitted as Told
from core.store.batches import ItemSpan
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import BatchAdmission, BatchAdmitted
from service.api.batches.representations import batch_document, cancelled_document, page_document
from service.api.batches.schemas import (
    BATCH_EXAMPLE,
    BATCHES_EXAMPLE,
    CANCELLED_EXAMPLE,
    NEW_BATCH_EXAMPLE,
)
from service.api.jobs.lookup import named
from service.api.jobs.parameters import IDEMPOTENCY_KEY as KEY_PARAMETER
from service.api.schemas import RATELIMIT_HEADERS
from service.batches.admission import (
    BatchCall,
    Judge,
    accepted,
    standing_after,
    view_of,
    whole_refusal,
)
from service.batches.cancel import WHOLE, cancel_batch
from service.batches.parser import read_batch
from service.context import Resources, resources_of
from service.errors import AcceptanceUnclear
from service.http.authentication import key_of, links_for
from service.http.endpoint import Endpoint, Tag, json_answer
from service.http.idempotency_header import (
    IDEMPOTENCY_KEY,
    REPLAYED,
    digest_of_key,
    read_idempotency_key,
)
from service.http.openapi import answer, body, parameter, problems
from service.http.request_body import check_content_type, read_body
from service.http.request_context import exchange_of
from service.jobs.admission import tell_admitted
from service.parsing.fields import Unfit, read_query, read_table, whole
from service.rate_limit_headers import ratelimit_fields

DEFAULT_ITEMS: Final = 100
MOST_ON_A_PAGE: Final = 100
DEFAULT_ON_A_PAGE: Final = 20
_BATCH_ID: Final = re.compile(r"bat_[A-Za-z0-9]{1,64}")


async def submit(request: Request) -> Response:
    """Take a batch in. A wrong key learns nothing: what is wrong with the rest is said after it."""
    resources = resources_of(request.scope)
    credential = key_of(request)
    try:
        admission = await _read(request, resources, credential)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.SUBMIT)
        raise
    admitted = await _admit(resources, admission)
    if admitted.earlier is not None:
        view = await resources.batches.read(credential, admitted.earlier, WHOLE, Scope.SUBMIT)
        return _answer(request, view, {REPLAYED: "true"})
    if not admitted.stored:
        raise whole_refusal(admission, admitted)
    view = view_of(admission, admitted, resources.clock.now())
    _tell(resources, admission, admitted, view)
    return _answer(request, view, dict(ratelimit_fields(standing_after(admitted))))


async def _read(request: Request, resources: Resources, credential: Credential) -> BatchAdmission:
    check_content_type(request.headers)
    key = read_idempotency_key(request.headers.getlist(IDEMPOTENCY_KEY))
    policy, now = resources.policy, resources.clock.now()
    body = await read_body(request, policy.batch)
    judge = Judge(resources.shelf.models, policy.options, policy.cache, resources.ids)
    call = BatchCall(
        batch_id=resources.ids.batch_id(now),
        credential=credential,
        now=now,
        trace=exchange_of(request.scope).trace,
        idempotency=None if key is None else digest_of_key(key),
    )

    def decide() -> BatchAdmission:
        return judge.decide(read_batch(body, policy.options, policy.body.size), call)

    # A thousand inputs take longer to judge than other callers should wait.
    return await asyncio.to_thread(decide)


async def _admit(resources: Resources, admission: BatchAdmission) -> BatchAdmitted:
    try:
        return await resources.batches.admit(admission)
    except StoreSilent as silence:
        raise AcceptanceUnclear(
            "The store fell silent while it took the batch in: whether it has it is not known. "
            f"GET /v1/batches/{admission.batch.id} will tell.",
            retry_after=silence.retry_after,
        ) from silence


def _tell(
    resources: Resources, admission: BatchAdmission, admitted: BatchAdmitted, view: BatchView
) -> None:
    for asked, verdict in accepted(admission, admitted):
        tell_admitted(resources.emit, asked, verdict)
    batch = view.batch
    told = Told(batch.id, batch.tenant, batch.size, view.counts.admitted, batch.trace)
    resources.emit(told)


def _answer(request: Request, view: BatchView, headers: dict[str, str]) -> Response:
    """202, or 200 where nothing has still to be done."""
    base = links_for(request).base
    status = 200 if view.status is BatchStatus.COMPLETED else 202
    headers = {"location": f"{base}/v1/batches/{view.batch.id}"} | headers
    return json_answer(batch_document(view, base), status, headers)


async def read(request: Request) -> Response:
    """A batch as it stands, with a page of its items."""
    credential, batch_id = await named(request, Scope.READ, "batch_id")
    span = _span(request)
    view = await resources_of(request.scope).batches.read(credential, batch_id, span)
    return json_answer(batch_document(view, links_for(request).base))


async def list_batches(request: Request) -> Response:
    """The tenant's batches, newest first."""
    credential = key_of(request)
    resources = resources_of(request.scope)
    try:
        asked = read_table(read_query(request.url.query), _PAGE_READERS)
    except CallerError:
        await resources.jobs.authenticate(credential, Scope.READ)
        raise
    page = await resources.batches.newest_first(
        credential, asked.get("cursor"), asked.get("limit", DEFAULT_ON_A_PAGE)
    )
    return json_answer(page_document(page, links_for(request).base))


async def cancel(request: Request) -> Response:
    """Cancel whatever has not ended, as far as that is possible, and say of each how far."""
    credential, batch_id = await named(request, Scope.CANCEL, "batch_id")
    done = await cancel_batch(resources_of(request.scope), credential, batch_id)
    return json_answer(cancelled_document(done))


def _span(request: Request) -> ItemSpan:
    asked = read_table(read_query(request.url.query), _SPAN_READERS)
    return ItemSpan(asked.get("offset", 0), asked.get("limit", DEFAULT_ITEMS))


def _cursor(text: str) -> str:
    if not _BATCH_ID.fullmatch(text):
        raise Unfit("must be the next_cursor of a page before")
    return text


_SPAN_READERS: Final = {
    "offset": lambda text: whole(text, 0, MOST_ITEMS),
    "limit": lambda text: whole(text, 1, MOST_ITEMS),
}
_PAGE_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "limit": lambda text: whole(text, 1, MOST_ON_A_PAGE),
    "cursor": _cursor,
}

BATCH_ID: Final = parameter(
    "batch_id", "The id that the batch was given.", {"type": "string"}, "path"
)
_OFFSET: Final = parameter(
    "offset",
    "The first item's index.",
    {"type": "integer", "minimum": 0, "maximum": MOST_ITEMS, "default": 0},
)
_LIMIT: Final = parameter(
    "limit",
    "How many items.",
    {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": DEFAULT_ITEMS},
)
_PAGE: Final = [
    parameter(
        "limit",
        "Page size.",
        {"type": "integer", "minimum": 1, "maximum": MOST_ON_A_PAGE, "default": DEFAULT_ON_A_PAGE},
    ),
    parameter(
        "cursor",
        "`next_cursor` of the page before.",
        {"type": "string", "pattern": f"^{_BATCH_ID.pattern}$"},
    ),
]

ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/batches",
        submit,
        "submit_batch",
        "Submit many requests at once",
        Tag.BATCHES,
        {
            202: {
                **answer("Accepted, all of it or what fits.", "Batch", BATCH_EXAMPLE),
                "headers": RATELIMIT_HEADERS,
            },
            200: {
                **answer(
                    "Every request has ended: results that were kept, or a replay.",
                    "Batch",
                    BATCH_EXAMPLE,
                ),
                "headers": RATELIMIT_HEADERS,
            },
            **problems(400, 401, 402, 403, 408, 413, 415, 422, 429, 503),
        },
        {"parameters": [KEY_PARAMETER], "requestBody": body("NewBatch", NEW_BATCH_EXAMPLE)},
        "Each item is a submit: its `input` is passed on byte for byte, its options have the names "
        "of the submit's query. One decision is made for all of them: with `admit: all` they are "
        "taken in together or not at all, with `fit` each that its input and the limits allow. "
        "What is refused counts in no limit.",
    ),
    Endpoint(
        "GET",
        "/v1/batches",
        list_batches,
        "list_batches",
        "List batches, newest first",
        Tag.BATCHES,
        {
            200: answer("A page of them, without items.", "Batches", BATCHES_EXAMPLE),
            **problems(400, 401, 403, 503),
        },
        {"parameters": _PAGE},
    ),
    Endpoint(
        "GET",
        "/v1/batches/{batch_id}",
        read,
        "batch",
        "Where a batch stands",
        Tag.BATCHES,
        {
            200: answer("The counts, and a page of items.", "Batch", BATCH_EXAMPLE),
            **problems(400, 401, 403, 404, 503),
        },
        {"parameters": [BATCH_ID, _OFFSET, _LIMIT]},
        "An item whose request was deleted, or is not kept any more, has no `status`.",
    ),
    Endpoint(
        "POST",
        "/v1/batches/{batch_id}/cancel",
        cancel,
        "cancel_batch",
        "Cancel the rest of a batch",
        Tag.BATCHES,
        {
            200: answer("What came of it.", "BatchCancel", CANCELLED_EXAMPLE),
            **problems(401, 403, 404, 503),
        },
        {"parameters": [BATCH_ID]},
        "Every request of the batch that has not ended is cancelled as by its own `cancel`; to "
        "repeat it is safe.",
    ),
)
