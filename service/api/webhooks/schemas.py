"""The shapes of callbacks, endpoints and events, as JSON Schema with examples."""

from collections.abc import Mapping
from typing import Any, Final

from core.jobs.job import PublicStatus
from core.webhooks.delivery import DeliveryState, WebhookEventType
from core.webhooks.endpoint import (
    INTERMEDIATE_EVENTS,
    MAX_ENDPOINT_TIMEOUT,
    MIN_ENDPOINT_TIMEOUT,
    DisabledReason,
    EndpointKind,
    PayloadStyle,
)
from core.webhooks.secrets import SecretKind
from service.api.batches.schemas import BATCH_EVENT_EXAMPLE
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID, INSTANT, RESULT_EXAMPLE, TEXT
from service.http.openapi import (
    Schema,
    array_schema,
    closed_object_schema,
    enum_schema,
    object_schema,
    ref,
)
from service.webhooks.parser import MAX_OVERLAP

_NUMBER: Final = {"type": "number"}
_SUBSCRIBABLE_EVENTS: Final = [
    event for event in WebhookEventType if event is not WebhookEventType.TEST
]

_ATTEMPT: Final = object_schema(
    "at number outcome took_ms",
    at=INSTANT,
    number={"type": "integer"},
    outcome=TEXT,
    took_ms={"type": "integer"},
    http_status={"type": "integer"},
    answer={"type": "string", "description": "The start of what the receiver said; 1 KiB."},
)
_ENDPOINT_FIELDS: Final[Mapping[str, Schema]] = {
    "url": {
        "type": "string",
        "description": "`https://…`; or `stream:<name>` (a Redis stream of the gateway's, "
        "CloudEvents 1.0), `stream:<name>@<sink>` for one that the operator offers.",
    },
    "events": {
        "type": ["array", "null"],
        "minItems": 1,
        "items": {"type": "string", "enum": [event.value for event in _SUBSCRIBABLE_EVENTS]},
        "description": "Null: the ends, and what is on the way where the submit asked for it.",
    },
    "payload": enum_schema(PayloadStyle),
    "timeout": {
        "type": "number",
        "minimum": MIN_ENDPOINT_TIMEOUT.total_seconds(),
        "maximum": MAX_ENDPOINT_TIMEOUT.total_seconds(),
        "description": "Seconds for one attempt.",
    },
}

_WRITABLE_ENDPOINT_FIELDS: Final[Mapping[str, Schema]] = {
    "headers": {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^[ -~]{1,1024}$"},
        "description": "Sent with each callback; an authorization, say.",
    },
    "enabled": {"type": "boolean"},
}
_NON_EMPTY_TEXT: Final = {"type": "string", "minLength": 1}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Delivery": object_schema(
        "id event status url created_at attempts",
        id={"type": "string", "description": "The `webhook-id` of every attempt."},
        request_id=TEXT,
        event=enum_schema(WebhookEventType),
        status=enum_schema(DeliveryState),
        endpoint_id=TEXT,
        url=TEXT,
        created_at=INSTANT,
        next_attempt_at=INSTANT,
        finished_at=INSTANT,
        resent_at=INSTANT,
        last_outcome=TEXT,
        attempts=array_schema(_ATTEMPT),
    ),
    "Deliveries": object_schema(
        "deliveries", deliveries=array_schema(ref("Delivery")), next_cursor=TEXT
    ),
    "Endpoint": object_schema(
        "id kind url payload headers timeout created_at enabled",
        id=TEXT,
        kind=enum_schema(EndpointKind),
        **_ENDPOINT_FIELDS,
        headers={"type": "array", "items": TEXT, "description": "Their names; values stay hidden."},
        created_at=INSTANT,
        enabled={"type": "boolean"},
        disabled_reason=enum_schema(DisabledReason),
        disabled_at=INSTANT,
    ),
    "Endpoints": object_schema("endpoints", endpoints=array_schema(ref("Endpoint"))),
    "NewEndpoint": closed_object_schema("url", **_ENDPOINT_FIELDS, **_WRITABLE_ENDPOINT_FIELDS),
    "EndpointChange": closed_object_schema("", **_ENDPOINT_FIELDS, **_WRITABLE_ENDPOINT_FIELDS),
    "Replay": object_schema(
        "since until statuses waiting",
        since=INSTANT,
        until=INSTANT,
        statuses=array_schema(enum_schema(DeliveryState)),
        endpoint_id=TEXT,
        waiting={"type": "integer", "description": "Replays of yours that are not done."},
    ),
    "ReplayDraft": closed_object_schema(
        "since",
        since=INSTANT,
        until=INSTANT,
        status=enum_schema(DeliveryState),
        endpoint_id=_NON_EMPTY_TEXT,
    ),
    "Secret": object_schema(
        "kind overlap", kind=enum_schema(SecretKind), secret=TEXT, public_key=TEXT, overlap=_NUMBER
    ),
    "Rotation": closed_object_schema(
        "",
        kind=enum_schema(SecretKind),
        overlap={
            "type": "number",
            "minimum": 0,
            "maximum": MAX_OVERLAP.total_seconds(),
            "description": "Seconds; a day unless told.",
        },
    ),
    "TestDraft": closed_object_schema("", endpoint_id=_NON_EMPTY_TEXT),
    "WebhookKeys": object_schema(
        "keys", keys=array_schema(object_schema("key", key=TEXT, ends_at=INSTANT))
    ),
    "StatusEvent": object_schema(
        "request_id status model_id created_at",
        request_id=TEXT,
        status=enum_schema(PublicStatus),
        model_id=TEXT,
        created_at=INSTANT,
        reference=TEXT,
    ),
    "ThinEvent": object_schema(
        "request_id status", request_id=TEXT, status=enum_schema(PublicStatus), reference=TEXT
    ),
    "EndpointDisabledEvent": object_schema(
        "endpoint_id url reason disabled_at",
        endpoint_id=TEXT,
        url=TEXT,
        reason=enum_schema(DisabledReason),
        disabled_at=INSTANT,
    ),
    "TestEvent": object_schema("endpoint_id", endpoint_id=TEXT),
}

_ID: Final = "msg_01KAP82C9S1T4V6X8Z0B2D4F6H"
DELIVERY_EXAMPLE: Final = {
    "id": _ID,
    "request_id": EXAMPLE_REQUEST_ID,
    "event": "request.completed",
    "status": "pending",
    "endpoint_id": "default",
    "url": "https://hooks.example/runcomfy",
    "created_at": "2025-11-22T15:00:02.480000Z",
    "next_attempt_at": "2025-11-22T15:00:07.612000Z",
    "last_outcome": "server_error",
    "attempts": [
        {
            "at": "2025-11-22T15:00:02.611000Z",
            "number": 1,
            "outcome": "server_error",
            "took_ms": 84,
            "http_status": 500,
        }
    ],
}
DELIVERIES_EXAMPLE: Final = {"deliveries": [DELIVERY_EXAMPLE]}
ENDPOINT_EXAMPLE: Final = {
    "id": "default",
    "kind": "http",
    "url": "https://hooks.example/runcomfy",
    "payload": "full",
    "headers": ["authorization"],
    "timeout": 20.0,
    "created_at": "2025-11-22T14:50:00Z",
    "enabled": True,
}
ENDPOINTS_EXAMPLE: Final = {"endpoints": [ENDPOINT_EXAMPLE]}
REPLAY_EXAMPLE: Final = {
    "since": "2025-11-21T00:00:00Z",
    "until": "2025-11-22T00:00:00Z",
    "statuses": ["failed", "held"],
    "waiting": 1,
}
SECRET_EXAMPLE: Final = {
    "kind": "hmac",
    "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "overlap": 86400.0,
}
PUBLIC_KEYS_EXAMPLE: Final = {
    "keys": [{"key": "whpk_MCowBQYDK2VwAyEAExampleExampleExampleExample="}]
}
NEW_ENDPOINT_EXAMPLE: Final = {
    "url": "https://hooks.example/runcomfy",
    "events": ["request.completed"],
    "payload": "thin",
}
ENDPOINT_CHANGE_EXAMPLE: Final = {"events": None, "timeout": 10}
REPLAY_REQUEST_EXAMPLE: Final = {"since": "2025-11-21T00:00:00Z"}
TEST_REQUEST_EXAMPLE: Final = {"endpoint_id": "default"}
ROTATION_EXAMPLE: Final = {"overlap": 86400}

_DATA_COMPONENTS: Final[Mapping[WebhookEventType, str]] = {
    **{
        event: "StatusEvent" if event in INTERMEDIATE_EVENTS else "Result"
        for event in WebhookEventType
    },
    WebhookEventType.BATCH_COMPLETED: "BatchEvent",
    WebhookEventType.ENDPOINT_DISABLED: "EndpointDisabledEvent",
    WebhookEventType.TEST: "TestEvent",
}
_EVENT_SUMMARIES: Final[Mapping[WebhookEventType, str]] = {
    WebhookEventType.IN_QUEUE: "A request stands in the queue; when it was asked for.",
    WebhookEventType.IN_PROGRESS: "A request runs; when it was asked for.",
    WebhookEventType.BATCH_COMPLETED: "The last request of a batch has ended.",
    WebhookEventType.COMPLETED: "A request has its result.",
    WebhookEventType.FAILED: "A request failed, or its time ran out.",
    WebhookEventType.CANCELLED: "A request was cancelled.",
    WebhookEventType.ENDPOINT_DISABLED: "Another endpoint of yours gets nothing any more.",
    WebhookEventType.TEST: "You asked for it.",
}
_DATA_EXAMPLES: Final[Mapping[str, Schema]] = {
    "Result": RESULT_EXAMPLE,
    "StatusEvent": {
        "request_id": EXAMPLE_REQUEST_ID,
        "status": "in_progress",
        "model_id": EXAMPLE_MODEL_ID,
        "created_at": "2025-11-22T14:58:34.120000Z",
    },
    "EndpointDisabledEvent": {
        "endpoint_id": "ep_01KAP7ZJ5V3Q8M0RWX4T2YDN6C",
        "url": "https://old.example/hooks",
        "reason": "failing",
        "disabled_at": "2025-11-22T15:00:00Z",
    },
    "BatchEvent": BATCH_EVENT_EXAMPLE,
    "TestEvent": {"endpoint_id": "default"},
}
_HEADERS: Final = [
    ("webhook-id", "The same on every attempt: keep it, to know a callback that comes again."),
    ("webhook-timestamp", "Seconds since the epoch, of this attempt."),
    ("webhook-signature", "One signature for each live secret (`v1`) and key (`v1a`)."),
]


def webhooks_section() -> Mapping[str, Any]:
    """OpenAPI's `webhooks`: every event that a receiver may be sent, with its schema."""
    return {event.value: {"post": _operation(event)} for event in WebhookEventType}


def _operation(event: WebhookEventType) -> Mapping[str, Any]:
    component = _DATA_COMPONENTS[event]
    is_job = component in {"Result", "StatusEvent"}
    data = {"anyOf": [ref(component), ref("ThinEvent")]} if is_job else ref(component)
    schema = object_schema(
        "type timestamp data", type={"const": event.value}, timestamp=INSTANT, data=data
    )
    example = {
        "type": event.value,
        "timestamp": "2025-11-22T15:00:02.480000Z",
        "data": _DATA_EXAMPLES[component],
    }
    return {
        "summary": _EVENT_SUMMARIES[event],
        "operationId": f"on_{event.value.replace('.', '_')}",
        "tags": ["Webhooks"],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": about, "schema": TEXT}
            for name, about in _HEADERS
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        },
        "responses": {
            "2XX": {"description": "Taken. Anything else is tried again, 410 excepted."},
            "410": {"description": "Gone: the endpoint is disabled."},
        },
    }
