"""Building blocks of the OpenAPI document: schemas, parameters, responses."""

from collections.abc import Mapping
from datetime import timedelta
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
ADMIN_TOKEN_SCHEME: Final = "admin_token"  # noqa: S105 - the name of a scheme


ADMIN_SECURITY: Final[Mapping[str, Any]] = {"security": [{ADMIN_TOKEN_SCHEME: []}]}
"""Part of every operation of the admin API."""


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


def enum_schema(kind: type[Any]) -> Schema:
    """Return the schema of a string enum."""
    return {"type": "string", "enum": [str(word) for word in kind]}


def object_schema(required: str, /, **properties: Schema) -> Schema:
    """Return the schema of an object; `required` holds field names, separated by spaces."""
    return {"type": "object", "required": required.split(), "properties": properties}


def closed_object_schema(required: str, /, **properties: Schema) -> Schema:
    """Return the schema of an object in a request: unknown fields are rejected."""
    return {**object_schema(required, **properties), "additionalProperties": False}


def array_schema(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def request_body_spec(component: str, example: Schema, *, required: bool = True) -> Schema:
    """Return OpenAPI's `requestBody` with an example."""
    content = {"application/json": {"schema": ref(component), "example": example}}
    return {"required": required, "content": content}


def response_spec(description: str, component: str, example: Schema) -> dict[str, Any]:
    """Return one row of OpenAPI's `responses` with an example."""
    return {
        "description": description,
        "content": {"application/json": {"schema": ref(component), "example": example}},
    }
