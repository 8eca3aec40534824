"""Calls of the API's own operations in this process, as a user.

A page of the console and a tool of MCP have no way of their own to read or change anything: scopes,
roles, limits, the audit log and idempotency are the API's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.types import Message, Receive

from core.errors import NotFound
from service.callers.user import User
from service.http.authentication import SIGNED_IN, request_links

JsonObject = dict[str, Any]
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
_KEPT_HEADERS: Final = frozenset({b"host", b"content-type", b"content-length"})
_OUTER_ENTRIES: Final = frozenset({"route", "endpoint", "path_params", "router"})


@dataclass(frozen=True, slots=True)
class Operation:
    """Where the API serves an operation."""

    method: str
    path: str


@dataclass(slots=True)
class Answer:
    """What an operation answered; one that ended without an answer had lost its caller."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def document(self) -> JsonObject:
        """The body as JSON; an empty body is `{}`."""
        parsed: JsonObject = orjson.loads(self.body) if self.body else {}
        return parsed

    async def receive(self, message: Message) -> None:
        """Take what the operation sends by ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            self.body += message.get("body", b"")


def encode_query(fields: Mapping[str, Any]) -> str:
    """Return the fields that have a value as a query."""
    return urlencode({name: value for name, value in fields.items() if value not in (None, "")})


def operations_of(app: FastAPI) -> Mapping[str, Operation]:
    """Return the documented operations of `app` by id."""
    return {
        route.unique_id: Operation(method, route.path or "")
        for route in iter_route_contexts(app.routes)
        if getattr(route, "include_in_schema", False)
        for method in route.methods or ()
    }


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """Calls operations within a request to the console or to MCP."""

    request: Request
    user: User

    @property
    def base_url(self) -> str:
        """The address of the API as the user's browser reaches it."""
        return request_links(self.request).base

    async def read(
        self, operation: str, query: Mapping[str, Any] | None = None, **path: str
    ) -> JsonObject:
        """Return the document of an operation that changes nothing. Raises as the operation."""
        return (await self.call(operation, path, query)).document

    async def send(
        self,
        operation: str,
        body: Any = None,  # noqa: ANN401 - JSON
        query: Mapping[str, Any] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        **path: str,
    ) -> Answer:
        """Call an operation with a JSON body, or with bytes that are sent as they are."""
        if body is None:
            return await self.call(operation, path, query, headers)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        length = (b"content-length", str(len(content)).encode())
        sent = (*_JSON_HEADERS, length, *headers)
        return await self.call(operation, path, query, sent, self._receive_after(content))

    async def forward(self, operation: str) -> Answer:
        """Call an operation with the body of the page's own request."""
        kept = [field for field in self.request.scope["headers"] if field[0] in _KEPT_HEADERS]
        return await self.call(operation, {}, None, kept, self.request.receive)

    async def call(
        self,
        operation: str,
        path: Mapping[str, str],
        query: Mapping[str, Any] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        receive: Receive | None = None,
    ) -> Answer:
        """Call an operation and return its answer. Raises the `GatewayError` that it raises."""
        outer = self.request.scope
        known: Operation = self.request.app.state.operations[operation]
        host = [field for field in outer["headers"] if field[0] == b"host"]
        scope = {name: value for name, value in outer.items() if name not in _OUTER_ENTRIES}
        own_path = _fill(known.path, path)
        scope |= {
            "method": known.method,
            "path": outer.get("root_path", "") + own_path,
            "raw_path": own_path.encode(),
            "query_string": encode_query(query or {}).encode(),
            "headers": [*host, *(field for field in headers if field[0] != b"host")],
            SIGNED_IN: self.user.identity,
        }
        answer = Answer()
        await self.request.app.router(scope, receive or self._receive_after(b""), answer.receive)
        return answer

    def _receive_after(self, content: bytes) -> Receive:
        """Return ASGI's receive: the body, then what the page's own caller does, who may leave."""
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            return messages.pop() if messages else await self.request.receive()

        return receive


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Return the path with its parameters. Raises `NotFound` for one that would lead elsewhere."""
    for name, value in values.items():
        is_path = f"{{{name}:path}}" in template
        if not value or ("/" in value and not is_path):
            raise NotFound
        template = template.replace(f"{{{name}:path}}", value).replace(f"{{{name}}}", value)
    return template
