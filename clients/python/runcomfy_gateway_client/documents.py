"""What the gateway answers. Each has the whole JSON in `document`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FINAL_STATUSES = frozenset({"completed", "failed", "cancelled"})
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Status:
    """Where a request is: `in_queue`, `in_progress`, `completed`, `failed` or `cancelled`.

    `finish_p50`, `finish_p90`: by when (ISO 8601) half of such runs, and nine of ten, have ended.
    """

    request_id: str
    status: str
    queue_position: int | None
    finish_p50: str | None
    finish_p90: str | None
    document: Document

    @property
    def is_final(self) -> bool:
        """Whether the request has ended."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True)
class Result:
    """A request that has ended. `cost` is USD; None: not known yet. `billed`: yes, no, unknown."""

    request_id: str
    status: str
    model_id: str
    output: Any
    cost: float | None
    billed: str
    reference: str | None
    document: Document


@dataclass(frozen=True)
class Event:
    """One event of a request's stream: `type` such as `request.completed`, and its `data`."""

    id: str
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class BatchItem:
    """One submit of a batch: a request, or the `error` that refused it."""

    index: int
    request_id: str | None
    status: str | None
    reference: str | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class Batch:
    """A batch. `counts` has a number for each status, `total` and `refused`."""

    batch_id: str
    status: str
    counts: Mapping[str, int]
    items: Sequence[BatchItem]
    document: Document

    @property
    def is_final(self) -> bool:
        """Whether every request of it has ended."""
        return self.status == "completed"


def status_of(document: Document) -> Status:
    """Return the status in a submit's, status call's or result call's answer."""
    estimate = document.get("estimated_finish") or {}
    return Status(
        request_id=document["request_id"],
        status=document["gateway_status"],
        queue_position=document.get("queue_position"),
        finish_p50=estimate.get("p50"),
        finish_p90=estimate.get("p90"),
        document=document,
    )


def result_of(document: Document) -> Result:
    """Return the result in a result call's answer, or in that of a submit that has ended."""
    return Result(
        request_id=document["request_id"],
        status=document["gateway_status"],
        model_id=document["model_id"],
        output=document.get("output"),
        cost=document.get("cost"),
        billed=document["billed"],
        reference=document.get("reference"),
        document=document,
    )


def batch_of(document: Document) -> Batch:
    """Return the batch in an answer."""
    items = [
        BatchItem(
            index=item["index"],
            request_id=item.get("request_id"),
            status=item.get("status"),
            reference=item.get("reference"),
            error=item.get("error"),
        )
        for item in document.get("items", ())
    ]
    return Batch(document["batch_id"], document["status"], document["counts"], items, document)
