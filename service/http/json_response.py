"""Responses whose JSON is ready: they are not validated again."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response


def json_bytes_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON body."""
    return Response(body, status, headers, "application/json")


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return `document` as a JSON response."""
    return json_bytes_response(orjson.dumps(document), status, headers)
