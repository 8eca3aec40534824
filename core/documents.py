"""What callers and receivers read about a job, as JSON bytes in RunComfy's shapes.

Pure; knows no HTTP.

Both processes need these: the service answers with them, the worker's callbacks carry them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.deliveries import Delivery, DeliveryAttempt, EventType
from core.endpoints import ON_THE_WAY, Payload
from core.history import Estimate
from core.jobs import CancelOutcome, Job, JobRecord, PublicStatus, TimelineEntry
from core.listing import JobPage
from core.money import to_usd

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
    return orjson.dumps({"type": event, "timestamp": _iso(at), "data": data})


def event_data(record: JobRecord, event: EventType, payload: Payload = Payload.FULL) -> bytes:
    """What a callback about a job says: of an end the result, of the way there where it stood then.

    A status on the way may be told of after it has passed; what came later is not in it.
    """
    job, passing = record.job, event in ON_THE_WAY
    head = {"request_id": job.id, "status": STATUS_OF_EVENT[event]}
    if payload is Payload.THIN:
        return orjson.dumps(_present(head | {"reference": job.reference}))
    if passing:
        more = {"model_id": job.model_id, "created_at": _iso(job.created_at)}
        return orjson.dumps(_present(head | more | {"reference": job.reference}))
    return orjson.dumps(_result(record, include_cost=True))


def callback_document(event: EventType, at: datetime, data: bytes) -> bytes:
    """The body of a callback: Standard Webhooks' type, timestamp and data (JSON)."""
    fields = {"type": event, "timestamp": _iso(at), "data": orjson.Fragment(data)}
    return orjson.dumps(fields)


def cloud_event(delivery: Delivery, data: bytes) -> bytes:
    """The same event as CloudEvents 1.0 in JSON; `id` is the `webhook-id` of a callback."""
    return orjson.dumps(
        _present(
            {
                "specversion": "1.0",
                "id": delivery.id,
                "source": f"/tenants/{delivery.tenant}",
                "type": delivery.event,
                "subject": delivery.job_id,
                "time": _iso(delivery.created_at),
                "datacontenttype": "application/json",
                "data": orjson.Fragment(data),
            }
        )
    )


def delivery_document(delivery: Delivery, attempts: Sequence[DeliveryAttempt]) -> dict[str, Any]:
    """One callback with its attempts, as its tenant reads it."""
    return _present(
        {
            "id": delivery.id,
            "request_id": delivery.job_id,
            "event": delivery.event,
            "status": delivery.state,
            "endpoint_id": delivery.endpoint,
            "url": delivery.url,
            "created_at": _iso(delivery.created_at),
            "next_attempt_at": _iso(delivery.due_at),
            "finished_at": _iso(delivery.finished_at),
            "resent_at": _iso(delivery.resent_at),
            "last_outcome": delivery.last_outcome,
            "attempts": [_attempt(attempt) for attempt in attempts],
        }
    )


def summary_document(job: Job, links: Links | None = None) -> dict[str, Any]:
    """A job as a line of a list."""
    return _present(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "reference": job.reference,
            "created_at": _iso(job.created_at),
            "finished_at": _iso(job.finished_at),
            "cost": None if job.cost is None else to_usd(job.cost),
            "billed": job.billed,
            **(links.of(job.id) if links else {}),
        }
    )


def page_document(page: JobPage, links: Links | None = None) -> dict[str, Any]:
    """A page of a list of jobs; `next_cursor` while there may be more."""
    shown = [summary_document(job, links) for job in page.jobs]
    return {"requests": shown} | ({"next_cursor": page.cursor.text} if page.cursor else {})


def passed_document(job: Job, status: PublicStatus, at: datetime) -> bytes:
    """The same of a status that the job has left: only what was true then and still is."""
    data = {
        "request_id": job.id,
        "status": status,
        "model_id": job.model_id,
        "created_at": _iso(job.created_at),
        "reference": job.reference,
    }
    event = EVENT_OF_STATUS[status]
    return orjson.dumps({"type": event, "timestamp": _iso(at), "data": _present(data)})


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
        "upstream_finished_at": _iso(job.upstream_finished_at),
        "upstream_trouble": job.trouble,
        "upstream_trouble_since": _iso(job.trouble_since),
        "webhook": job.webhook,
        "updated_at": _iso(job.updated_at),
        "start_by": _iso(job.start_by),
        "finish_by": _iso(job.finish_by),
        "cancel_asked_at": _iso(job.cancel_asked_at),
        "cancel_outcome": job.cancel_outcome,
        "reused_from": job.leader,
        "estimated_cost": None if job.estimate is None else to_usd(job.estimate),
        "deliveries": list(delivery_ids),
    }
    return orjson.dumps(
        _status(job, links)
        | _result(record, include_cost=True)
        | _present(more)
        | {"timeline": [_entry(entry) for entry in timeline]}
    )


def _status(job: Job, links: Links) -> dict[str, Any]:
    queued = job.status is PublicStatus.IN_QUEUE
    return _present(
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
    return _present(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "output": orjson.Fragment(record.output) if record.output else None,
            "error": _error(job),
            "created_at": _iso(job.created_at),
            "finished_at": _iso(job.finished_at),
            "cost": to_usd(job.cost) if include_cost and job.cost is not None else None,
            "cost_source": job.cost_source if include_cost else None,
            "saved_usd": to_usd(job.saved) if include_cost and job.saved is not None else None,
            "billed": job.billed,
            "late": job.late or None,
            "reference": job.reference,
        }
    )


def _foretold(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {"estimated_finish": {"p50": _iso(estimate.p50), "p90": _iso(estimate.p90)}}


def _error(job: Job) -> dict[str, str] | None:
    if job.error is None:
        return None
    return _present(
        {
            "code": job.error.code,
            "message": job.error.message,
            "upstream_code": job.error.upstream_code,
        }
    )


def _attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return _present(
        {
            "at": _iso(attempt.at),
            "number": attempt.number,
            "outcome": attempt.outcome,
            "took_ms": attempt.took_ms,
            "http_status": attempt.http_status,
            "answer": attempt.excerpt,
        }
    )


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return _present(
        {
            "at": _iso(entry.at),
            "event": entry.note,
            "what": entry.what,
            "state": entry.state,
            "detail": entry.detail,
            "http_status": entry.http_status,
            "count": entry.count,
        }
    )


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")
