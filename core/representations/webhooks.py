"""JSON representations of webhook events and deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from core.clock import iso
from core.jobs.job import JobRecord
from core.representations.jobs import (
    OutputLinks,
    result_fields,
    shown_labels,
    without_none,
)
from core.webhooks.delivery import STATUS_OF_EVENT, Delivery, DeliveryAttempt, WebhookEventType
from core.webhooks.endpoint import INTERMEDIATE_EVENTS, PayloadStyle


def webhook_data(
    record: JobRecord,
    event: WebhookEventType,
    payload: PayloadStyle = PayloadStyle.FULL,
    outputs: OutputLinks | None = None,
) -> bytes:
    """Return the data of an event about a job: the result at the end, else the status.

    An intermediate event may be delivered after later ones; it has no fields that were set later.
    """
    is_thin, job = payload is PayloadStyle.THIN, record.job
    if not is_thin and event not in INTERMEDIATE_EVENTS:
        return orjson.dumps(result_fields(record, outputs, include_cost=True))
    head = {"request_id": job.id, "status": STATUS_OF_EVENT.get(event, job.status)}
    more = {} if is_thin else {"model_id": job.model_id, "created_at": iso(job.created_at)}
    names = {"reference": job.reference, "labels": shown_labels(job)}
    return orjson.dumps(without_none(head | more | names))


def webhook_body(event: WebhookEventType, timestamp: datetime, data: bytes) -> bytes:
    """Return the body of a webhook: Standard Webhooks' type, timestamp and data (JSON)."""
    fields = {"type": event, "timestamp": iso(timestamp), "data": orjson.Fragment(data)}
    return orjson.dumps(fields)


def cloud_event(delivery: Delivery, data: bytes) -> bytes:
    """Return the event as CloudEvents 1.0 in JSON; `id` is what `webhook-id` is over HTTP."""
    return orjson.dumps(
        without_none(
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


def delivery_representation(
    delivery: Delivery, attempts: Sequence[DeliveryAttempt]
) -> dict[str, Any]:
    """Return a delivery with its attempts, as operators read it."""
    return without_none(
        {
            "id": delivery.id,
            "request_id": delivery.job_id,
            "event": delivery.event,
            "status": delivery.state,
            "endpoint_id": delivery.endpoint_id,
            "url": delivery.url,
            "created_at": iso(delivery.created_at),
            "next_attempt_at": iso(delivery.next_attempt_at),
            "finished_at": iso(delivery.finished_at),
            "resent_at": iso(delivery.resent_at),
            "last_outcome": delivery.last_outcome,
            "attempts": [_attempt(attempt) for attempt in attempts],
        }
    )


def _attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return without_none(
        {
            "at": iso(attempt.at),
            "number": attempt.number,
            "outcome": attempt.outcome,
            "took_ms": attempt.duration_ms,
            "http_status": attempt.http_status,
            "answer": attempt.response_excerpt,
        }
    )
