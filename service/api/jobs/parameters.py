"""OpenAPI parameters, headers and bodies of the operations on requests."""

from typing import Final

from core.ids import ID_PATTERN
from service.http.openapi import json_content, parameter
from service.jobs.submit_options import SUBMIT_OPTIONS

_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean", "default": False}


MODEL_ID: Final = parameter(
    "model_id",
    "RunComfy's id of the model; it contains slashes.",
    {"type": "string", "example": "kling/kling-3.0/standard/image-to-video"},
    "path",
)


JOB_ID: Final = parameter(
    "request_id",
    "The id that the submit returned.",
    {**_TEXT, "pattern": ID_PATTERN},
    "path",
)


TENANT: Final = parameter("tenant", "The tenant's name.", _TEXT, "path")


INCLUDE_COST: Final = parameter(
    "include_cost", "`false` leaves the cost out.", {**_FLAG, "default": True}
)


PREFER_WAIT: Final = parameter(
    "Prefer",
    "`wait=N`: respond when the request has ended, after N seconds at the latest (RFC 7240). "
    "`Preference-Applied` returns the wait that was granted.",
    {"type": "string", "example": "wait=30"},
    "header",
)


IDEMPOTENCY_KEY: Final = parameter(
    "Idempotency-Key",
    "Your id of this submit (draft-ietf-httpapi-idempotency-key-header), a new one for each, such "
    'as the UUID `"8e03978e-40d5-43dd-bc93-6894a57f9324"`. The same key with the same model and '
    "input returns the same request and `Idempotency-Replayed: true`; with another input it is "
    "422. A string in quotes, or plain without commas; at most 255 characters. Kept as long as the "
    "result. Rejected submits do not consume the key.",
    # No `example`: API consoles would fill it in, and the second try would be a repetition.
    {"type": "string"},
    "header",
)


GATEWAY_LABELS: Final = parameter(
    "Gateway-Labels",
    "Labels as `key=value`, separated by commas: for clients and proxies that set no query. A "
    "label of the query or of an item comes before one of the same key here.",
    {"type": "string", "example": "team=growth, project=launch-7"},
    "header",
)


LAST_EVENT_ID: Final = parameter(
    "Last-Event-ID", "The last event that was received: later ones are sent.", _TEXT, "header"
)


SUBMIT_PARAMETERS: Final = [
    MODEL_ID,
    PREFER_WAIT,
    IDEMPOTENCY_KEY,
    GATEWAY_LABELS,
    *(
        parameter(name, option.description, option.schema)
        for name, option in SUBMIT_OPTIONS.items()
    ),
]


SUBMIT_BODY: Final = json_content(
    "The model's input; `GET /v1/models/{model_id}` returns its schema.",
    "ModelInput",
    required=True,
)


RATELIMIT_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "The tenant's limits (draft-ietf-httpapi-ratelimit-headers-11).",
        "schema": {"type": "string"},
        "example": '"requests-per-minute";q=60;w=60, "usd-per-day";q=25000000;qu="microdollars";'
        "w=86400",
    },
    "RateLimit": {
        "description": "What is left of each.",
        "schema": {"type": "string"},
        "example": '"requests-per-minute";r=59;t=1, "usd-per-day";r=24370000;t=32486',
    },
}
