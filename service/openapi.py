"""The API's description: what all routes share, and the whole document. Knows no handler."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final

import orjson
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from core import errors as core
from core.errors import FieldError, GatewayError
from core.jobs import PublicStatus
from core.limits import Policy
from core.listing import DEFAULT_ON_A_PAGE, MOST_ON_A_PAGE
from core.reuse import CacheOption
from service import errors as own
from service.admin_schemas import ADMIN_COMPONENTS
from service.batch_schemas import COMPONENTS as BATCH_COMPONENTS
from service.options import FARTHEST, PRIORITIES
from service.problems import MEDIA_TYPE, problem_of
from service.reading import MOST_REFERENCE_CHARS
from service.resources import DISTRIBUTION
from service.schemas import COMPONENTS, INPUT_EXAMPLE, INSTANT, TEXT, ref
from service.webhook_schemas import COMPONENTS as WEBHOOK_COMPONENTS
from service.webhook_schemas import webhooks_section

TITLE: Final = "runcomfy-gateway"
_ABOUT: Final = (
    "RunComfy's Model API, self-hosted: any RunComfy client works by changing its base URL and "
    "token. No paid job is lost, and none is paid for twice."
)
_SECURITY: Final = "tenant_key"
_OPERATORS: Final = "admin_token"
OPERATORS_ONLY: Final[Mapping[str, Any]] = {"security": [{_OPERATORS: []}]}
"""Goes into each operation of the operators' API."""

SHOWN: Final[Mapping[int, GatewayError]] = {
    400: core.MalformedRequest("Options of the query are wrong: ?max_cots."),
    401: core.Unauthenticated(),
    402: own.CostAboveLimit("The request is estimated at 1.26 USD, more than max_cost allows."),
    403: core.NotPermitted(),
    404: core.NotFound(),
    408: own.BodyTooSlow(),
    409: own.JobContended(),
    410: core.RequestDeleted(),
    413: core.BodyTooLarge("The body is larger than 1,048,576 bytes."),
    415: own.UnsupportedMedia(),
    422: core.InvalidInput(
        "The input does not fit the model: /duration must be at least 3.",
        fields=(FieldError("/duration", "must be at least 3"),),
    ),
    429: core.LimitReached(
        "The tenant's jobs of this day (UTC) are used up.",
        policy=Policy.JOBS_DAY,
        retry_after=timedelta(hours=9),
    ),
    503: core.StoreUnavailable(),
}
"""The problem that stands for its status in the description."""


def problems(*statuses: int) -> dict[int, dict[str, Any]]:
    """Rows of OpenAPI's `responses` for these statuses."""
    return {status: _problem(SHOWN[status]) for status in statuses}


def _problem(error: GatewayError) -> dict[str, Any]:
    example = orjson.loads(problem_of(error).body)
    return {
        "description": f"{error.title}.",
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "example": example}},
    }


def parameter(
    name: str, description: str, schema: Mapping[str, Any], where: str = "query"
) -> dict[str, Any]:
    """One of OpenAPI's `parameters`."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": dict(schema),
    }


_FLAG: Final = {"type": "boolean", "default": False}
_SPAN: Final = {"type": "integer", "minimum": 1}

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
    parameter("timeout", "Seconds until the job must have ended.", _SPAN),
    parameter("start_timeout", "Seconds until it must have started; free if not.", _SPAN),
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
        {"type": "string", "maxLength": MOST_REFERENCE_CHARS},
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
LIST_PARAMETERS: Final = [
    parameter("search", "Words that the id or the name must hold.", TEXT),
    parameter("category", "A category.", TEXT),
    parameter("kind", "A kind, such as `video`.", TEXT),
    parameter("limit", "Page size.", {"type": "integer", "minimum": 1, "maximum": 100}),
    parameter(
        "offset", "How many to skip.", {"type": "integer", "minimum": 0, "maximum": FARTHEST}
    ),
    parameter("include_schema", "Whether to show schemas.", _FLAG),
]
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": MOST_REFERENCE_CHARS}
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
            "maximum": MOST_ON_A_PAGE,
            "default": DEFAULT_ON_A_PAGE,
        },
    ),
    parameter("cursor", "`next_cursor` of the page before.", {"type": "string", "minLength": 1}),
]
SUBMIT_BODY: Final = {
    "required": True,
    "description": "The model's input; `GET /v1/models/{model_id}` shows its schema.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": INPUT_EXAMPLE}},
}


def openapi_document(routes: Sequence[BaseRoute]) -> bytes:
    """The description of `routes` as JSON."""
    document = get_openapi(
        title=TITLE, version=version(DISTRIBUTION), description=_ABOUT, routes=routes
    )
    document["components"] = {
        "schemas": {
            **COMPONENTS,
            **BATCH_COMPONENTS,
            **WEBHOOK_COMPONENTS,
            **ADMIN_COMPONENTS,
        },
        "securitySchemes": {
            _SECURITY: {
                "type": "http",
                "scheme": "bearer",
                "description": "A tenant's key, as `gateway tenant create` printed it.",
            },
            _OPERATORS: {
                "type": "http",
                "scheme": "bearer",
                "description": "`GATEWAY_ADMIN_TOKEN`. Without that setting this API is off (404).",
            },
        },
    }
    document["webhooks"] = webhooks_section()
    document["security"] = [{_SECURITY: []}]
    return orjson.dumps(document)
