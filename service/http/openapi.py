"""Building blocks of the OpenAPI description: schemas, parameters, responses."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import orjson

from core import errors as core
from core.errors import FieldError, GatewayError
from core.quotas import Policy
from service import errors as own
from service.problems import MEDIA_TYPE, problem_of

ADMIN_TOKEN_SCHEME: Final = "admin_token"  # noqa: S105 - the name of a scheme


OPERATORS_ONLY: Final[Mapping[str, Any]] = {"security": [{ADMIN_TOKEN_SCHEME: []}]}
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


Schema = Mapping[str, Any]


def words(kind: type[Any]) -> Schema:
    """A text of a closed set."""
    return {"type": "string", "enum": [str(word) for word in kind]}


def objects(required: str, /, **properties: Schema) -> Schema:
    """An object; `required` names the fields that are always there, with blanks between."""
    return {"type": "object", "required": required.split(), "properties": properties}


def closed(required: str, /, **properties: Schema) -> Schema:
    """An object that is sent to us: a field that nobody reads is a mistake."""
    return {**objects(required, **properties), "additionalProperties": False}


def many(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """A schema of `COMPONENTS`, by name."""
    return {"$ref": f"#/components/schemas/{name}"}


def body(component: str, example: Schema, *, required: bool = True) -> Schema:
    """OpenAPI's `requestBody`, with an example; one that is left out is an empty object."""
    content = {"application/json": {"schema": ref(component), "example": example}}
    return {"required": required, "content": content}


def answer(description: str, component: str, example: Schema) -> Schema:
    """One row of OpenAPI's `responses`, with an example."""
    return {
        "description": description,
        "content": {"application/json": {"schema": ref(component), "example": example}},
    }
