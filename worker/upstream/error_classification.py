"""Classifies failures by what they mean for billing, in three tables.

They cover exceptions of the HTTP libraries, HTTP statuses and RunComfy's error codes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

import aiohttp
import httpx

from core.observability.outcomes import FaultKind
from worker.ports import RefusalScope


class BillingEffect(Enum):
    """What the end of a submit means for billing."""

    NOT_SENT = "certainly no work was started; it may be sent again"
    REJECTED = "rejected; free"
    INDETERMINATE = "unknown; it may be billed"


@dataclass(frozen=True, slots=True)
class Classification:
    """What one row of a table states."""

    billing_effect: BillingEffect
    kind: FaultKind
    scope: RefusalScope = RefusalScope.INPUT
    """Of a rejection: what it is about."""


class ResponseTooLarge(Exception):
    """The answer exceeds the bound for its size."""


class TunnelFailed(Exception):
    """The proxy opened no tunnel to RunComfy: nothing of the request itself was sent."""


class UnsafeMethod(Exception):
    """Something other than a GET was given to the transport for reads."""


UNCLASSIFIED: Final = Classification(BillingEffect.INDETERMINATE, FaultKind.UNKNOWN)

# Looked up by exact class: an unknown subclass never counts as "not sent".
CLASSIFICATIONS_BY_EXCEPTION: Final[Mapping[type[Exception], Classification]] = {
    # No connection, or no TLS session on it: the request cannot have left.
    httpx.ConnectError: Classification(BillingEffect.NOT_SENT, FaultKind.CONNECT_ERROR),
    httpx.ConnectTimeout: Classification(BillingEffect.NOT_SENT, FaultKind.CONNECT_TIMEOUT),
    # It was still waiting for a connection from our own pool.
    httpx.PoolTimeout: Classification(BillingEffect.NOT_SENT, FaultKind.POOL_TIMEOUT),
    # Raised for the URL, before a connection is opened.
    httpx.UnsupportedProtocol: Classification(BillingEffect.NOT_SENT, FaultKind.INVALID_ID),
    httpx.InvalidURL: Classification(BillingEffect.NOT_SENT, FaultKind.INVALID_ID),
    # Raised while the head is built, before its first byte is written (HTTP/1.1; we never offer 2).
    httpx.LocalProtocolError: Classification(BillingEffect.NOT_SENT, FaultKind.PROTOCOL_ERROR),
    # Our own check, before a connection is opened.
    UnsafeMethod: Classification(BillingEffect.NOT_SENT, FaultKind.UNKNOWN),
    # Our own finding, whatever httpx raised: see `worker.upstream.http_request`.
    TunnelFailed: Classification(BillingEffect.NOT_SENT, FaultKind.PROXY_ERROR),
    # httpx raises it in place of a tunnel, but without that finding it proves nothing.
    httpx.ProxyError: Classification(BillingEffect.INDETERMINATE, FaultKind.PROXY_ERROR),
    # Bytes have left; whether RunComfy acted on them is unknown.
    httpx.WriteError: Classification(BillingEffect.INDETERMINATE, FaultKind.WRITE_ERROR),
    httpx.WriteTimeout: Classification(BillingEffect.INDETERMINATE, FaultKind.WRITE_TIMEOUT),
    # The whole request has left.
    httpx.ReadError: Classification(BillingEffect.INDETERMINATE, FaultKind.RESET),
    httpx.ReadTimeout: Classification(BillingEffect.INDETERMINATE, FaultKind.READ_TIMEOUT),
    httpx.CloseError: Classification(BillingEffect.INDETERMINATE, FaultKind.RESET),
    httpx.RemoteProtocolError: Classification(
        BillingEffect.INDETERMINATE, FaultKind.PROTOCOL_ERROR
    ),
    httpx.DecodingError: Classification(BillingEffect.INDETERMINATE, FaultKind.PROTOCOL_ERROR),
    httpx.TooManyRedirects: Classification(BillingEffect.INDETERMINATE, FaultKind.REDIRECT),
    ResponseTooLarge: Classification(BillingEffect.INDETERMINATE, FaultKind.OVERSIZED),
    TimeoutError: Classification(BillingEffect.INDETERMINATE, FaultKind.DEADLINE),
    # Classes that httpx 0.28 uses as bases only, or raises for misuse of its API.
    httpx.HTTPError: UNCLASSIFIED,
    httpx.RequestError: UNCLASSIFIED,
    httpx.HTTPStatusError: UNCLASSIFIED,
    httpx.TransportError: UNCLASSIFIED,
    httpx.TimeoutException: UNCLASSIFIED,
    httpx.NetworkError: UNCLASSIFIED,
    httpx.ProtocolError: UNCLASSIFIED,
    httpx.StreamError: UNCLASSIFIED,
    httpx.StreamConsumed: UNCLASSIFIED,
    httpx.StreamClosed: UNCLASSIFIED,
    httpx.ResponseNotRead: UNCLASSIFIED,
    httpx.RequestNotRead: UNCLASSIFIED,
    httpx.CookieConflict: UNCLASSIFIED,
}

# For the metrics of reads only: nothing about billing depends on these. Most specific first.
KINDS_BY_AIOHTTP_ERROR: Final[tuple[tuple[type[Exception], FaultKind], ...]] = (
    (aiohttp.ClientHttpProxyError, FaultKind.PROXY_ERROR),
    (aiohttp.ClientProxyConnectionError, FaultKind.PROXY_ERROR),
    (aiohttp.ServerDisconnectedError, FaultKind.RESET),
    (aiohttp.ConnectionTimeoutError, FaultKind.CONNECT_TIMEOUT),
    (aiohttp.ServerTimeoutError, FaultKind.READ_TIMEOUT),
    (aiohttp.ClientConnectorError, FaultKind.CONNECT_ERROR),
    (aiohttp.ClientOSError, FaultKind.RESET),
    (aiohttp.ClientPayloadError, FaultKind.PROTOCOL_ERROR),
    (aiohttp.ClientResponseError, FaultKind.PROTOCOL_ERROR),
)

_REJECTED: Final = Classification(BillingEffect.REJECTED, FaultKind.HTTP_4XX)
_ACCOUNT_REJECTED: Final = Classification(
    BillingEffect.REJECTED, FaultKind.ACCOUNT_REJECTED, RefusalScope.ACCOUNT
)
_BALANCE_REJECTED: Final = Classification(
    BillingEffect.REJECTED, FaultKind.BALANCE_REJECTED, RefusalScope.BALANCE
)
_MODEL_REJECTED: Final = Classification(
    BillingEffect.REJECTED, FaultKind.MODEL_REJECTED, RefusalScope.MODEL
)
HTML_REJECTED: Final = Classification(BillingEffect.REJECTED, FaultKind.HTML, RefusalScope.NONE)
"""A 4xx with an HTML page: a firewall's about one prompt must not stop other jobs."""

# RunComfy documents 400, 401, 402, 403, 404, 422 and 429. The others mean by RFC 9110, 6585, 7725
# and 8470 that the request was rejected before it was processed. Left out, and so indeterminate:
# 408 and 499 (a proxy sends them for requests that it has forwarded), 409 (may mean "in progress").
CLASSIFICATIONS_BY_STATUS: Final[Mapping[int, Classification]] = {
    400: _REJECTED,
    401: _ACCOUNT_REJECTED,
    402: _BALANCE_REJECTED,
    403: _MODEL_REJECTED,
    404: _REJECTED,
    405: _REJECTED,
    406: _REJECTED,
    410: _REJECTED,
    411: _REJECTED,
    413: _REJECTED,
    414: _REJECTED,
    415: _REJECTED,
    417: _REJECTED,
    421: _REJECTED,
    422: _REJECTED,
    425: Classification(BillingEffect.NOT_SENT, FaultKind.HTTP_4XX),
    428: _REJECTED,
    429: Classification(BillingEffect.NOT_SENT, FaultKind.HTTP_429),
    431: _REJECTED,
    451: _REJECTED,
}

SCOPED_CODES: Final[Mapping[str, Classification]] = {
    "400002": _BALANCE_REJECTED,
    "400004": _ACCOUNT_REJECTED,
    "403001": _MODEL_REJECTED,
}
"""RunComfy's codes that mean the same under any HTTP status: no balance for this operation; token
missing, expired or revoked, or account inactive; a resource of others."""
_INACTIVE_ACCOUNT: Final = re.compile(
    r"\baccount\b.{0,40}\b(inactive|suspended|disabled|deactivated|banned|locked)\b", re.IGNORECASE
)
NOT_FOUND_CODE: Final = "404001"
_CODE_DIGITS: Final = 6

_KINDS_BY_STATUS_CLASS: Final[Mapping[int, FaultKind]] = {
    3: FaultKind.REDIRECT,
    4: FaultKind.HTTP_4XX,
    5: FaultKind.HTTP_5XX,
}


def classify_exception(error: Exception) -> Classification:
    """Return what an exception of httpx during a submit means for billing."""
    return CLASSIFICATIONS_BY_EXCEPTION.get(type(error), UNCLASSIFIED)


def fault_kind_of(error: Exception) -> FaultKind:
    """Return the kind of fault of an exception of either transport."""
    for candidate in (error.__cause__, error):
        for known, kind in KINDS_BY_AIOHTTP_ERROR:
            if isinstance(candidate, known):
                return kind
    return classify_exception(error).kind


def classify_status(status: int, *, has_retry_after: bool) -> Classification:
    """Return what a status other than 2xx means for billing."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and has_retry_after:
        # With `Retry-After`, RunComfy states that it does not take requests yet.
        return Classification(BillingEffect.NOT_SENT, FaultKind.HTTP_5XX)
    indeterminate = Classification(
        BillingEffect.INDETERMINATE,
        _KINDS_BY_STATUS_CLASS.get(status // 100, FaultKind.HTTP_UNEXPECTED),
    )
    return CLASSIFICATIONS_BY_STATUS.get(status, indeterminate)


def classify_code(code: str) -> Classification:
    """Return what an error code inside an HTTP 200 means for billing.

    A code 4xxxxx means what its first three digits mean as an HTTP status. 500001 and undocumented
    codes are indeterminate.
    """
    if code in SCOPED_CODES:
        return SCOPED_CODES[code]
    in_family = len(code) == _CODE_DIGITS and code.isascii() and code.isdecimal()
    mirrored = CLASSIFICATIONS_BY_STATUS.get(int(code[:3])) if in_family else None
    if mirrored is None:
        return Classification(BillingEffect.INDETERMINATE, FaultKind.ERROR_IN_200)
    is_scoped = mirrored.scope is not RefusalScope.INPUT
    return (
        mirrored if is_scoped else Classification(mirrored.billing_effect, FaultKind.ERROR_IN_200)
    )


def classify_text(found: Classification, text: str | None) -> Classification:
    """Return a refusal's classification by its text: "account inactive" concerns the account."""
    is_refusal = found.scope in {RefusalScope.MODEL, RefusalScope.BALANCE}
    return _ACCOUNT_REJECTED if is_refusal and _INACTIVE_ACCOUNT.search(text or "") else found
