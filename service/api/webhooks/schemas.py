"""What the operations about webhooks return, and the events that receivers get."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from core.jobs.job import PublicStatus
from core.webhooks.delivery import DeliveryState, WebhookEventType
from core.webhooks.endpoint import (
    INTERMEDIATE_EVENTS,
    DisabledReason,
    EndpointKind,
    PayloadStyle,
)
from core.webhooks.secrets import SecretKind
from service.api.batches.schemas import BATCH_EVENT_EXAMPLE
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID, INSTANT, RESULT_EXAMPLE, TEXT
from service.http.openapi import Schema, enum_schema, object_schema, ref
from service.parsing.request_models import Document, TimeText, example, optional

_DELIVERY_EXAMPLE: Final[dict[str, Any]] = {
    "id": "msg_01KAP82C9S1T4V6X8Z0B2D4F6H",
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
_ENDPOINT_EXAMPLE: Final[dict[str, Any]] = {
    "id": "default",
    "kind": "http",
    "url": "https://hooks.example/runcomfy",
    "payload": "full",
    "headers": ["authorization"],
    "timeout": 20.0,
    "created_at": "2025-11-22T14:50:00Z",
    "enabled": True,
}


class _Attempt(Document):
    at: TimeText
    number: int
    outcome: str
    took_ms: int
    http_status: int | None = optional()
    answer: str | None = optional("The start of the receiver's response; 1 KiB.")


class Delivery(Document):
    """One event to one endpoint, with its attempts."""

    model_config = example(_DELIVERY_EXAMPLE)

    id: str = Field(description="The `webhook-id` of every attempt.")
    request_id: str | None = optional()
    event: WebhookEventType
    status: DeliveryState
    endpoint_id: str | None = optional()
    url: str
    created_at: TimeText
    next_attempt_at: TimeText | None = optional()
    finished_at: TimeText | None = optional()
    resent_at: TimeText | None = optional()
    last_outcome: str | None = optional()
    attempts: list[_Attempt]


class Deliveries(Document):
    """A page of deliveries."""

    model_config = example({"deliveries": [_DELIVERY_EXAMPLE]})

    deliveries: list[Delivery]
    next_cursor: str | None = optional()


class Endpoint(Document):
    """An endpoint."""

    model_config = example(_ENDPOINT_EXAMPLE)

    id: str
    kind: EndpointKind
    url: str
    events: list[WebhookEventType] | None = optional(
        "Left out: the final events, and those that the submit requested."
    )
    payload: PayloadStyle
    headers: list[str] = Field(description="Their names; values stay hidden.")
    timeout: float = Field(description="Seconds for one attempt.")
    created_at: TimeText
    enabled: bool
    disabled_reason: DisabledReason | None = optional()
    disabled_at: TimeText | None = optional()


class Endpoints(Document):
    """All endpoints of a tenant."""

    model_config = example({"endpoints": [_ENDPOINT_EXAMPLE]})

    endpoints: list[Endpoint]


class Replay(Document):
    """A range of deliveries that is sent again, a few per second."""

    model_config = example(
        {
            "since": "2025-11-21T00:00:00Z",
            "until": "2025-11-22T00:00:00Z",
            "statuses": ["failed", "held"],
            "waiting": 1,
        }
    )

    since: TimeText
    until: TimeText
    statuses: list[DeliveryState]
    endpoint_id: str | None = optional()
    waiting: int = Field(description="Replays of the tenant that are not finished.")


class Secret(Document):
    """A new secret, which is shown once, or the public half of a new key."""

    model_config = example(
        {"kind": "hmac", "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "overlap": 86400.0}
    )

    kind: SecretKind
    secret: str | None = optional()
    public_key: str | None = optional()
    overlap: float = Field(description="Seconds.")


class _PublicKey(Document):
    key: str
    ends_at: TimeText | None = optional()


class WebhookKeys(Document):
    """The public keys that are valid."""

    model_config = example(
        {"keys": [{"key": "whpk_MCowBQYDK2VwAyEAExampleExampleExampleExample="}]}
    )

    keys: list[_PublicKey]


COMPONENTS: Final[Mapping[str, Schema]] = {
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

_DATA_COMPONENTS: Final[Mapping[WebhookEventType, str]] = {
    **{
        event: "StatusEvent" if event in INTERMEDIATE_EVENTS else "Result"
        for event in WebhookEventType
    },
    WebhookEventType.BATCH_COMPLETED: "BatchCompleted",
    WebhookEventType.ENDPOINT_DISABLED: "EndpointDisabledEvent",
    WebhookEventType.TEST: "TestEvent",
}
_EVENT_SUMMARIES: Final[Mapping[WebhookEventType, str]] = {
    WebhookEventType.IN_QUEUE: "A request is queued. Sent only if the submit requested it.",
    WebhookEventType.IN_PROGRESS: "A request is running. Sent only if the submit requested it.",
    WebhookEventType.BATCH_COMPLETED: "The last request of a batch has ended.",
    WebhookEventType.COMPLETED: "A request has its result.",
    WebhookEventType.FAILED: "A request failed, or its time ran out.",
    WebhookEventType.CANCELLED: "A request was cancelled.",
    WebhookEventType.ENDPOINT_DISABLED: "Another endpoint of the tenant was disabled.",
    WebhookEventType.TEST: "A test event, sent on request.",
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
    "BatchCompleted": BATCH_EVENT_EXAMPLE,
    "TestEvent": {"endpoint_id": "default"},
}
_HEADERS: Final = [
    ("webhook-id", "The same on every attempt: use it to discard duplicates."),
    ("webhook-timestamp", "Seconds since the epoch, of this attempt."),
    ("webhook-signature", "One signature for each valid secret (`v1`) and key (`v1a`)."),
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
            "2XX": {"description": "Delivered. Any other status except 410 is retried."},
            "410": {"description": "Gone: the endpoint is disabled."},
        },
    }
