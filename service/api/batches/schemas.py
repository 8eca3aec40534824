"""What the operations on batches accept and return."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field

from core.batches import MAX_BATCH_ITEMS, AdmissionMode, BatchStatus
from core.jobs.job import CancelOutcome, PublicStatus
from core.tenants.cache_policy import CacheStatus
from service.api.schemas import Problem
from service.http.openapi import Schema, json_content, ref
from service.jobs.submit_options import SUBMIT_OPTIONS
from service.parsing.request_models import (
    Document,
    RequestModel,
    TimeText,
    WholeNumberOption,
    optional,
)

MAX_PAGE_SIZE: Final = 100
NEW_BATCH_BODY: Final = json_content("The submits.", "NewBatch", required=True)


def new_batch_components() -> Mapping[str, Schema]:
    """Return the schemas of a batch's body. An item has the options of a submit as fields."""
    options = {name: option for name, option in SUBMIT_OPTIONS.items() if option.for_items}
    item = {name: {**one.schema, "description": one.description} for name, one in options.items()}
    # An amount may be a text, so that no digit is lost.
    item["max_cost"] |= {"type": ["number", "string"]}
    batch = {
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_BATCH_ITEMS,
            "items": ref("NewItem"),
        },
        "admit": {
            "type": "string",
            "enum": list(AdmissionMode),
            "default": AdmissionMode.ALL_OR_NOTHING,
        },
        "reference": item["reference"],
        "webhook": item["webhook"] | {"description": "Receives `batch.completed` only."},
    }
    own = {"model_id": {"type": "string"}, "input": {"type": "object"}}
    return {
        "NewBatch": _closed_object(batch, ("items",)),
        "NewItem": _closed_object({**own, **item}, tuple(own)),
    }


def _closed_object(properties: Schema, required: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
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

    items: list[_Item]


class Batches(Document):
    """A page of batches, without their items."""

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

    outcomes: _Outcomes
    items: list[_CancelledItem]
