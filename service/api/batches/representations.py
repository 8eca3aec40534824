"""What callers read of batches, as JSON bytes. Pure; knows no HTTP but its problems."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import orjson

from core.batches import BatchItem, BatchSnapshot
from core.errors import GatewayError
from core.page import Page
from core.representations.batches import batch_summary
from core.representations.jobs import without_none
from service.batches.cancel import BatchCancellation, ItemCancellation
from service.problems import problem_of


def batch_to_json(view: BatchSnapshot, base: str) -> bytes:
    """A batch with its items; `base` is the gateway's own address."""
    return orjson.dumps(
        _summary_with_links(view, base)
        | {"items": [_item_representation(item) for item in view.items]}
    )


def batch_page_to_json(page: Page[BatchSnapshot, str], base: str) -> bytes:
    """A page of batches, without their items."""
    cursor = {"next_cursor": page.cursor} if page.cursor else {}
    return orjson.dumps(
        {"batches": [_summary_with_links(view, base) for view in page.items]} | cursor
    )


def batch_cancellation_to_json(cancellation: BatchCancellation) -> bytes:
    """What became of the cancel of the rest."""
    items = [_cancellation_representation(one) for one in cancellation.items]
    more = {"outcomes": cancellation.outcomes, "items": items}
    return orjson.dumps(batch_summary(cancellation.view) | more)


def _summary_with_links(view: BatchSnapshot, base: str) -> dict[str, Any]:
    url = f"{base}/v1/batches/{view.batch.id}"
    return batch_summary(view) | {"batch_url": url, "cancel_url": f"{url}/cancel"}


def _item_representation(item: BatchItem) -> dict[str, Any]:
    if item.rejection is not None:
        return {"index": item.index, "error": _error_representation(item.rejection)}
    return without_none(
        {
            "index": item.index,
            "request_id": item.job_id,
            "status": None if item.job is None else item.job.status,
            "gateway_cache": item.cache_status,
            "reference": None if item.job is None else item.job.reference,
        }
    )


def _cancellation_representation(cancellation: ItemCancellation) -> dict[str, Any]:
    fields = {
        "index": cancellation.item.index,
        "request_id": cancellation.job.id,
        "status": cancellation.job.status,
    }
    if cancellation.error is not None:
        return fields | {"error": _error_representation(cancellation.error)}
    return fields | {"outcome": cancellation.outcome}


def _error_representation(error: GatewayError | bytes) -> orjson.Fragment | Mapping[str, Any]:
    if isinstance(error, bytes):
        return orjson.Fragment(error)
    document: dict[str, Any] = orjson.loads(problem_of(error).body)
    if error.retry_after is not None:
        document["retry_after"] = max(1, ceil(error.retry_after.total_seconds()))
    return document
