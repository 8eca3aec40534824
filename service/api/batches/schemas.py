"""What the operations on batches accept."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field

from core.batches import MAX_BATCH_ITEMS, AdmissionMode
from service.http.openapi import Schema, json_content, ref
from service.jobs.submit_options import SUBMIT_OPTIONS
from service.parsing.labels import LABELS_SCHEMA
from service.parsing.request_models import (
    RequestModel,
    WholeNumberOption,
    optional,
)

MAX_PAGE_SIZE: Final = 100
BATCH_SUBMIT_BODY: Final = json_content("The submits.", "BatchSubmit", required=True)


def batch_submit_components() -> Mapping[str, Schema]:
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
            "items": ref("BatchSubmitItem"),
        },
        "admit": {
            "type": "string",
            "enum": list(AdmissionMode),
            "default": AdmissionMode.ALL_OR_NOTHING,
        },
        "reference": item["reference"],
        "labels": {**LABELS_SCHEMA, "description": "Labels of every item."},
        "webhook": item["webhook"] | {"description": "Receives `batch.completed` only."},
    }
    own = {"model_id": {"type": "string"}, "input": ref("ModelInput")}
    item["labels"] = {**LABELS_SCHEMA, "description": "Its labels, beside those of the batch."}
    return {
        "BatchSubmit": _closed_object(batch, ("items",)),
        "BatchSubmitItem": _closed_object({**own, **item}, tuple(own)),
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
