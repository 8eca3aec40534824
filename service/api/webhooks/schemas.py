"""The shapes of callbacks, endpoints and events, as JSON Schema with examples."""

from collections.abc import Mapping
from typing import Any, Final

from core.jobs.job import PublicStatus
from core.webhooks.delivery import DeliveryState, EventType
from core.webhooks.endpoint import (
    LONGEST_TIMEOUT,
    ON_THE_WAY,
    SHORTEST_TIMEOUT,
    Disabled,
    EndpointKind,
    Payload,
)
from core.webhooks.secrets import SecretKind
from service.api.batches.schemas import EVENT_EXAMPLE
from service.api.schemas import INSTANT, MODEL_NAME, REQUEST_ID, RESULT_EXAMPLE, TEXT
from service.http.openapi import Schema, closed, many, objects, ref, words
from service.webhooks.parser import LONGEST_OVERLAP

_NUMBER: Final = {"type": "number"}
_FILTERED: Final = [event for event in EventType if event is not EventType.TEST]

_ATTEMPT: Final = objects(
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
        "items": {"type": "string", "enum": [event.value for event in _FILTERED]},
        "description": "Null: the ends, and what is on the way where the submit asked for it.",
    },
    "payload": words(Payload),
    "timeout": {
        "type": "number",
        "minimum": SHORTEST_TIMEOUT.total_seconds(),
        "maximum": LONGEST_TIMEOUT.total_seconds(),
        "description": "Seconds for one attempt.",
    },
}

_SENT: Final[Mapping[str, Schema]] = {
    "headers": {
        "type": "object",
        "additionalProperties": {"type": "string", "pattern": "^[ -~]{1,1024}$"},
        "description": "Sent with each callback; an authorization, say.",
    },
    "enabled": {"type": "boolean"},
}
_SOME: Final = {"type": "string", "minLength": 1}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Delivery": objects(
        "id event status url created_at attempts",
        id={"type": "string", "description": "The `webhook-id` of every attempt."},
        request_id=TEXT,
        event=words(EventType),
        status=words(DeliveryState),
        endpoint_id=TEXT,
        url=TEXT,
        created_at=INSTANT,
        next_attempt_at=INSTANT,
        finished_at=INSTANT,
        resent_at=INSTANT,
        last_outcome=TEXT,
        attempts=many(_ATTEMPT),
    ),
    "Deliveries": objects("deliveries", deliveries=many(ref("Delivery")), next_cursor=TEXT),
    "Endpoint": objects(
        "id kind url payload headers timeout created_at enabled",
        id=TEXT,
        kind=words(EndpointKind),
        **_ENDPOINT_FIELDS,
        headers={"type": "array", "items": TEXT, "description": "Their names; values stay hidden."},
        created_at=INSTANT,
        enabled={"type": "boolean"},
        disabled_reason=words(Disabled),
        disabled_at=INSTANT,
    ),
    "Endpoints": objects("endpoints", endpoints=many(ref("Endpoint"))),
    "NewEndpoint": closed("url", **_ENDPOINT_FIELDS, **_SENT),
    "EndpointChange": closed("", **_ENDPOINT_FIELDS, **_SENT),
    "Replay": objects(
        "since until statuses waiting",
        since=INSTANT,
        until=INSTANT,
        statuses=many(words(DeliveryState)),
        endpoint_id=TEXT,
        waiting={"type": "integer", "description": "Replays of yours that are not done."},
    ),
    "ReplayDraft": closed(
        "since", since=INSTANT, until=INSTANT, status=words(DeliveryState), endpoint_id=_SOME
    ),
    "Secret": objects(
        "kind overlap", kind=words(SecretKind), secret=TEXT, public_key=TEXT, overlap=_NUMBER
    ),
    "Rotation": closed(
        "",
        kind=words(SecretKind),
        overlap={
            "type": "number",
            "minimum": 0,
            "maximum": LONGEST_OVERLAP.total_seconds(),
            "description": "Seconds; a day unless told.",
        },
    ),
    "TestDraft": closed("", endpoint_id=_SOME),
    "WebhookKeys": objects("keys", keys=many(objects("key", key=TEXT, ends_at=INSTANT))),
    "StatusEvent": objects(
        "request_id status model_id created_at",
        request_id=TEXT,
        status=words(PublicStatus),
        model_id=TEXT,
        created_at=INSTANT,
        reference=TEXT,
    ),
    "ThinEvent": objects(
        "request_id status", request_id=TEXT, status=words(PublicStatus), reference=TEXT
    ),
    "EndpointDisabledEvent": objects(
        "endpoint_id url reason disabled_at",
        endpoint_id=TEXT,
        url=TEXT,
        reason=words(Disabled),
        disabled_at=INSTANT,
    ),
    "TestEvent": objects("endpoint_id", endpoint_id=TEXT),
}

_ID: Final = "msg_01KAP82C9S1T4V6X8Z0B2D4F6H"
DELIVERY_EXAMPLE: Final = {
    "id": _ID,
    "request_id": REQUEST_ID,
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
KEYS_EXAMPLE: Final = {"keys": [{"key": "whpk_MCowBQYDK2VwAyEAExampleExampleExampleExample="}]}
NEW_ENDPOINT_EXAMPLE: Final = {
    "url": "https://hooks.example/runcomfy",
    "events": ["request.completed"],
    "payload": "thin",
}
CHANGE_EXAMPLE: Final = {"events": None, "timeout": 10}
REPLAY_DRAFT_EXAMPLE: Final = {"since": "2025-11-21T00:00:00Z"}
TEST_DRAFT_EXAMPLE: Final = {"endpoint_id": "default"}
ROTATION_EXAMPLE: Final = {"overlap": 86400}

_DATA: Final[Mapping[EventType, str]] = {
    **{event: "StatusEvent" if event in ON_THE_WAY else "Result" for event in EventType},
    EventType.BATCH_COMPLETED: "BatchEvent",
    EventType.ENDPOINT_DISABLED: "EndpointDisabledEvent",
    EventType.TEST: "TestEvent",
}
_ABOUT: Final[Mapping[EventType, str]] = {
    EventType.IN_QUEUE: "A request stands in the queue; when it was asked for.",
    EventType.IN_PROGRESS: "A request runs; when it was asked for.",
    EventType.BATCH_COMPLETED: "The last request of a batch has ended.",
    EventType.COMPLETED: "A request has its result.",
    EventType.FAILED: "A request failed, or its time ran out.",
    EventType.CANCELLED: "A request was cancelled.",
    EventType.ENDPOINT_DISABLED: "Another endpoint of yours gets nothing any more.",
    EventType.TEST: "You asked for it.",
}
_DATA_EXAMPLES: Final[Mapping[str, Schema]] = {
    "Result": RESULT_EXAMPLE,
    "StatusEvent": {
        "request_id": REQUEST_ID,
        "status": "in_progress",
        "model_id": MODEL_NAME,
        "created_at": "2025-11-22T14:58:34.120000Z",
    },
    "EndpointDisabledEvent": {
        "endpoint_id": "ep_01KAP7ZJ5V3Q8M0RWX4T2YDN6C",
        "url": "https://old.example/hooks",
        "reason": "failing",
        "disabled_at": "2025-11-22T15:00:00Z",
    },
    "BatchEvent": EVENT_EXAMPLE,
    "TestEvent": {"endpoint_id": "default"},
}
_HEADERS: Final = [
    ("webhook-id", "The same on every attempt: keep it, to know a callback that comes again."),
    ("webhook-timestamp", "Seconds since the epoch, of this attempt."),
    ("webhook-signature", "One signature for each live secret (`v1`) and key (`v1a`)."),
]


def webhooks_section() -> Mapping[str, Any]:
    """OpenAPI's `webhooks`: every event that a receiver may be sent, with its schema."""
    return {event.value: {"post": _operation(event)} for event in EventType}


def _operation(event: EventType) -> Mapping[str, Any]:
    component = _DATA[event]
    is_job = component in {"Result", "StatusEvent"}
    data = {"anyOf": [ref(component), ref("ThinEvent")]} if is_job else ref(component)
    schema = objects(
        "type timestamp data", type={"const": event.value}, timestamp=INSTANT, data=data
    )
    example = {
        "type": event.value,
        "timestamp": "2025-11-22T15:00:02.480000Z",
        "data": _DATA_EXAMPLES[component],
    }
    return {
        "summary": _ABOUT[event],
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
