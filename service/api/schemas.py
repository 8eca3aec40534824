"""The shapes that callers read, as JSON Schema with real examples, for the API's description."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, WithJsonSchema

from core.jobs.job import BillingStatus, CancelOutcome, JobState, PublicStatus
from core.jobs.timeline import TimelineKind
from core.quotas import QuotaPolicy
from service.http.openapi import Schema, array_schema, enum_schema, object_schema, ref
from service.parsing.request_models import Document, optional, without_null


class _FieldProblem(Document):
    path: str
    message: str


class Problem(Document):
    """An error (RFC 9457)."""

    type: Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable word; `docs/errors.md` lists them.")
    retryable: bool
    billed: BillingStatus
    request_id: str | None = optional()
    errors: list[_FieldProblem] | None = optional()
    violated_policies: list[QuotaPolicy] | None = Field(
        None, alias="violated-policies", json_schema_extra=without_null
    )
    retry_after: int | None = optional("Seconds; of an item of a batch.")


EXAMPLE_REQUEST_ID: Final = "req_01KAP7ZJ5V3Q8M0RWX4T2YDN6C"


_BASE: Final = f"https://gateway.example/v1/requests/{EXAMPLE_REQUEST_ID}"


EXAMPLE_MODEL_ID: Final = "kling/kling-3.0/standard/image-to-video"


TEXT: Final = {"type": "string"}


INSTANT: Final = {"type": "string", "format": "date-time"}


_LINKS: Final = {
    name: {"type": "string", "format": "uri"} for name in ("status_url", "result_url", "cancel_url")
}


_STATUS: Final[Mapping[str, Schema]] = {
    "request_id": TEXT,
    "status": enum_schema(PublicStatus),
    "queue_position": {"type": "integer", "description": "While RunComfy reports it."},
    "estimated_finish": {
        **object_schema("p50 p90", p50=INSTANT, p90=INSTANT),
        "description": "By when half of such runs, and nine of ten, have ended. While RunComfy "
        "has it, once 20 runs of the model are known.",
    },
    **_LINKS,
    "reference": TEXT,
}


_RESULT: Final[Mapping[str, Schema]] = {
    "request_id": TEXT,
    "status": enum_schema(PublicStatus),
    "model_id": TEXT,
    "output": {"description": "RunComfy's output, as it came."},
    "error": object_schema("code message", code=TEXT, message=TEXT, upstream_code=TEXT),
    "created_at": INSTANT,
    "finished_at": INSTANT,
    "cost": {
        "type": "number",
        "description": "USD, once it is known; left out with `include_cost=false`.",
    },
    "cost_source": TEXT,
    "saved_usd": {"type": "number", "description": "What a reused result would have cost."},
    "billed": enum_schema(BillingStatus),
    "late": {"type": "boolean", "description": "It came after the job's deadline."},
    "reference": TEXT,
}


_ENTRY: Final = object_schema(
    "at event what state",
    at=INSTANT,
    event=enum_schema(TimelineKind),
    what=TEXT,
    state=enum_schema(JobState),
    detail=TEXT,
    http_status={"type": "integer"},
    count={"type": "integer"},
)


_DETAIL: Final[Mapping[str, Schema]] = {
    "state": enum_schema(JobState),
    "attempts": {"type": "integer", "description": "Submits that may have left."},
    "polls": {"type": "integer"},
    "upstream_request_id": TEXT,
    "upstream_status": TEXT,
    "upstream_trouble": TEXT,
    "upstream_trouble_since": INSTANT,
    "webhook": TEXT,
    "updated_at": INSTANT,
    "start_by": INSTANT,
    "finish_by": INSTANT,
    "cancel_asked_at": INSTANT,
    "cancel_outcome": enum_schema(CancelOutcome),
    "estimated_cost": {"type": "number", "description": "USD."},
    "reused_from": {"type": "string", "description": "The request that was or will be paid for."},
    "deliveries": array_schema(TEXT),
    "timeline": array_schema(_ENTRY),
}


_SUMMARY_FIELDS: Final = (
    "request_id",
    "status",
    "model_id",
    "reference",
    "created_at",
    "finished_at",
    "cost",
    "billed",
)


COMPONENTS: Final[Mapping[str, Schema]] = {
    "Status": object_schema("request_id status status_url result_url cancel_url", **_STATUS),
    "Result": object_schema("request_id status model_id created_at billed", **_RESULT),
    "Detail": object_schema(
        "request_id status state model_id created_at billed timeline deliveries",
        **_STATUS,
        **{name: shape for name, shape in _RESULT.items() if name not in _STATUS},
        **_DETAIL,
    ),
    "Requests": object_schema("requests", requests=array_schema(ref("Summary")), next_cursor=TEXT),
    "Summary": object_schema(
        "request_id status model_id created_at billed status_url result_url cancel_url",
        **{name: _RESULT[name] for name in _SUMMARY_FIELDS},
        **_LINKS,
    ),
    "Cancel": object_schema(
        "request_id status outcome",
        request_id=TEXT,
        status=enum_schema(PublicStatus),
        outcome=enum_schema(CancelOutcome),
    ),
    "Health": object_schema("status", status=TEXT),
    "Readiness": object_schema("status checks", status=TEXT, checks={"type": "object"}),
}


INPUT_EXAMPLE: Final = {
    "prompt": "The camera slowly dollies in; waves crash against the rocks below.",
    "start_image_url": "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png",
    "duration": 5,
}


ACCEPTED_EXAMPLE: Final = {
    "request_id": EXAMPLE_REQUEST_ID,
    "status": "in_queue",
    "status_url": f"{_BASE}/status",
    "result_url": f"{_BASE}/result",
    "cancel_url": f"{_BASE}/cancel",
}


STATUS_EXAMPLE: Final = {**ACCEPTED_EXAMPLE, "status": "in_progress"}


RESULT_EXAMPLE: Final = {
    "request_id": EXAMPLE_REQUEST_ID,
    "status": "completed",
    "model_id": EXAMPLE_MODEL_ID,
    "output": {"video": "https://storage.example/01KAP7ZJ5V/output.mp4"},
    "created_at": "2025-11-22T14:58:34.120000Z",
    "finished_at": "2025-11-22T15:00:02.480000Z",
    "billed": "yes",
}


REQUESTS_EXAMPLE: Final = {
    "requests": [
        {
            "request_id": EXAMPLE_REQUEST_ID,
            "status": "completed",
            "model_id": EXAMPLE_MODEL_ID,
            "reference": "order-1729",
            "created_at": "2025-11-22T14:58:34.120000Z",
            "finished_at": "2025-11-22T15:00:02.480000Z",
            "cost": 0.63,
            "billed": "yes",
            "status_url": f"{_BASE}/status",
            "result_url": f"{_BASE}/result",
            "cancel_url": f"{_BASE}/cancel",
        }
    ],
    "next_cursor": "MTc2MzgyMzUxNDEyMC5yZXFfMDFLQVA3WkpWNVYzUThNMFJXWDRUMllETjZD",
}


CANCEL_EXAMPLE: Final = {
    "request_id": EXAMPLE_REQUEST_ID,
    "status": "cancelled",
    "outcome": "cancelled",
}


DETAIL_EXAMPLE: Final = {
    **STATUS_EXAMPLE,
    "model_id": EXAMPLE_MODEL_ID,
    "created_at": "2025-11-22T14:58:34.120000Z",
    "billed": "yes",
    "state": "running",
    "attempts": 1,
    "polls": 3,
    "upstream_request_id": "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11",
    "updated_at": "2025-11-22T14:58:34.905000Z",
    "estimated_cost": 0.63,
    "deliveries": [],
    "timeline": [
        {
            "at": "2025-11-22T14:58:34.120000Z",
            "event": "admitted",
            "what": "admitted",
            "state": "queued",
        }
    ],
}


HEALTH_EXAMPLE: Final = {"status": "ok"}


READY_EXAMPLE: Final = {
    "status": "ready",
    "checks": {"redis": "ok", "worker": "ok", "upstream": "ok"},
}


NOT_READY_EXAMPLE: Final = {
    "status": "not_ready",
    "checks": {"redis": "ok", "worker": "not_seen", "upstream": "failing"},
}


RATELIMIT_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "The tenant's limits (draft-ietf-httpapi-ratelimit-headers-11).",
        "schema": TEXT,
        "example": '"requests-per-minute";q=60;w=60, "usd-per-day";q=25000000;qu="microdollars";'
        "w=86400",
    },
    "RateLimit": {
        "description": "What is left of each.",
        "schema": TEXT,
        "example": '"requests-per-minute";r=59;t=1, "usd-per-day";r=24370000;t=32486',
    },
}


EVENT_STREAM_RESPONSE: Final[dict[str, Any]] = {
    "description": "The events.",
    "content": {
        "text/event-stream": {
            # The schema of one event: JSON Schema cannot describe a stream.
            "schema": object_schema("event data", id=TEXT, event=TEXT, data=TEXT),
            "example": {
                "id": "0",
                "event": "request.in_queue",
                "data": '{"type":"request.in_queue","timestamp":"2025-11-22T14:58:34.120000Z",'
                '"data":{"request_id":"' + EXAMPLE_REQUEST_ID + '","status":"in_queue"}}',
            },
        }
    },
}
