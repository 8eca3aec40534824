"""JSON representations of jobs, in the shapes of RunComfy's API. Pure.

The service answers with them, and the worker sends them in webhooks. On RunComfy's own calls
`status` is RunComfy's word, and `gateway_status` the word of all other calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from core.batches import BatchSnapshot
from core.clock import iso
from core.jobs.job import CancelOutcome, Job, JobRecord, PublicStatus
from core.jobs.query import Cursor
from core.jobs.run_times import Estimate
from core.jobs.runcomfy_status import result_word, status_word
from core.jobs.timeline import TimelineEntry
from core.labels import labels_to_dict
from core.money import usd_or_none
from core.page import Page
from core.webhooks.delivery import EVENT_OF_STATUS, WebhookEventType


@dataclass(frozen=True, slots=True)
class Links:
    """Builds the URLs of a job. `base` is the gateway's own URL without a trailing slash."""

    base: str

    def for_job(self, job_id: str) -> dict[str, str]:
        """Return RunComfy's three URLs, at this gateway."""
        root = f"{self.base}/v1/requests/{job_id}"
        return {
            "status_url": f"{root}/status",
            "result_url": f"{root}/result",
            "cancel_url": f"{root}/cancel",
        }


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def shown_labels(job: Job) -> dict[str, str] | None:
    """Return a job's labels as callers see them; None if it has none."""
    return labels_to_dict(job.labels) if job.labels else None


def status_to_json(job: Job, links: Links, estimate: Estimate | None = None) -> bytes:
    """Return the answer to a submit and to a status request."""
    fields = _status_fields(job, links) | _runcomfy_words(job, status_word(job))
    return orjson.dumps(fields if estimate is None else fields | _estimate_fields(estimate))


def cancellation_to_json(job: Job, outcome: CancelOutcome) -> bytes:
    """Return the answer to a cancel request."""
    words = _runcomfy_words(job, status_word(job))
    return orjson.dumps({"request_id": job.id} | words | {"outcome": outcome})


def result_to_json(record: JobRecord, *, include_cost: bool) -> bytes:
    """Return the answer to a result request: the status until the end, then output or error."""
    return orjson.dumps(_result_answer(record, include_cost=include_cost))


def submit_result_to_json(record: JobRecord, links: Links) -> bytes:
    """Return the answer to a submit of a job that has ended: its result, with its URLs."""
    result = _result_answer(record, include_cost=True)
    return orjson.dumps(result | links.for_job(record.job.id))


def event_to_json(
    record: JobRecord,
    event: WebhookEventType,
    timestamp: datetime,
    estimate: Estimate | None = None,
) -> bytes:
    """Return an event of an event stream: type, timestamp and data of a webhook, and estimates."""
    data = result_fields(record, include_cost=True) | _estimate_fields(estimate)
    return orjson.dumps({"type": event, "timestamp": iso(timestamp), "data": data})


def past_status_to_json(job: Job, status: PublicStatus, timestamp: datetime) -> bytes:
    """Return the event of an earlier status, without the fields that were set later."""
    data = {
        "request_id": job.id,
        "status": status,
        "model_id": job.model_id,
        "model_alias": job.model_alias,
        "created_at": iso(job.created_at),
        "reference": job.reference,
        "labels": shown_labels(job),
    }
    event = EVENT_OF_STATUS[status]
    return orjson.dumps({"type": event, "timestamp": iso(timestamp), "data": without_none(data)})


def job_summary(job: Job, links: Links | None = None) -> dict[str, Any]:
    """Return a job as an item of a list."""
    return without_none(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "model_alias": job.model_alias,
            "reference": job.reference,
            "labels": shown_labels(job),
            "key_id": job.key_id,
            "created_at": iso(job.created_at),
            "finished_at": iso(job.finished_at),
            "cost": usd_or_none(job.cost),
            "billed": job.billed,
            **(links.for_job(job.id) if links else {}),
        }
    )


def job_page_representation(page: Page[Job, Cursor], links: Links | None = None) -> dict[str, Any]:
    """Return a page of jobs, with `next_cursor` unless it is the last one."""
    requests = [job_summary(job, links) for job in page.items]
    return {"requests": requests} | ({"next_cursor": page.cursor.token} if page.cursor else {})


def job_details_to_json(
    record: JobRecord,
    links: Links,
    timeline: tuple[TimelineEntry, ...],
    delivery_ids: tuple[str, ...],
) -> bytes:
    """Return everything about one job, with its timeline."""
    job = record.job
    more = {
        "state": job.state,
        "attempts": job.attempts,
        "polls": record.polls,
        "upstream_request_id": job.upstream_id,
        "upstream_status": job.upstream_status,
        "upstream_result_status": job.upstream_result_status,
        "upstream_finished_at": iso(job.upstream_finished_at),
        "upstream_trouble": job.upstream_error,
        "upstream_trouble_since": iso(job.upstream_error_since),
        "webhook": job.webhook,
        "key_id": job.key_id,
        "updated_at": iso(job.updated_at),
        "start_by": iso(job.start_deadline),
        "finish_by": iso(job.deadline),
        "cancel_asked_at": iso(job.cancel_requested_at),
        "cancel_outcome": job.cancel_outcome,
        "reused_from": job.leader,
        "estimated_cost": usd_or_none(job.estimate),
        "deliveries": list(delivery_ids),
    }
    return orjson.dumps(
        _status_fields(job, links)
        | result_fields(record, include_cost=True)
        | without_none(more)
        | {"timeline": [_entry(entry) for entry in timeline]}
    )


def _status_fields(job: Job, links: Links) -> dict[str, Any]:
    status = job.status
    return without_none(
        {
            "request_id": job.id,
            "status": status,
            "queue_position": job.queue_position if status is PublicStatus.IN_QUEUE else None,
            "waiting_for": job.waiting_for,
            **links.for_job(job.id),
            "reference": job.reference,
            "labels": shown_labels(job),
        }
    )


def _result_answer(record: JobRecord, *, include_cost: bool) -> dict[str, Any]:
    words = _runcomfy_words(record.job, result_word(record.job))
    return result_fields(record, include_cost=include_cost) | words


def _runcomfy_words(job: Job, word: str) -> dict[str, str]:
    return {"status": word, "gateway_status": job.status}


def result_fields(record: JobRecord, *, include_cost: bool) -> dict[str, Any]:
    """Return the fields of a result as event streams and webhooks have them."""
    job = record.job
    return without_none(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "model_alias": job.model_alias,
            "output": orjson.Fragment(record.output) if record.output else None,
            "error": _error(job),
            "created_at": iso(job.created_at),
            "finished_at": iso(job.finished_at),
            "cost": usd_or_none(job.cost) if include_cost else None,
            "cost_source": job.cost_source if include_cost else None,
            "saved_usd": usd_or_none(job.cost_saved) if include_cost else None,
            "billed": job.billed,
            "late": job.late or None,
            "reference": job.reference,
            "labels": shown_labels(job),
        }
    )


def _estimate_fields(estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    return {"estimated_finish": {"p50": iso(estimate.p50), "p90": iso(estimate.p90)}}


def count_fields(view: BatchSnapshot) -> dict[str, int]:
    """Return the numbers of all items, of rejected items, and of jobs by public status."""
    refused = view.batch.size - view.counts.admitted
    by_status = {str(status): getattr(view.counts, status) for status in PublicStatus}
    return {"total": view.batch.size, "refused": refused, **by_status}


def _error(job: Job) -> dict[str, str] | None:
    if job.error is None:
        return None
    return without_none(
        {
            "code": job.error.code,
            "message": job.error.message,
            "upstream_code": job.error.upstream_code,
        }
    )


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return without_none(
        {
            "at": iso(entry.at),
            "event": entry.kind,
            "what": entry.code,
            "state": entry.state,
            "detail": entry.detail,
            "http_status": entry.http_status,
            "count": entry.count,
        }
    )
