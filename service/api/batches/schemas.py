"""What the operations on batches accept and return."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from core.batches import MAX_BATCH_ITEMS, AdmissionMode, BatchStatus
from core.jobs.job import CancelOutcome, PublicStatus
from core.tenants.cache_policy import CacheOption, CacheStatus
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID, INPUT_EXAMPLE, TEXT, Problem
from service.http.openapi import Schema, closed_object_schema, ref
from service.jobs.submit_options import PRIORITIES
from service.parsing.fields import MAX_REFERENCE_LENGTH
from service.parsing.request_models import (
    Document,
    RequestModel,
    TimeText,
    WholeNumberOption,
    example,
    optional,
)

_URL: Final = {"type": "string", "format": "uri"}
_REFERENCE: Final = {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}
_SECONDS: Final = {"type": "integer", "minimum": 1}
MAX_PAGE_SIZE: Final = 100
_ADMIT: Final = {
    "type": "string",
    "enum": list(AdmissionMode),
    "default": AdmissionMode.ALL_OR_NOTHING,
}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "NewBatch": closed_object_schema(
        "items",
        items={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_BATCH_ITEMS,
            "items": ref("NewItem"),
        },
        admit=_ADMIT,
        reference=_REFERENCE,
        webhook={**_URL, "description": "The URL that receives `batch.completed` only."},
    ),
    "NewItem": closed_object_schema(
        "model_id input",
        model_id=TEXT,
        input={"type": "object"},
        webhook=_URL,
        webhook_intermediate_status={"type": "boolean"},
        timeout=_SECONDS,
        start_timeout=_SECONDS,
        max_cost={"type": ["number", "string"], "description": "USD."},
        priority={"type": "string", "enum": list(PRIORITIES)},
        reference=_REFERENCE,
        cache={"type": "string", "enum": list(CacheOption)},
    ),
}

EXAMPLE_BATCH_ID: Final = "bat_01KAP7ZJ5V9GQH6MTB2X0C4E8R"
_BATCH_URL: Final = f"https://gateway.example/v1/batches/{EXAMPLE_BATCH_ID}"
_OTHER_REQUEST_ID: Final = "req_01KAP7ZJ5VWM3N5D1T8K7Y2Q4B"
_COUNTS: Final = {"total": 2, "refused": 0, **dict.fromkeys(map(str, PublicStatus), 0)}
_RUNNING_EXAMPLE: Final[Mapping[str, Any]] = {
    "batch_id": EXAMPLE_BATCH_ID,
    "status": "in_progress",
    "reference": "storyboard-7",
    "created_at": "2025-11-22T14:58:34.120000Z",
    "counts": {**_COUNTS, "in_queue": 2},
}
_COMPLETED_EXAMPLE: Final[Mapping[str, Any]] = {
    **_RUNNING_EXAMPLE,
    "status": "completed",
    "finished_at": "2025-11-22T15:00:02.480000Z",
}
_LINKS: Final = {"batch_url": _BATCH_URL, "cancel_url": f"{_BATCH_URL}/cancel"}
BATCH_EXAMPLE: Final = {
    **_RUNNING_EXAMPLE,
    **_LINKS,
    "items": [
        {
            "index": 0,
            "request_id": EXAMPLE_REQUEST_ID,
            "status": "in_queue",
            "gateway_cache": "off",
            "reference": "shot-1",
        },
        {
            "index": 1,
            "request_id": _OTHER_REQUEST_ID,
            "status": "in_queue",
            "gateway_cache": "off",
            "reference": "shot-2",
        },
    ],
}
BATCH_EVENT_EXAMPLE: Final = {
    **_COMPLETED_EXAMPLE,
    "counts": {**_COUNTS, "completed": 2},
    "items_path": f"/v1/batches/{EXAMPLE_BATCH_ID}?limit=1000",
}
BATCH_CANCEL_EXAMPLE: Final = {
    **_COMPLETED_EXAMPLE,
    "counts": {**_COUNTS, "cancelled": 2},
    "outcomes": {"requested": 0, "cancelled": 2, "not_cancellable": 0},
    "items": [
        {
            "index": 0,
            "request_id": EXAMPLE_REQUEST_ID,
            "status": "cancelled",
            "outcome": "cancelled",
        },
        {
            "index": 1,
            "request_id": _OTHER_REQUEST_ID,
            "status": "cancelled",
            "outcome": "cancelled",
        },
    ],
}
NEW_BATCH_EXAMPLE: Final = {
    "admit": "all",
    "reference": "storyboard-7",
    "items": [
        {"model_id": EXAMPLE_MODEL_ID, "input": INPUT_EXAMPLE, "reference": "shot-1"},
        {
            "model_id": EXAMPLE_MODEL_ID,
            "input": {**INPUT_EXAMPLE, "duration": 10},
            "reference": "shot-2",
            "priority": "low",
        },
    ],
}


class BatchListQuery(RequestModel):
    """A page of the tenant's batches."""

    limit: Annotated[int, WholeNumberOption(1, MAX_PAGE_SIZE)] = Field(20, description="Page size.")
    cursor: Annotated[str, Field(pattern=r"^bat_[A-Za-z0-9]{1,64}$")] | None = optional(
        "`next_cursor` of the previous page."
    )


class ItemQuery(RequestModel):
    """Which of a batch's items to show."""

    offset: Annotated[int, WholeNumberOption(0, MAX_BATCH_ITEMS)] = Field(
        0, description="The first item's index."
    )
    limit: Annotated[int, WholeNumberOption(1, MAX_BATCH_ITEMS)] = Field(
        100, description="Number of items."
    )


class _Counts(Document):
    total: int
    refused: int
    in_queue: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int


class BatchSummary(Document):
    """A batch without its items."""

    batch_id: str
    status: BatchStatus = Field(
        description="`completed`: every request of it has ended, successfully or not."
    )
    reference: str | None = optional()
    created_at: TimeText
    finished_at: TimeText | None = optional()
    counts: _Counts


class BatchCompleted(BatchSummary):
    """The data of `batch.completed`."""

    items_path: str = Field(
        description="Path of the items below the gateway's URL, with their request ids; the output "
        "of each is at `/v1/requests/{request_id}/result`."
    )


class _LinkedSummary(BatchSummary):
    batch_url: str
    cancel_url: str


class _Item(Document):
    index: int
    request_id: str | None = optional()
    status: PublicStatus | None = optional()
    gateway_cache: CacheStatus | None = optional()
    reference: str | None = optional()
    error: Problem | None = optional("The problem of a submit with this item alone.")


class Batch(_LinkedSummary):
    """A batch with a page of its items."""

    model_config = example(BATCH_EXAMPLE)

    items: list[_Item]


class Batches(Document):
    """A page of batches, without their items."""

    model_config = example(
        {"batches": [{**_RUNNING_EXAMPLE, **_LINKS}], "next_cursor": EXAMPLE_BATCH_ID}
    )

    batches: list[_LinkedSummary]
    next_cursor: str | None = optional()


class _Outcomes(Document):
    requested: int
    cancelled: int
    not_cancellable: int


class _CancelledItem(Document):
    index: int
    request_id: str
    status: PublicStatus
    outcome: CancelOutcome | None = optional()
    error: Problem | None = optional("The problem of a submit with this item alone.")


class BatchCancel(BatchSummary):
    """What cancelling the rest of a batch did, item by item."""

    model_config = example(BATCH_CANCEL_EXAMPLE)

    outcomes: _Outcomes
    items: list[_CancelledItem]
