"""JSON representations of jobs, in the shapes of RunComfy's API. Pure.

The service answers with them, and the worker sends them in webhooks. On RunComfy's own calls
`status` is RunComfy's word, and `gateway_status` the word of all other calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from core.archive import ArchivedOutput, ArchiveMode, replace_addresses
from core.batches import BatchSnapshot
from core.clock import iso
from core.jobs.job import CancelOutcome, Job, JobRecord, PublicStatus
from core.jobs.query import Cursor
from core.jobs.run_times import Estimate
from core.jobs.runcomfy_status import result_word, status_word
from core.jobs.timeline import TimelineEntry
from core.labels import labels_to_dict
from core.money import usd_or_none
from core.objects.links import LINK_LIFETIME, output_path, signed_path
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


@dataclass(frozen=True, slots=True)
class OutputLinks:
    """Builds the links to kept outputs; they expire `LINK_LIFETIME` after `now`."""

    base: str
    now: datetime

    def for_output(self, job: Job, index: int) -> str:
        """Return the link to one output."""
        path = signed_path(
            bytes.fromhex(job.link_secret), output_path(job.id, index), self.now + LINK_LIFETIME
        )
        return f"{self.base}{path}"


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


def result_to_json(
    record: JobRecord, outputs: OutputLinks | None = None, *, include_cost: bool
) -> bytes:
    """Return the answer to a result request: the status until the end, then output or error."""
    return orjson.dumps(_result_answer(record, outputs, include_cost=include_cost))


def submit_result_to_json(
    record: JobRecord, links: Links, outputs: OutputLinks | None = None
) -> bytes:
    """Return the answer to a submit of a job that has ended: its result, with its URLs."""
    result = _result_answer(record, outputs, include_cost=True)
    return orjson.dumps(result | links.for_job(record.job.id))


def event_to_json(
    record: JobRecord,
    event: WebhookEventType,
    timestamp: datetime,
    estimate: Estimate | None = None,
    outputs: OutputLinks | None = None,
) -> bytes:
    """Return an event of an event stream: type, timestamp and data of a webhook, and estimates."""
    data = result_fields(record, outputs, include_cost=True) | _estimate_fields(estimate)
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
            "not_before": iso(job.not_before),
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
    outputs: OutputLinks | None = None,
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
        | result_fields(record, outputs, include_cost=True)
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
            "not_before": iso(job.not_before),
            **links.for_job(job.id),
            "reference": job.reference,
            "labels": shown_labels(job),
        }
    )


def _result_answer(
    record: JobRecord, outputs: OutputLinks | None, *, include_cost: bool
) -> dict[str, Any]:
    words = _runcomfy_words(record.job, result_word(record.job))
    return result_fields(record, outputs, include_cost=include_cost) | words


def _runcomfy_words(job: Job, word: str) -> dict[str, str]:
    return {"status": word, "gateway_status": job.status}


def result_fields(
    record: JobRecord, outputs: OutputLinks | None = None, *, include_cost: bool
) -> dict[str, Any]:
    """Return the fields of a result as event streams and webhooks have them.

    `outputs` None: the gateway's own address is not known, so that nothing links to it.
    """
    job = record.job
    output = _output(record, outputs)
    return without_none(
        {
            "request_id": job.id,
            "status": job.status,
            "model_id": job.model_id,
            "model_alias": job.model_alias,
            "output": None if output is None else orjson.Fragment(output),
            "outputs": _kept_outputs(job, outputs) or None,
            "archive": _archive_status(job),
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


def _output(record: JobRecord, links: OutputLinks | None) -> bytes | None:
    """Return RunComfy's output object; with `before` it links to what is kept.

    None before the end: it is stored while the outputs are being kept.
    """
    job = record.job
    if not record.output or not job.is_final:
        return None
    if job.archive is not ArchiveMode.BEFORE or links is None:
        return record.output
    kept = {
        output.source_url: links.for_output(job, index)
        for index, output in enumerate(job.outputs)
        if output.file_id is not None
    }
    return replace_addresses(record.output, kept) if kept else record.output


def _kept_outputs(job: Job, links: OutputLinks | None) -> list[dict[str, Any]]:
    if not job.is_final:
        return []
    return [_kept_output(output, index, job, links) for index, output in enumerate(job.outputs)]


def _kept_output(
    output: ArchivedOutput, index: int, job: Job, links: OutputLinks | None
) -> dict[str, Any]:
    is_kept = output.file_id is not None
    return {"index": index} | without_none(
        {
            "field": output.field,
            "media_type": output.media_type,
            "bytes": output.bytes if is_kept else None,
            "sha256": output.sha256,
            "width": output.width,
            "height": output.height,
            "seconds": output.seconds,
            "file_id": output.file_id,
            "url": links.for_output(job, index) if links is not None and is_kept else None,
            "source_url": output.source_url,
            "kept_until": iso(job.kept_until) if is_kept else None,
            "error": output.error,
        }
    )


def _archive_status(job: Job) -> str | None:
    """Return what became of the archive of the outputs; None where they are not kept."""
    if job.archive is ArchiveMode.OFF or not job.is_final:
        return None
    if job.archive_due_at is not None:
        return "pending"
    kept = [output.file_id is not None for output in job.outputs]
    return "kept" if all(kept) else "partial" if any(kept) else "failed"


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
