"""What the operations about webhooks return, and the events that receivers get."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from core.webhooks.delivery import DeliveryState, WebhookEventType
from core.webhooks.endpoint import (
    INTERMEDIATE_EVENTS,
    DisabledReason,
    EndpointKind,
    PayloadStyle,
)
from core.webhooks.secrets import SecretKind
from service.http.openapi import Schema, parameter, ref
from service.parsing.request_models import Document, TimeText, optional


class _Attempt(Document):
    at: TimeText
    number: int
    outcome: str
    took_ms: int
    http_status: int | None = optional()
    answer: str | None = optional("The start of the receiver's response; 1 KiB.")


class Delivery(Document):
    """One event to one endpoint, with its attempts."""

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

    deliveries: list[Delivery]
    next_cursor: str | None = optional()


class Endpoint(Document):
    """An endpoint."""

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
    failing_since: TimeText | None = optional("Since when attempts fail, without a success.")
    held_back_until: TimeText | None = optional(
        "No attempt is made before, unless a resend is requested."
    )
    last_failure: str | None = optional("The outcome of the last attempt, if it failed.")


class Endpoints(Document):
    """All endpoints of a tenant."""

    endpoints: list[Endpoint]


class Replay(Document):
    """A range of deliveries that is sent again, a few per second."""

    since: TimeText
    until: TimeText
    statuses: list[DeliveryState]
    endpoint_id: str | None = optional()
    waiting: int = Field(description="Replays of the tenant that are not finished.")


class Secret(Document):
    """A new secret, which is shown once, or the public half of a new key."""

    kind: SecretKind
    secret: str | None = optional()
    public_key: str | None = optional()
    overlap: float = Field(description="Seconds.")


class _PublicKey(Document):
    key: str
    ends_at: TimeText | None = optional()


class WebhookKeys(Document):
    """The public keys that are valid."""

    keys: list[_PublicKey]


_DATA_COMPONENTS: Final[Mapping[WebhookEventType, str]] = {
    **{
        event: "StatusEvent" if event in INTERMEDIATE_EVENTS else "EndEvent"
        for event in WebhookEventType
    },
    WebhookEventType.ARCHIVED: "EndEvent",
    WebhookEventType.BATCH_COMPLETED: "BatchCompleted",
    WebhookEventType.BUDGET_THRESHOLD: "BudgetThresholdEvent",
    WebhookEventType.ENDPOINT_DISABLED: "EndpointDisabledEvent",
    WebhookEventType.TEST: "TestEvent",
}
_EVENT_SUMMARIES: Final[Mapping[WebhookEventType, str]] = {
    WebhookEventType.IN_QUEUE: "A request is queued. Sent only if the submit requested it.",
    WebhookEventType.IN_PROGRESS: "A request is running. Sent only if the submit requested it.",
    WebhookEventType.ARCHIVED: "The outputs of a request that had ended are kept.",
    WebhookEventType.BATCH_COMPLETED: "The last request of a batch has ended.",
    WebhookEventType.COMPLETED: "A request has its result.",
    WebhookEventType.FAILED: "A request failed, or its time ran out.",
    WebhookEventType.CANCELLED: "A request was cancelled.",
    WebhookEventType.BUDGET_THRESHOLD: "A share of a budget is used: spent or reserved.",
    WebhookEventType.ENDPOINT_DISABLED: "Another endpoint of the tenant was disabled.",
    WebhookEventType.TEST: "A test event, sent on request.",
}
_HEADERS: Final = [
    ("webhook-id", "The same on every attempt: use it to discard duplicates."),
    ("webhook-timestamp", "Seconds since the epoch, of this attempt."),
    ("webhook-signature", "One signature for each valid secret (`v1`) and key (`v1a`)."),
]


WEBHOOK_PAYLOAD: Final = "WebhookPayload"
"""The schema of any body that a receiver gets."""


def payload_components() -> Mapping[str, Schema]:
    """Return the schema of each event's body, and of any of them.

    They are components, so that generated clients have their types.
    """
    payloads = {_payload_name(event): _payload_schema(event) for event in WebhookEventType}
    mapping = {event.value: ref(_payload_name(event))["$ref"] for event in WebhookEventType}
    union = {
        "description": "The body of a webhook: one of the events.",
        "oneOf": [ref(name) for name in payloads],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return {**payloads, WEBHOOK_PAYLOAD: union}


def _payload_name(event: WebhookEventType) -> str:
    words = event.value.replace(".", "_").split("_")
    return "".join(word.capitalize() for word in words) + "Payload"


def _payload_schema(event: WebhookEventType) -> Schema:
    component = _DATA_COMPONENTS[event]
    is_job = component in {"EndEvent", "StatusEvent"}
    return {
        "type": "object",
        "description": _EVENT_SUMMARIES[event],
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "const": event.value},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"anyOf": [ref(component), ref("ThinEvent")]} if is_job else ref(component),
        },
    }


def webhooks_section(examples: Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAPI's `webhooks`: every event that a receiver may be sent, with its schema.

    `examples` are the examples of the components.
    """
    return {event.value: {"post": _operation(event, examples)} for event in WebhookEventType}


def _operation(event: WebhookEventType, examples: Mapping[str, Any]) -> Mapping[str, Any]:
    content = {
        "schema": ref(_payload_name(event)),
        "example": {
            "type": event.value,
            "timestamp": "2025-11-22T15:00:02.480000Z",
            "data": examples[_DATA_COMPONENTS[event]],
        },
    }
    return {
        "summary": _EVENT_SUMMARIES[event],
        "operationId": f"on_{event.value.replace('.', '_')}",
        "tags": ["Webhooks"],
        "security": [],
        "parameters": [
            parameter(name, about, {"type": "string"}, "header") | {"required": True}
            for name, about in _HEADERS
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "2XX": {"description": "Delivered. Any other status except 410 is retried."},
            "410": {"description": "Gone: the endpoint is disabled."},
        },
    }
