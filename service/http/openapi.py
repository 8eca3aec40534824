"""Building blocks of the OpenAPI document: schemas, parameters, responses."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import orjson

from core import errors as core_errors
from core.errors import FieldError, GatewayError
from core.quotas import QuotaPolicy
from service import errors as service_errors
from service.problems import MEDIA_TYPE, problem_of

Schema = Mapping[str, Any]
Responses = dict[int | str, dict[str, Any]]
"""OpenAPI's `responses` as FastAPI takes them."""


class Tag(StrEnum):
    """The groups of the API reference."""

    REQUESTS = "Requests"
    BATCHES = "Batches"
    FILES = "Files"
    MODELS = "Models"
    WEBHOOKS = "Webhooks"
    USAGE = "Usage"
    ADMIN_TENANTS = "Operators: tenants"
    ADMIN_OPERATORS = "Operators: operators and the audit log"
    ADMIN_WEBHOOKS = "Operators: webhooks"
    ADMIN_REQUESTS = "Operators: requests, doubts, outputs"
    ADMIN_MODELS = "Operators: models"
    ADMIN_LIMITS_AND_PAUSES = "Operators: limits, pauses, circuit breakers"
    HEALTH = "Health"


ADMIN_TOKEN_SCHEME: Final = "admin_token"  # noqa: S105 - the name of a scheme


EXAMPLE_ERRORS: Final[Mapping[int, GatewayError]] = {
    400: core_errors.MalformedRequest("Options of the query are wrong: ?max_cots."),
    401: core_errors.Unauthenticated(),
    402: service_errors.CostAboveLimit(
        "The request is estimated at 1.26 USD, more than max_cost allows."
    ),
    403: core_errors.NotPermitted(),
    404: core_errors.NotFound(),
    408: service_errors.BodyTooSlow(),
    409: service_errors.JobContended(),
    410: core_errors.RequestDeleted(),
    413: core_errors.BodyTooLarge("The body is larger than 1,048,576 bytes."),
    415: service_errors.UnsupportedMedia(),
    422: core_errors.InvalidInput(
        "The input does not fit the model: /duration must be at least 3.",
        fields=(FieldError("/duration", "must be at least 3"),),
    ),
    429: core_errors.LimitReached(
        "The tenant's jobs of this day (UTC) are used up.",
        policy=QuotaPolicy.JOBS_DAY,
        retry_after=timedelta(hours=9),
    ),
    503: core_errors.StoreUnavailable(),
}
"""The example problem of each status in the API reference."""


def problem_responses(*statuses: int) -> Responses:
    """Return the rows of OpenAPI's `responses` for these statuses."""
    return {status: _problem_response(EXAMPLE_ERRORS[status]) for status in statuses}


def _problem_response(error: GatewayError) -> dict[str, Any]:
    example = orjson.loads(problem_of(error).body)
    return {
        "description": f"{error.title}.",
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "example": example}},
    }


def parameter(
    name: str, description: str, schema: Mapping[str, Any], location: str = "query"
) -> dict[str, Any]:
    """Return one of OpenAPI's `parameters`."""
    return {
        "name": name,
        "in": location,
        "required": location == "path",
        "description": description,
        "schema": dict(schema),
    }


def ref(name: str) -> Schema:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(description: str, component: str, **more: object) -> dict[str, Any]:
    """Return a row of OpenAPI's `responses`, or its `requestBody`: a body of this component."""
    content = {"application/json": {"schema": ref(component)}}
    return {"description": description, "content": content, **more}
