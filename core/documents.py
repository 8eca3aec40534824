"""What callers and receivers read about jobs and batches, as JSON in RunComfy's shapes.

Pure; knows no HTTP.

Both processes need these: the service answers with them, the worker's callbacks carry them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.batches import BatchView
from core.clock import iso
from core.deliveries import Delivery, DeliveryAttempt, EventType
from core.endpoints import ON_THE_WAY, Payload
from core.history import Estimate
from core.jobs import CancelOutcome, Job, JobRecord, PublicStatus, TimelineEntry
from core.listing import JobPage
from core.money import usd_or_none

EVENT_OF_STATUS: Final = {
    PublicStatus.IN_QUEUE: EventType.IN_QUEUE,
    PublicStatus.IN_PROGRESS: EventType.IN_PROGRESS,
    PublicStatus.COMPLETED: EventType.COMPLETED,
    PublicStatus.FAILED: EventType.FAILED,
    PublicStatus.CANCELLED: EventType.CANCELLED,
}
STATUS_OF_EVENT: Final = {event: status for status, event in EVENT_OF_STATUS.items()}


@dataclass(frozen=True, slots=True)
class Links:
    """Where a caller finds a job; `base` is the gateway's own address without a trailing slash."""

    base: str

    def of(self, job_id: str) -> dict[str, str]:
        """RunComfy's three URLs, pointing at us."""
        root = f"{self.base}/v1/requests/{job_id}"
        return {
            "status_url": f"{root}/status",
            "result_url": f"{root}/result",
            "cancel_url": f"{root}/cancel",
        }


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of these fields: those that are None are left out."""
    return {name: value for name, value in fields.items() if value is not None}


def status_document(job: Job, links: Links, estimate: Estimate | None = None) -> bytes:
    """The answer to a submit and to a status call."""
    return orjson.dumps(_status(job, links) | _foretold(estimate))


def cancel_document(job: Job, outcome: CancelOutcome) -> bytes:
    """The answer to a cancel."""
    return orjson.dumps({"request_id": job.id, "status": job.status, "outcome": outcome})


def result_document(record: JobRecord, *, include_cost: bool) -> bytes:
    """The answer to a result call: before the end the present status, then output or error."""
    return orjson.dumps(_result(record, include_cost=include_cost))


def event_document(
    record: JobRecord, event: EventType, at: datetime, estimate: Estimate | None = None
) -> bytes:
    """An event of a stream: a callback's type, timestamp and data, and what is foretold."""
    data = _result(record, include_cost=True) | _foretold(estimate)
    return orjson.dumps({"type": event, "timestamp": iso(at), "data": data})


def passed_document(job: Job, status: PublicStatus, at: datetime) -> bytes:
    """The same of a status that the job has left: only what was true then and still is."""
    data = {
        "request_id": job.id,
        "status": status,
        "model_id": job.model_id,
        "created_at": iso(job.created_at),
        "reference": job.reference,
    }
    event = EVENT_OF_STATUS[status]
    return orjson.dumps({"type": event, "timestamp": iso(at), "data": present(data)})


def event_data(record: JobRecord, event: EventType, payload: Payload = Payload.FULL) -> bytes:
    """What a callback about a job says: of an end the result, of the way there where it stood then.

    A status on the way may be told of after it has passed; what came later is not in it.
    """
    job, passing = record.job, event in ON_THE_WAY
    head = {"request_id": job.id, "status": STATUS_OF_EVENT[event]}
    if payload is Payload.THIN:
        return orjson.dumps(present(head | {"reference": job.reference}))
    if passing:
        more = {"model_id": job.model_id, "created_at": iso(job.created_at)}
        return orjson.dumps(present(head | more | {"reference": job.reference}))
    return orjson.dumps(_result(record, include_cost=True))


def callback_document(event: EventType, at: datetime, data: bytes) -> bytes:
    """The body of a callback: Standard Webhooks' type, timestamp and data (JSON)."""
    fields = {"type": event, "timestamp": iso(at), "data": orjson.Fragment(data)}
    return orjson.dumps(fields)


def cloud_event(delivery: Delivery, data: bytes) -> bytes:
    """The same event as CloudEvents 1.0 in JSON; `id` is the `webhook-id` of a callback."""
    return orjson.dumps(
        present(
            {
                "specversion": "1.0",
                "id": delivery.id,
                "source": f"/tenants/{delivery.tenant}",
                "type": delivery.event,
                "subject": delivery.job_id,
                "time": iso(delivery.created_at),
                "datacontenttype": "application/json",
                "data": orjson.Fragment(data),
            }
        )
    )


def delivery_document(delivery: Delivery, attempts: Sequence[DeliveryAttempt]) -> dict[str, Any]:
    """One callback with its attempts, as its tenant reads it."""
    return present(
        {
            "id": delivery.id,
            "request_id": delivery.job_id,
            "event": delivery.event,
            "status": delivery.state,
            "endpoint_id": delivery.endpoint,
            "url": delivery.url,
            "created_at": iso(delivery.created_at),
            "next_attempt_at": iso(delivery.due_at),
            "finished_at": iso(delivery.finished_at),
            "resent_at": iso(delivery.resent_at),
            "last_outcome": delivery.last_outcome,
            "attempts": [_attempt(attempt) for attempt in attempts],
        }
    )


def summary_document(job: Job, links: Links | None = None) -> dict[str, Any]:
    """A job as a line of a list."""
    return present(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "reference": job.reference,
            "created_at": iso(job.created_at),
            "finished_at": iso(job.finished_at),
            "cost": usd_or_none(job.cost),
            "billed": job.billed,
            **(links.of(job.id) if links else {}),
        }
    )


def page_document(page: JobPage, links: Links | None = None) -> dict[str, Any]:
    """A page of a list of jobs; `next_cursor` while there may be more."""
    shown = [summary_document(job, links) for job in page.jobs]
    return {"requests": shown} | ({"next_cursor": page.cursor.text} if page.cursor else {})


def batch_summary(view: BatchView) -> dict[str, Any]:
    """What an answer and the closing event say of a batch as a whole."""
    batch = view.batch
    return present(
        {
            "batch_id": batch.id,
            "status": view.status,
            "reference": batch.reference,
            "created_at": iso(batch.created_at),
            "finished_at": iso(view.finished_at),
            "counts": _counts(view),
        }
    )


def detail_document(
    record: JobRecord,
    links: Links,
    timeline: tuple[TimelineEntry, ...],
    delivery_ids: tuple[str, ...],
) -> bytes:
    """Everything about one job, with its history."""
    job = record.job
    more = {
        "state": job.state,
        "attempts": job.attempts,
        "polls": record.polls,
        "upstream_request_id": job.upstream_id,
        "upstream_status": job.upstream_word,
        "upstream_finished_at": iso(job.upstream_finished_at),
        "upstream_trouble": job.trouble,
        "upstream_trouble_since": iso(job.trouble_since),
        "webhook": job.webhook,
        "updated_at": iso(job.updated_at),
        "start_by": iso(job.start_by),
        "finish_by": iso(job.finish_by),
        "cancel_asked_at": iso(job.cancel_asked_at),
        "cancel_outcome": job.cancel_outcome,
        "reused_from": job.leader,
        "estimated_cost": usd_or_none(job.estimate),
        "deliveries": list(delivery_ids),
    }
    return orjson.dumps(
        _status(job, links)
        | _result(record, include_cost=True)
        | present(more)
        | {"timeline": [_entry(entry) for entry in timeline]}
    )


def _status(job: Job, links: Links) -> dict[str, Any]:
    queued = job.status is PublicStatus.IN_QUEUE
    return present(
        {
            "request_id": job.id,
            "status": job.status,
            "queue_position": job.queue_position if queued else None,
            **links.of(job.id),
            "reference": job.reference,
        }
    )


def _result(record: JobRecord, *, include_cost: bool) -> dict[str, Any]:
    job = record.job
    return present(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "output": orjson.Fragment(record.output) if record.output else None,
            "error": _error(job),
            "created_at": iso(job.created_at),
            "finished_at": iso(job.finished_at),
            "cost": usd_or_none(job.cost) if include_cost else None,
            "cost_source": job.cost_source if include_cost else None,
            "saved_usd": usd_or_none(job.saved) if include_cost else None,
            "billed": job.billed,
            "late": job.late or None,
            "reference": job.reference,
        }
    )


def _foretold(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {"estimated_finish": {"p50": iso(estimate.p50), "p90": iso(estimate.p90)}}


def _counts(view: BatchView) -> dict[str, int]:
    """All items, those that were refused, and jobs by public status."""
    refused = view.batch.size - view.counts.admitted
    by_status = {str(status): getattr(view.counts, status) for status in PublicStatus}
    return {"total": view.batch.size, "refused": refused, **by_status}


def _error(job: Job) -> dict[str, str] | None:
    if job.error is None:
        return None
    return present(
        {
            "code": job.error.code,
            "message": job.error.message,
            "upstream_code": job.error.upstream_code,
        }
    )


def _attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return present(
        {
            "at": iso(attempt.at),
            "number": attempt.number,
            "outcome": attempt.outcome,
            "took_ms": attempt.took_ms,
            "http_status": attempt.http_status,
            "answer": attempt.excerpt,
        }
    )


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return present(
        {
            "at": iso(entry.at),
            "event": entry.note,
            "what": entry.what,
            "state": entry.state,
            "detail": entry.detail,
            "http_status": entry.http_status,
            "count": entry.count,
        }
    )
