"""The shapes of batches, as JSON Schema with examples."""

from collections.abc import Mapping
from typing import Any, Final

from core.batches import MAX_BATCH_ITEMS, AdmissionMode, BatchStatus
from core.jobs.job import CancelOutcome, PublicStatus
from core.tenants.cache_policy import CacheOption, CacheStatus
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID, INPUT_EXAMPLE, INSTANT, TEXT
from service.http.openapi import (
    Schema,
    array_schema,
    closed_object_schema,
    enum_schema,
    object_schema,
    ref,
)
from service.jobs.submit_options import PRIORITIES
from service.parsing.fields import MAX_REFERENCE_LENGTH

_COUNT: Final = {"type": "integer"}
_URL: Final = {"type": "string", "format": "uri"}
_REFERENCE: Final = {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}
_SECONDS: Final = {"type": "integer", "minimum": 1}
_ERROR: Final = {
    "description": "The problem that a submit of this item alone would be answered with; "
    "`retry_after` in seconds.",
    **ref("Problem"),
}
_ADMIT: Final = {
    "type": "string",
    "enum": list(AdmissionMode),
    "default": AdmissionMode.ALL_OR_NOTHING,
}
_SUMMARY: Final[Mapping[str, Schema]] = {
    "batch_id": TEXT,
    "status": {
        **enum_schema(BatchStatus),
        "description": "`completed`: every request of it has ended, well or not.",
    },
    "reference": TEXT,
    "created_at": INSTANT,
    "finished_at": INSTANT,
    "counts": object_schema(
        f"total refused {' '.join(PublicStatus)}",
        total=_COUNT,
        refused=_COUNT,
        **{str(status): _COUNT for status in PublicStatus},
    ),
}
_REQUIRED: Final = "batch_id status created_at counts"
_BATCH: Final[Mapping[str, Schema]] = {**_SUMMARY, "batch_url": _URL, "cancel_url": _URL}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Batch": object_schema(
        f"{_REQUIRED} batch_url cancel_url items", **_BATCH, items=array_schema(ref("Item"))
    ),
    "Batches": object_schema(
        "batches",
        batches=array_schema(object_schema(f"{_REQUIRED} batch_url cancel_url", **_BATCH)),
        next_cursor=TEXT,
    ),
    "Item": object_schema(
        "index",
        index=_COUNT,
        request_id=TEXT,
        status=enum_schema(PublicStatus),
        gateway_cache=enum_schema(CacheStatus),
        reference=TEXT,
        error=_ERROR,
    ),
    "BatchCancel": object_schema(
        f"{_REQUIRED} outcomes items",
        **_SUMMARY,
        outcomes=object_schema(
            " ".join(CancelOutcome), **{str(word): _COUNT for word in CancelOutcome}
        ),
        items=array_schema(
            object_schema(
                "index request_id status",
                index=_COUNT,
                request_id=TEXT,
                status=enum_schema(PublicStatus),
                outcome=enum_schema(CancelOutcome),
                error=_ERROR,
            )
        ),
    ),
    "BatchEvent": object_schema(_REQUIRED, **_SUMMARY),
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
        webhook={**_URL, "description": "Where `batch.completed` goes; no request's callback."},
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
BATCHES_EXAMPLE: Final = {
    "batches": [{**_RUNNING_EXAMPLE, **_LINKS}],
    "next_cursor": EXAMPLE_BATCH_ID,
}
BATCH_EVENT_EXAMPLE: Final = {**_COMPLETED_EXAMPLE, "counts": {**_COUNTS, "completed": 2}}
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
