"""Responses whose JSON is ready: they are not validated again."""

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from core.http_server.connections import ANSWER_PART
from core.http_server.protocol import ANSWER_BYTES

_CONTENT_TYPE: Final = (b"content-type", b"application/json")


class _JsonResponse(Response):
    """A response with a JSON body. Names of headers are in lower case."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Encode the headers. Starlette's own method first searches them for these two."""
        self.raw_headers = [
            *((name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()),
            (b"content-length", b"%d" % len(self.body)),
            _CONTENT_TYPE,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, a long body in parts: the next when the caller has room for it."""
        if len(self.body) <= ANSWER_PART:
            await super().__call__(scope, receive, send)
            return
        scope["state"][ANSWER_BYTES] = len(self.body)
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        body = memoryview(self.body)
        for begin in range(0, len(body), ANSWER_PART):
            end = begin + ANSWER_PART
            part = {"body": body[begin:end], "more_body": end < len(body)}
            await send({"type": "http.response.body", **part})


def json_bytes_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON body."""
    return _JsonResponse(body, status, headers)


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return `document` as a JSON response."""
    return json_bytes_response(orjson.dumps(document), status, headers)
