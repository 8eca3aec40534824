"""The outermost layer of every exchange: ids, headers, errors as problems, one event at the end.

Plain ASGI. Knows no routes beyond the template that one was matched by.
"""

import asyncio
from datetime import timedelta
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Defect, GatewayError, Unauthenticated
from core.observability.events import Emit, OperationalWarning, RequestServed
from service.context import resources_of
from service.errors import CutOff
from service.http.request_context import Exchange, open_exchange
from service.problems import MEDIA_TYPE, Problem, defect_of, problem_of

UNMATCHED: Final = "unmatched"
CLIENT_LEFT: Final = 499
PRIVATE: Final = ("/v1", "/admin")
"""Addresses whose answers nobody between may keep."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange; nothing leaves here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        resources = resources_of(scope)
        exchange = open_exchange(scope, resources.ids, resources.span_of)
        began = resources.clock.monotonic()
        inner = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}
        try:
            answering = _Answering(scope, exchange, send, resources.emit)
            await self._serve(inner, receive, answering, exchange)
        finally:
            took = resources.clock.monotonic() - began
            resources.emit(_served(scope["method"], inner, exchange, took))

    async def _serve(
        self, scope: Scope, receive: Receive, answering: "_Answering", exchange: Exchange
    ) -> None:
        try:
            await self._app(scope, receive, answering)
        except ClientDisconnect:
            exchange.status = CLIENT_LEFT
        except asyncio.CancelledError:
            # The server's patience with open calls is over; it would answer 500, with a trace.
            await answering.problem(CutOff(), scope, receive)
        except GatewayError as error:
            await answering.problem(error, scope, receive)
        except Exception as error:  # noqa: BLE001 - the outermost layer: a defect is answered and logged
            await answering.problem(defect_of(error), scope, receive)


_OF_PRIVATE: Final = (
    (b"cache-control", b"no-store"),
    # Documents, not pages: a browser that is led to one runs and embeds nothing.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class _Answering:
    """The way out: every answer gets its headers here, and HEAD loses its body."""

    def __init__(self, scope: Scope, exchange: Exchange, send: Send, emit: Emit) -> None:
        self._send = send
        self._exchange = exchange
        self._emit = emit
        self._private = scope["path"].startswith(PRIVATE)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        elif self._exchange.bodyless:
            message = {**message, "body": b""}
        await self._send(message)

    async def problem(self, error: GatewayError, scope: Scope, receive: Receive) -> None:
        problem = problem_of(error, self._exchange.job_id)
        self._exchange.code = problem.code
        if isinstance(error, Defect):
            cause = error.__cause__ or error
            self._emit(
                OperationalWarning(error.code, type(cause).__name__, self._exchange.job_id, cause)
            )
        if self._exchange.status is None:
            await problem_response(problem)(scope, receive, self)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        fixed = [
            (b"x-request-id", self._exchange.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]
        return [*fixed, *_OF_PRIVATE] if self._private else fixed


def problem_response(problem: Problem) -> Response:
    """A problem document as an answer."""
    return Response(problem.body, problem.status, dict(problem.headers), MEDIA_TYPE)


def _served(method: str, scope: Scope, exchange: Exchange, took: timedelta) -> RequestServed:
    return RequestServed(
        request_id=exchange.request_id,
        method=method if method in _METHODS else "OTHER",
        route=getattr(scope.get("route"), "path", UNMATCHED),
        status=exchange.status or CLIENT_LEFT,
        duration=took,
        code=exchange.code,
        tenant=None if exchange.code == Unauthenticated.code else exchange.tenant,
        job_id=exchange.job_id,
        trace=exchange.trace,
        caller_trace=exchange.caller_trace,
        wait_duration=exchange.waited,
    )
