"""The outermost ASGI layer: request ids, common headers, errors as problems, one event each."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Defect, GatewayError, StoreRefused, StoreUnavailable, Unauthenticated
from core.observability.events import Emit, OperationalWarning, RequestServed
from core.runtime.garbage_collection import drop_frames
from service.context import KEYED_ROUTES, app_context
from service.errors import CutOff
from service.http.idempotency_header import IDEMPOTENCY_KEY
from service.http.request_context import RequestContext, open_request_context, request_context
from service.problems import MEDIA_TYPE, Problem, defect_of, problem_of

UNMATCHED: Final = "unmatched"
CLIENT_CLOSED_REQUEST: Final = 499
_REFUSALS: Final = range(400, 500)
NO_STORE_PREFIXES: Final = ("/v1", "/admin", "/console", "/mcp")
"""Path prefixes of responses that intermediaries must not cache."""
_IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_IDEMPOTENCY_KEY_HEADER: Final = IDEMPOTENCY_KEY.encode()
_CANCEL_SUFFIX: Final = "/cancel"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class GatewayMiddleware:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. No exception leaves this layer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = app_context(scope)
        proxies = context.policy.links.trusted_proxies
        request_context = open_request_context(scope, context.ids, context.span_of, proxies)
        started_at = context.clock.monotonic()
        inner = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}
        try:
            sender = _ResponseSender(scope, request_context, send, context.emit)
            await self._serve(inner, receive, sender, request_context)
        finally:
            request_context.release_body()
            duration = context.clock.monotonic() - started_at
            context.emit(_request_served(scope["method"], inner, request_context, duration))

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        sender: "_ResponseSender",
        request_context: RequestContext,
    ) -> None:
        problem = None
        try:
            await self._app(scope, receive, sender)
        except ClientDisconnect:
            request_context.status = CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # The shutdown timeout is over. uvicorn itself would answer 500 and log a traceback.
            problem = sender.report(CutOff(is_repeatable=is_repeatable(scope)))
        except GatewayError as error:
            problem = sender.report(error)
        except Exception as error:  # noqa: BLE001 - the outermost layer: a defect is reported and logged
            problem = sender.report(defect_of(error))
        if problem is None:
            return
        # Here the exception has gone, and with it the frames that hold the request's body.
        await delay_refusal(scope, problem.status)
        await sender.send_problem(problem, scope, receive)


async def delay_refusal(scope: Scope, status: int) -> None:
    """Wait, if the address has sent many wrong keys, or the tenant was refused often.

    `status` is that of the answer. Call it where no exception holds the request's body any more.
    """
    context, current = app_context(scope), request_context(scope)
    current.release_body()
    if current.code == Unauthenticated.code:
        await context.failed_authentications.record(current.client)
    elif status in _REFUSALS:
        await context.refusals.record(current.tenant or current.client)


_NO_STORE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    # These are documents, not pages: a browser must not run or embed anything from them.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class _ResponseSender:
    """Sends the response: adds the common headers, and drops the body of a HEAD request."""

    def __init__(
        self, scope: Scope, request_context: RequestContext, send: Send, emit: Emit
    ) -> None:
        self._send = send
        self._request_context = request_context
        self._emit = emit
        self._no_store = scope["path"].startswith(NO_STORE_PREFIXES)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._request_context.status = message["status"]
            # The caller may take long to read the answer.
            self._request_context.release_body()
            message["headers"] = [*message["headers"], *self._headers(message["headers"])]
        elif self._request_context.is_head:
            message = {**message, "body": b""}
        await self._send(message)

    def report(self, error: GatewayError) -> Problem:
        """Return the problem document of an error; operators are warned of a defect."""
        problem = problem_of(error, self._request_context.job_id)
        self._request_context.code = problem.code
        if isinstance(error, (Defect, StoreRefused)):
            cause = error.__cause__ or error
            self._emit(
                OperationalWarning(
                    error.code, type(cause).__name__, self._request_context.job_id, cause
                )
            )
        drop_frames(error)
        return problem

    async def send_problem(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        """Send it, if no answer has begun."""
        if self._request_context.status is None:
            await problem_response(problem)(scope, receive, self)

    def _headers(self, own: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        fixed = [
            (b"x-request-id", self._request_context.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]
        if not self._no_store:
            return fixed
        names = {name for name, _ in own}
        return [*fixed, *(header for header in _NO_STORE_HEADERS if header[0] not in names)]


def is_repeatable(scope: Scope) -> bool:
    """Return whether sending the request again has no second effect (RFC 9110, 9.2.2)."""
    route = _route_of(scope)
    if scope["method"] in _IDEMPOTENT_METHODS or route.endswith(_CANCEL_SUFFIX):
        return True
    return route in KEYED_ROUTES and any(
        name == _IDEMPOTENCY_KEY_HEADER for name, _ in scope["headers"]
    )


def _route_of(scope: Scope) -> str:
    route: str = getattr(scope.get("route"), "path", UNMATCHED)
    return route


def problem_response(problem: Problem) -> Response:
    """Return a response with a problem document (RFC 9457)."""
    return Response(problem.body, problem.status, dict(problem.headers), MEDIA_TYPE)


_UNCHECKED_CODES: Final = frozenset(
    {Unauthenticated.code, StoreUnavailable.code, CutOff.code, Defect.code}
)
"""Codes of requests whose key may be forged: the tenant that it names is not logged."""


def _request_served(
    method: str, scope: Scope, request_context: RequestContext, duration: timedelta
) -> RequestServed:
    return RequestServed(
        request_id=request_context.request_id,
        method=method if method in _METHODS else "OTHER",
        route=_route_of(scope),
        status=request_context.status or CLIENT_CLOSED_REQUEST,
        duration=duration,
        code=request_context.code,
        tenant=None if request_context.code in _UNCHECKED_CODES else request_context.tenant,
        job_id=request_context.job_id,
        trace=request_context.trace,
        caller_trace=request_context.caller_trace,
        wait_duration=request_context.wait_duration,
        client=request_context.client,
    )
