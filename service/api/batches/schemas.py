"""The shapes of batches, as JSON Schema with examples."""

from collections.abc import Mapping
from typing import Any, Final

from core.batches import MOST_ITEMS, Admit, BatchStatus
from core.jobs.job import CancelOutcome, PublicStatus
from core.tenants.cache_policy import CacheOption, Reuse
from service.api.schemas import INPUT_EXAMPLE, INSTANT, MODEL_NAME, REQUEST_ID, TEXT
from service.http.openapi import Schema, closed, many, objects, ref, words
from service.jobs.submit_options import PRIORITIES
from service.parsing.fields import MOST_REFERENCE_CHARS

_COUNT: Final = {"type": "integer"}
_URL: Final = {"type": "string", "format": "uri"}
_REFERENCE: Final = {"type": "string", "minLength": 1, "maxLength": MOST_REFERENCE_CHARS}
_SPAN: Final = {"type": "integer", "minimum": 1}
_ERROR: Final = {
    "description": "The problem that a submit of this item alone would be answered with; "
    "`retry_after` in seconds.",
    **ref("Problem"),
}
_ADMIT: Final = {"type": "string", "enum": list(Admit), "default": Admit.ALL}
_SUMMARY: Final[Mapping[str, Schema]] = {
    "batch_id": TEXT,
    "status": {
        **words(BatchStatus),
        "description": "`completed`: every request of it has ended, well or not.",
    },
    "reference": TEXT,
    "created_at": INSTANT,
    "finished_at": INSTANT,
    "counts": objects(
        f"total refused {' '.join(PublicStatus)}",
        total=_COUNT,
        refused=_COUNT,
        **{str(status): _COUNT for status in PublicStatus},
    ),
}
_REQUIRED: Final = "batch_id status created_at counts"
_WHOLE: Final[Mapping[str, Schema]] = {**_SUMMARY, "batch_url": _URL, "cancel_url": _URL}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Batch": objects(f"{_REQUIRED} batch_url cancel_url items", **_WHOLE, items=many(ref("Item"))),
    "Batches": objects(
        "batches",
        batches=many(objects(f"{_REQUIRED} batch_url cancel_url", **_WHOLE)),
        next_cursor=TEXT,
    ),
    "Item": objects(
        "index",
        index=_COUNT,
        request_id=TEXT,
        status=words(PublicStatus),
        gateway_cache=words(Reuse),
        reference=TEXT,
        error=_ERROR,
    ),
    "BatchCancel": objects(
        f"{_REQUIRED} outcomes items",
        **_SUMMARY,
        outcomes=objects(" ".join(CancelOutcome), **{str(word): _COUNT for word in CancelOutcome}),
        items=many(
            objects(
                "index request_id status",
                index=_COUNT,
                request_id=TEXT,
                status=words(PublicStatus),
                outcome=words(CancelOutcome),
                error=_ERROR,
            )
        ),
    ),
    "BatchEvent": objects(_REQUIRED, **_SUMMARY),
    "NewBatch": closed(
        "items",
        items={
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_ITEMS,
            "items": ref("NewItem"),
        },
        admit=_ADMIT,
        reference=_REFERENCE,
        webhook={**_URL, "description": "Where `batch.completed` goes; no request's callback."},
    ),
    "NewItem": closed(
        "model_id input",
        model_id=TEXT,
        input={"type": "object"},
        webhook=_URL,
        webhook_intermediate_status={"type": "boolean"},
        timeout=_SPAN,
        start_timeout=_SPAN,
        max_cost={"type": ["number", "string"], "description": "USD."},
        priority={"type": "string", "enum": list(PRIORITIES)},
        reference=_REFERENCE,
        cache={"type": "string", "enum": list(CacheOption)},
    ),
}

BATCH_ID: Final = "bat_01KAP7ZJ5V9GQH6MTB2X0C4E8R"
_BATCH_URL: Final = f"https://gateway.example/v1/batches/{BATCH_ID}"
_OTHER: Final = "req_01KAP7ZJ5VWM3N5D1T8K7Y2Q4B"
_COUNTS: Final = {"total": 2, "refused": 0, **dict.fromkeys(map(str, PublicStatus), 0)}
_BEGUN: Final[Mapping[str, Any]] = {
    "batch_id": BATCH_ID,
    "status": "in_progress",
    "reference": "storyboard-7",
    "created_at": "2025-11-22T14:58:34.120000Z",
    "counts": {**_COUNTS, "in_queue": 2},
}
_ENDED: Final[Mapping[str, Any]] = {
    **_BEGUN,
    "status": "completed",
    "finished_at": "2025-11-22T15:00:02.480000Z",
}
_LINKS: Final = {"batch_url": _BATCH_URL, "cancel_url": f"{_BATCH_URL}/cancel"}
BATCH_EXAMPLE: Final = {
    **_BEGUN,
    **_LINKS,
    "items": [
        {
            "index": 0,
            "request_id": REQUEST_ID,
            "status": "in_queue",
            "gateway_cache": "off",
            "reference": "shot-1",
        },
        {
            "index": 1,
            "request_id": _OTHER,
            "status": "in_queue",
            "gateway_cache": "off",
            "reference": "shot-2",
        },
    ],
}
BATCHES_EXAMPLE: Final = {"batches": [{**_BEGUN, **_LINKS}], "next_cursor": BATCH_ID}
EVENT_EXAMPLE: Final = {**_ENDED, "counts": {**_COUNTS, "completed": 2}}
CANCELLED_EXAMPLE: Final = {
    **_ENDED,
    "counts": {**_COUNTS, "cancelled": 2},
    "outcomes": {"requested": 0, "cancelled": 2, "not_cancellable": 0},
    "items": [
        {"index": 0, "request_id": REQUEST_ID, "status": "cancelled", "outcome": "cancelled"},
        {"index": 1, "request_id": _OTHER, "status": "cancelled", "outcome": "cancelled"},
    ],
}
NEW_BATCH_EXAMPLE: Final = {
    "admit": "all",
    "reference": "storyboard-7",
    "items": [
        {"model_id": MODEL_NAME, "input": INPUT_EXAMPLE, "reference": "shot-1"},
        {
            "model_id": MODEL_NAME,
            "input": {**INPUT_EXAMPLE, "duration": 10},
            "reference": "shot-2",
            "priority": "low",
        },
    ],
}
