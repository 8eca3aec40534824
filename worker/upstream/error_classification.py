"""What each failure says about money: tables over exceptions, HTTP statuses and RunComfy's codes.

Knows the exceptions of the HTTP libraries; knows no answers and does no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

import aiohttp
import httpx

from core.observability.outcomes import FaultKind


class BillingEffect(Enum):
    """What a submit's end says about money."""

    NOT_SENT = "surely no work was started; it may be sent again"
    REJECTED = "refused for what it asks; costs nothing"
    ACCOUNT_REJECTED = "refused for who asks (token, balance, permission); costs nothing"
    INDETERMINATE = "nobody knows"


@dataclass(frozen=True, slots=True)
class Classification:
    """One row's judgement."""

    billing_effect: BillingEffect
    kind: FaultKind


class ResponseTooLarge(Exception):
    """The answer is larger than we read."""


class UnsafeMethod(Exception):
    """Something other than a GET was sent through the transport for reads."""


UNCLASSIFIED: Final = Classification(BillingEffect.INDETERMINATE, FaultKind.UNKNOWN)

# Looked up by exact class: a subclass that nobody has read is never trusted to mean "not sent".
CLASSIFICATIONS_BY_EXCEPTION: Final[Mapping[type[Exception], Classification]] = {
    # No connection, or no TLS session on it: the request cannot have left.
    httpx.ConnectError: Classification(BillingEffect.NOT_SENT, FaultKind.CONNECT_ERROR),
    httpx.ConnectTimeout: Classification(BillingEffect.NOT_SENT, FaultKind.CONNECT_TIMEOUT),
    # It still stood in our own queue for a connection.
    httpx.PoolTimeout: Classification(BillingEffect.NOT_SENT, FaultKind.POOL_TIMEOUT),
    # Raised from the URL, before a connection is sought.
    httpx.UnsupportedProtocol: Classification(BillingEffect.NOT_SENT, FaultKind.INVALID_ID),
    httpx.InvalidURL: Classification(BillingEffect.NOT_SENT, FaultKind.INVALID_ID),
    # Raised while the head is built, before its first byte is written (HTTP/1.1; we never offer 2).
    httpx.LocalProtocolError: Classification(BillingEffect.NOT_SENT, FaultKind.PROTOCOL_ERROR),
    # Our own guard, before a connection is sought.
    UnsafeMethod: Classification(BillingEffect.NOT_SENT, FaultKind.UNKNOWN),
    # We use no proxy, so whoever raises this is not one we know.
    httpx.ProxyError: Classification(BillingEffect.INDETERMINATE, FaultKind.PROXY_ERROR),
    # Bytes have left. How many the other side acted on, it alone knows.
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
    # Classes that httpx 0.28 only derives from, or raises for misuse that we do not commit.
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

# The transport of the reads calls most of these ConnectTimeout; the metric should not. Words only:
# no money hangs on them. Most specific first.
KINDS_BY_AIOHTTP_ERROR: Final[tuple[tuple[type[Exception], FaultKind], ...]] = (
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
    BillingEffect.ACCOUNT_REJECTED, FaultKind.ACCOUNT_REJECTED
)

# 400, 401, 402, 403, 404, 422 and 429 are RunComfy's own. The others mean, by RFC 9110, 6585, 7725
# and 8470, that the request was turned away before it was acted on. Absent, and so no answer:
# 408 and 499 (a proxy says them of requests it has passed on), 409 (may mean "already under way").
CLASSIFICATIONS_BY_STATUS: Final[Mapping[int, Classification]] = {
    400: _REJECTED,
    401: _ACCOUNT_REJECTED,
    402: _ACCOUNT_REJECTED,
    403: _ACCOUNT_REJECTED,
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

# RunComfy's codes that speak of the account, whatever their HTTP status: no balance; token missing,
# expired or revoked.
ACCOUNT_CODES: Final = frozenset({"400002", "400004"})
NOT_FOUND_CODE: Final = "404001"
_CODE_DIGITS: Final = 6

_KINDS_BY_STATUS_CLASS: Final[Mapping[int, FaultKind]] = {
    3: FaultKind.REDIRECT,
    4: FaultKind.HTTP_4XX,
    5: FaultKind.HTTP_5XX,
}


def classify_exception(error: Exception) -> Classification:
    """What `error`, raised while submitting over stock httpx, says about money."""
    return CLASSIFICATIONS_BY_EXCEPTION.get(type(error), UNCLASSIFIED)


def fault_kind_of(error: Exception) -> FaultKind:
    """The word for `error`, over either transport."""
    for candidate in (error.__cause__, error):
        for known, kind in KINDS_BY_AIOHTTP_ERROR:
            if isinstance(candidate, known):
                return kind
    return classify_exception(error).kind


def classify_status(status: int, *, has_retry_after: bool) -> Classification:
    """What a status other than 2xx says about money."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and has_retry_after:
        # It names the time at which it will begin to take requests: it took none.
        return Classification(BillingEffect.NOT_SENT, FaultKind.HTTP_5XX)
    doubtful = Classification(
        BillingEffect.INDETERMINATE,
        _KINDS_BY_STATUS_CLASS.get(status // 100, FaultKind.HTTP_UNEXPECTED),
    )
    return CLASSIFICATIONS_BY_STATUS.get(status, doubtful)


def classify_code(code: str) -> Classification:
    """What an error code inside an HTTP 200 says about money.

    A code of the 4xxxxx families means what its first three digits mean as an HTTP status; 500001
    and codes that nobody documented mean nothing.
    """
    if code in ACCOUNT_CODES:
        return _ACCOUNT_REJECTED
    in_family = len(code) == _CODE_DIGITS and code.isascii() and code.isdecimal()
    mirrored = CLASSIFICATIONS_BY_STATUS.get(int(code[:3])) if in_family else None
    if mirrored is None:
        return Classification(BillingEffect.INDETERMINATE, FaultKind.ERROR_IN_200)
    return (
        mirrored
        if mirrored.billing_effect is BillingEffect.ACCOUNT_REJECTED
        else Classification(mirrored.billing_effect, FaultKind.ERROR_IN_200)
    )
