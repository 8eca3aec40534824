"""What callers and receivers read about a job, as JSON bytes in RunComfy's shapes.

Pure; knows no HTTP.

Both processes need these: the service answers with them, the worker's callbacks carry them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.deliveries import EventType
from core.history import Estimate
from core.jobs import CancelOutcome, Job, JobRecord, PublicStatus, TimelineEntry
from core.money import to_usd

EVENT_OF_STATUS: Final = {
    PublicStatus.IN_QUEUE: EventType.IN_QUEUE,
    PublicStatus.IN_PROGRESS: EventType.IN_PROGRESS,
    PublicStatus.COMPLETED: EventType.COMPLETED,
    PublicStatus.FAILED: EventType.FAILED,
    PublicStatus.CANCELLED: EventType.CANCELLED,
}


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
    """The body of a callback: Standard Webhooks' type, timestamp and data.

    The same on every attempt.
    """
    data = _result(record, include_cost=True) | _foretold(estimate)
    return orjson.dumps({"type": event, "timestamp": _iso(at), "data": data})


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
