"""The context of one HTTP request, kept in its ASGI scope; links to the API."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from core.ids import IdSource
from core.observability.trace_context import SpanNamer, parse_traceparent
from core.representations.jobs import Links
from service.parsing.body_budget import BodyReservation
from service.parsing.forwarded import HOST, ForwardedRequest, TrustedProxies, parse_forwarded

_SCOPE_KEY: Final = "gateway.request_context"


_VALID_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


_OUR_ID_CHARS: Final = 24


@dataclass(slots=True)
class RequestContext:
    """What handlers report about a request, for its `RequestServed` event and its problem."""

    request_id: str
    forwarded: ForwardedRequest
    client: str
    """The address of the caller, or of the untrusted proxy in front; "" if it has none."""
    tenant: str | None = None
    job_id: str | None = None
    code: str | None = None
    status: int | None = None
    trace: str | None = None
    """The `traceparent` of this request's own span; the caller's if there is no own span."""
    caller_trace: str | None = None
    is_head: bool = False
    """A HEAD request is served as a GET, and its body is dropped."""
    wait_duration: timedelta | None = None
    """How long the request waited because the caller had requested it (`Prefer: wait`)."""
    body: BodyReservation | None = None
    """The bytes of its body that count as in flight."""

    def release_body(self) -> None:
        """Count the body as in flight no longer: what was in it is stored, or refused."""
        if self.body is not None:
            self.body.release()


def open_request_context(
    scope: Scope, ids: IdSource, span_of: SpanNamer, proxies: TrustedProxies
) -> RequestContext:
    """Create the context of a request. A valid `X-Request-Id` of the caller is kept."""
    # Of a header that is sent twice the first counts.
    headers = dict(reversed(scope["headers"]))
    text = headers.get(b"x-request-id", b"").decode("latin-1")
    is_valid = _VALID_ID.fullmatch(text) is not None
    request_id = text if is_valid else f"x_{ids.secret().hex()[:_OUR_ID_CHARS]}"
    forwarded = forwarded_request(scope, proxies)
    trace = parse_traceparent(headers.get(b"traceparent", b"").decode("latin-1"))
    opened = RequestContext(
        request_id,
        forwarded,
        client=forwarded.client or "",
        trace=span_of(trace),
        caller_trace=trace,
        is_head=scope["method"] == "HEAD",
    )
    scope[_SCOPE_KEY] = opened
    return opened


def request_context(scope: Scope) -> RequestContext:
    """Return the context of the request that `scope` belongs to."""
    opened: RequestContext = scope[_SCOPE_KEY]
    return opened


def query_text(scope: Scope) -> str:
    """Return the query as it was sent. Starlette's `url` fails on one that is not UTF-8."""
    text: str = scope["query_string"].decode("latin-1")
    return text


def build_links(scope: Scope, forwarded: ForwardedRequest, public_url: str | None) -> Links:
    """Return links based on the public URL, or else on the address that the caller used."""
    if public_url is not None:
        return Links(public_url)
    scheme = forwarded.scheme or scope["scheme"]
    prefix = forwarded.prefix or scope.get("root_path", "")
    return Links(f"{scheme}://{forwarded.host or _host(scope)}{prefix}")


def forwarded_request(scope: Scope, proxies: TrustedProxies) -> ForwardedRequest:
    """Return what trusted proxies report of a request; without any, its peer is the caller."""
    address, _ = scope.get("client") or (None, None)
    if not proxies.networks:
        return ForwardedRequest(address)
    return parse_forwarded(Headers(scope=scope), address, proxies)


def _host(scope: Scope) -> str:
    named = next((value for name, value in scope["headers"] if name == b"host"), b"")
    text: str = named.decode("latin-1")
    if HOST.fullmatch(text):
        return text
    address, port = scope.get("server") or ("localhost", None)
    return f"{address}:{port}" if port else str(address)
