"""OpenAPI parameters and bodies of the calls about requests."""

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
    "RunComfy's id of the model; it holds slashes.",
    {"type": "string", "example": "kling/kling-3.0/standard/image-to-video"},
    "path",
)


JOB_ID: Final = parameter("request_id", "The id that the submit gave.", TEXT, "path")


TENANT: Final = parameter("tenant", "The tenant's name.", TEXT, "path")


INCLUDE_COST: Final = parameter("include_cost", "Whether to tell the cost.", _FLAG)


PREFER_WAIT: Final = parameter(
    "Prefer",
    "`wait=N`: answer when the request has ended, after N seconds at the latest (RFC 7240). "
    "`Preference-Applied` says how long was granted.",
    {"type": "string", "example": "wait=30"},
    "header",
)


IDEMPOTENCY_KEY: Final = parameter(
    "Idempotency-Key",
    "Your name for this submit (draft-ietf-httpapi-idempotency-key-header): the same key with the "
    "same model and input is answered with the same request, `Idempotency-Replayed: true`; with "
    "another it is 422. A string in quotes, or plain without commas; 255 characters at most. Kept "
    "as long as the result. A refused submit uses no key up.",
    {"type": "string", "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'},
    "header",
)


LAST_EVENT_ID: Final = parameter(
    "Last-Event-ID", "The last event that was seen: what came after it is sent.", TEXT, "header"
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
    parameter("search", "Words that the id or the name must hold.", TEXT),
    parameter("category", "A category.", TEXT),
    parameter("kind", "A kind, such as `video`.", TEXT),
    parameter("limit", "Page size.", {"type": "integer", "minimum": 1, "maximum": 100}),
    parameter(
        "offset", "How many to skip.", {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET}
    ),
    parameter("include_schema", "Whether to show schemas.", _FLAG),
]


_NAME: Final = {"type": "string", "minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}


JOB_LIST_PARAMETERS: Final = [
    parameter("status", "Only those.", {"type": "string", "enum": list(PublicStatus)}),
    parameter("model_id", "Only those of this model.", _NAME),
    parameter("reference", "Only those that were submitted with this `reference`.", _NAME),
    parameter("created_after", "Made at this instant or later.", INSTANT),
    parameter("created_before", "Made before this instant.", INSTANT),
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
    parameter("cursor", "`next_cursor` of the page before.", {"type": "string", "minLength": 1}),
]


SUBMIT_BODY: Final = {
    "required": True,
    "description": "The model's input; `GET /v1/models/{model_id}` shows its schema.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": INPUT_EXAMPLE}},
}
