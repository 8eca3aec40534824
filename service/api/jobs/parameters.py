"""OpenAPI parameters and bodies of the calls about requests."""

from typing import Final

from core.jobs.job import PublicStatus
from core.jobs.query import DEFAULT_JOBS_PER_PAGE, MAX_JOBS_PER_PAGE
from core.tenants.cache_policy import CacheOption
from service.api.schemas import INPUT_EXAMPLE, INSTANT, TEXT
from service.http.openapi import parameter
from service.jobs.submit_options import MAX_OFFSET, PRIORITIES
from service.parsing.fields import MAX_REFERENCE_LENGTH

_FLAG: Final = {"type": "boolean", "default": False}


_SECONDS: Final = {"type": "integer", "minimum": 1}


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
    parameter("webhook", "Where the callback goes; the tenant's own otherwise.", TEXT),
    parameter("webhook_intermediate_status", "Also call back on the way.", _FLAG),
    parameter("timeout", "Seconds until the job must have ended.", _SECONDS),
    parameter("start_timeout", "Seconds until it must have started; free if not.", _SECONDS),
    parameter(
        "max_cost",
        "USD; refused when the estimate is higher or not known.",
        {"type": "number", "minimum": 0},
    ),
    parameter(
        "priority",
        "Among the tenant's own waiting jobs; `normal` where it is left out.",
        {"type": "string", "enum": list(PRIORITIES)},
    ),
    parameter(
        "reference",
        "Your own string, told back everywhere.",
        {"type": "string", "maxLength": MAX_REFERENCE_LENGTH},
    ),
    parameter(
        "cache",
        "`use`: a stored result of the same input, or the job that is under way, serves this "
        "request; `refresh`: no stored one; `off`: neither, nor does this one serve others. Left "
        "out: as the tenant and the model are set, and `off` for a model whose `seed` the input "
        "leaves out. `Gateway-Cache` tells what came of it.",
        {"type": "string", "enum": list(CacheOption)},
    ),
    parameter(
        "dry_run", "Check, price and say what would happen; nothing is taken in or spent.", _FLAG
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
