"""What callers and receivers read about jobs and batches, as JSON in RunComfy's shapes.

Pure; knows no HTTP.

Both processes need these: the service answers with them, the worker's callbacks carry them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from core.batches import BatchView
from core.clock import iso
from core.jobs.job import CancelOutcome, Job, JobRecord, PublicStatus
from core.jobs.query import JobPage
from core.jobs.run_times import Estimate
from core.jobs.timeline import TimelineEntry
from core.money import usd_or_none
from core.webhooks.delivery import EVENT_OF_STATUS, EventType


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
    return orjson.dumps(result_fields(record, include_cost=include_cost))


def event_document(
    record: JobRecord, event: EventType, at: datetime, estimate: Estimate | None = None
) -> bytes:
    """An event of a stream: a callback's type, timestamp and data, and what is foretold."""
    data = result_fields(record, include_cost=True) | _foretold(estimate)
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
        | result_fields(record, include_cost=True)
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


def result_fields(record: JobRecord, *, include_cost: bool) -> dict[str, Any]:
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


def count_fields(view: BatchView) -> dict[str, int]:
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
