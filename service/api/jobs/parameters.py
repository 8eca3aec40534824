"""OpenAPI parameters and bodies of the operations on requests."""

from typing import Final

from core.jobs.job import PublicStatus
from core.jobs.query import DEFAULT_JOBS_PER_PAGE, MAX_JOBS_PER_PAGE
from service.api.schemas import INPUT_EXAMPLE, INSTANT, TEXT
from service.http.openapi import parameter
from service.jobs.submit_options import MAX_OFFSET, SUBMIT_OPTIONS
from service.parsing.fields import MAX_REFERENCE_LENGTH

_FLAG: Final = {"type": "boolean", "default": False}


MODEL_ID: Final = parameter(
    "model_id",
    "RunComfy's id of the model; it contains slashes.",
    {"type": "string", "example": "kling/kling-3.0/standard/image-to-video"},
    "path",
)


JOB_ID: Final = parameter("request_id", "The id that the submit returned.", TEXT, "path")


TENANT: Final = parameter("tenant", "The tenant's name.", TEXT, "path")


INCLUDE_COST: Final = parameter("include_cost", "Include the cost.", _FLAG)


PREFER_WAIT: Final = parameter(
    "Prefer",
    "`wait=N`: respond when the request has ended, after N seconds at the latest (RFC 7240). "
    "`Preference-Applied` returns the wait that was granted.",
    {"type": "string", "example": "wait=30"},
    "header",
)


IDEMPOTENCY_KEY: Final = parameter(
    "Idempotency-Key",
    "Your id of this submit (draft-ietf-httpapi-idempotency-key-header). The same key with the "
    "same model and input returns the same request and `Idempotency-Replayed: true`; with another "
    "input it is 422. A string in quotes, or plain without commas; at most 255 characters. Kept "
    "as long as the result. Rejected submits do not consume the key.",
    {"type": "string", "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'},
    "header",
)


LAST_EVENT_ID: Final = parameter(
    "Last-Event-ID", "The last event that was received: later ones are sent.", TEXT, "header"
)


SUBMIT_PARAMETERS: Final = [
    MODEL_ID,
    PREFER_WAIT,
    IDEMPOTENCY_KEY,
    *(
        parameter(name, option.description, option.schema)
        for name, option in SUBMIT_OPTIONS.items()
    ),
]


MODEL_LIST_PARAMETERS: Final = [
    parameter("search", "Words that the id or the name must contain.", TEXT),
    parameter("category", "A category.", TEXT),
    parameter("kind", "A kind, such as `video`.", TEXT),
    parameter("limit", "Page size.", {"type": "integer", "minimum": 1, "maximum": 100}),
    parameter(
        "offset",
        "Number of models to skip.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET},
    ),
    parameter("include_schema", "Include the schemas.", _FLAG),
]


_NAME: Final = {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}


JOB_LIST_PARAMETERS: Final = [
    parameter(
        "status", "Only requests with this status.", {"type": "string", "enum": list(PublicStatus)}
    ),
    parameter("model_id", "Only requests of this model.", _NAME),
    parameter("reference", "Only requests with this `reference`.", _NAME),
    parameter("created_after", "Created at this time or later.", INSTANT),
    parameter("created_before", "Created before this time.", INSTANT),
    parameter(
        "limit",
        "Page size.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_JOBS_PER_PAGE,
            "default": DEFAULT_JOBS_PER_PAGE,
        },
    ),
    parameter("cursor", "`next_cursor` of the previous page.", {"type": "string", "minLength": 1}),
]


SUBMIT_BODY: Final = {
    "required": True,
    "description": "The model's input; `GET /v1/models/{model_id}` returns its schema.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": INPUT_EXAMPLE}},
}
