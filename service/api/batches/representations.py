"""What callers read of batches, as JSON bytes. Pure; knows no HTTP but its problems."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import orjson

from core.batches import BatchItem, BatchView
from core.errors import GatewayError
from core.representations.batches import batch_summary
from core.representations.jobs import present
from core.store.batches import BatchPage
from service.batches.cancel import BatchCancelled, ItemCancelled
from service.problems import problem_of


def batch_document(view: BatchView, base: str) -> bytes:
    """A batch with its items; `base` is the gateway's own address."""
    return orjson.dumps(_whole(view, base) | {"items": [_item(item) for item in view.items]})


def page_document(page: BatchPage, base: str) -> bytes:
    """A page of batches, without their items."""
    cursor = {"next_cursor": page.cursor} if page.cursor else {}
    return orjson.dumps({"batches": [_whole(view, base) for view in page.batches]} | cursor)


def cancelled_document(cancelled: BatchCancelled) -> bytes:
    """What became of the cancel of the rest."""
    items = [_cancelled(one) for one in cancelled.items]
    more = {"outcomes": cancelled.outcomes, "items": items}
    return orjson.dumps(batch_summary(cancelled.view) | more)


def _whole(view: BatchView, base: str) -> dict[str, Any]:
    url = f"{base}/v1/batches/{view.batch.id}"
    return batch_summary(view) | {"batch_url": url, "cancel_url": f"{url}/cancel"}


def _item(item: BatchItem) -> dict[str, Any]:
    if item.refused is not None:
        return {"index": item.index, "error": _error(item.refused)}
    return present(
        {
            "index": item.index,
            "request_id": item.job_id,
            "status": None if item.job is None else item.job.status,
            "gateway_cache": item.reuse,
            "reference": None if item.job is None else item.job.reference,
        }
    )


def _cancelled(one: ItemCancelled) -> dict[str, Any]:
    fields = {"index": one.item.index, "request_id": one.job.id, "status": one.job.status}
    if one.fault is not None:
        return fields | {"error": _error(one.fault)}
    return fields | {"outcome": one.outcome}


def _error(refused: GatewayError | bytes) -> orjson.Fragment | Mapping[str, Any]:
    if isinstance(refused, bytes):
        return orjson.Fragment(refused)
    document: dict[str, Any] = orjson.loads(problem_of(refused).body)
    if refused.retry_after is not None:
        document["retry_after"] = max(1, ceil(refused.retry_after.total_seconds()))
    return document
