"""What each failure says about money: tables over exceptions, HTTP statuses and RunComfy's codes.

Knows the exceptions of the HTTP libraries; knows no answers and does no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Final

import aiohttp
import httpx


class Kind(StrEnum):
    """The closed set of fault words; they label metrics."""

    BAD_NAME = "bad_name"  # a model id or request id that no URL of RunComfy can hold
    CONNECT_ERROR = "connect_error"
    CONNECT_TIMEOUT = "connect_timeout"
    DEADLINE = "deadline"  # the whole call took too long, however busy it was
    ERROR_IN_200 = "error_in_200"
    FAILED = "failed"  # the request itself failed, by RunComfy's word
    GONE = "gone"
    HTML = "html"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_ODD = "http_odd"  # a status that no rule expects
    ID_LESS = "id_less"
    MALFORMED = "malformed"  # JSON, but not of the documented shape
    NOT_JSON = "not_json"
    NO_OUTPUT = "no_output"
    OVERSIZED = "oversized"
    POOL_TIMEOUT = "pool_timeout"
    PROTOCOL_ERROR = "protocol_error"
    PROXY_ERROR = "proxy_error"
    READ_TIMEOUT = "read_timeout"
    REDIRECT = "redirect"
    REFUSED_ACCOUNT = "refused_account"
    RESET = "reset"
    UNKNOWN = "unknown"
    WRITE_ERROR = "write_error"
    WRITE_TIMEOUT = "write_timeout"


KINDS: Final = frozenset(kind.value for kind in Kind)


class Money(Enum):
    """What a submit's end says about money."""

    NOT_SENT = "surely no work was started; it may be sent again"
    REJECTED = "refused for what it asks; costs nothing"
    REFUSED = "refused for who asks (token, balance, permission); costs nothing"
    NO_ANSWER = "nobody knows"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row's judgement."""

    money: Money
    kind: Kind


class Oversized(Exception):
    """The answer is larger than we read."""


class WrongVerb(Exception):
    """Something other than a GET was sent through the transport for reads."""


UNKNOWN: Final = Verdict(Money.NO_ANSWER, Kind.UNKNOWN)

# Looked up by exact class: a subclass that nobody has read is never trusted to mean "not sent".
EXCEPTIONS: Final[Mapping[type[Exception], Verdict]] = {
    # No connection, or no TLS session on it: the request cannot have left.
    httpx.ConnectError: Verdict(Money.NOT_SENT, Kind.CONNECT_ERROR),
    httpx.ConnectTimeout: Verdict(Money.NOT_SENT, Kind.CONNECT_TIMEOUT),
    # It still stood in our own queue for a connection.
    httpx.PoolTimeout: Verdict(Money.NOT_SENT, Kind.POOL_TIMEOUT),
    # Raised from the URL, before a connection is sought.
    httpx.UnsupportedProtocol: Verdict(Money.NOT_SENT, Kind.BAD_NAME),
    httpx.InvalidURL: Verdict(Money.NOT_SENT, Kind.BAD_NAME),
    # Raised while the head is built, before its first byte is written (HTTP/1.1; we never offer 2).
    httpx.LocalProtocolError: Verdict(Money.NOT_SENT, Kind.PROTOCOL_ERROR),
    # Our own guard, before a connection is sought.
    WrongVerb: Verdict(Money.NOT_SENT, Kind.UNKNOWN),
    # We use no proxy, so whoever raises this is not one we know.
    httpx.ProxyError: Verdict(Money.NO_ANSWER, Kind.PROXY_ERROR),
    # Bytes have left. How many the other side acted on, it alone knows.
    httpx.WriteError: Verdict(Money.NO_ANSWER, Kind.WRITE_ERROR),
    httpx.WriteTimeout: Verdict(Money.NO_ANSWER, Kind.WRITE_TIMEOUT),
    # The whole request has left.
    httpx.ReadError: Verdict(Money.NO_ANSWER, Kind.RESET),
    httpx.ReadTimeout: Verdict(Money.NO_ANSWER, Kind.READ_TIMEOUT),
    httpx.CloseError: Verdict(Money.NO_ANSWER, Kind.RESET),
    httpx.RemoteProtocolError: Verdict(Money.NO_ANSWER, Kind.PROTOCOL_ERROR),
    httpx.DecodingError: Verdict(Money.NO_ANSWER, Kind.PROTOCOL_ERROR),
    httpx.TooManyRedirects: Verdict(Money.NO_ANSWER, Kind.REDIRECT),
    Oversized: Verdict(Money.NO_ANSWER, Kind.OVERSIZED),
    TimeoutError: Verdict(Money.NO_ANSWER, Kind.DEADLINE),
    # Classes that httpx 0.28 only derives from, or raises for misuse that we do not commit.
    httpx.HTTPError: UNKNOWN,
    httpx.RequestError: UNKNOWN,
    httpx.HTTPStatusError: UNKNOWN,
    httpx.TransportError: UNKNOWN,
    httpx.TimeoutException: UNKNOWN,
    httpx.NetworkError: UNKNOWN,
    httpx.ProtocolError: UNKNOWN,
    httpx.StreamError: UNKNOWN,
    httpx.StreamConsumed: UNKNOWN,
    httpx.StreamClosed: UNKNOWN,
    httpx.ResponseNotRead: UNKNOWN,
    httpx.RequestNotRead: UNKNOWN,
    httpx.CookieConflict: UNKNOWN,
}

# The transport of the reads calls most of these ConnectTimeout; the metric should not. Words only:
# no money hangs on them. Most specific first.
AIOHTTP_KINDS: Final[tuple[tuple[type[Exception], Kind], ...]] = (
    (aiohttp.ServerDisconnectedError, Kind.RESET),
    (aiohttp.ConnectionTimeoutError, Kind.CONNECT_TIMEOUT),
    (aiohttp.ServerTimeoutError, Kind.READ_TIMEOUT),
    (aiohttp.ClientConnectorError, Kind.CONNECT_ERROR),
    (aiohttp.ClientOSError, Kind.RESET),
    (aiohttp.ClientPayloadError, Kind.PROTOCOL_ERROR),
    (aiohttp.ClientResponseError, Kind.PROTOCOL_ERROR),
)

_REJECTED: Final = Verdict(Money.REJECTED, Kind.HTTP_4XX)
_REFUSED: Final = Verdict(Money.REFUSED, Kind.REFUSED_ACCOUNT)

# 400, 401, 402, 403, 404, 422 and 429 are RunComfy's own. The others mean, by RFC 9110, 6585, 7725
# and 8470, that the request was turned away before it was acted on. Absent, and so no answer:
# 408 and 499 (a proxy says them of requests it has passed on), 409 (may mean "already under way").
STATUSES: Final[Mapping[int, Verdict]] = {
    400: _REJECTED,
    401: _REFUSED,
    402: _REFUSED,
    403: _REFUSED,
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
    425: Verdict(Money.NOT_SENT, Kind.HTTP_4XX),
    428: _REJECTED,
    429: Verdict(Money.NOT_SENT, Kind.HTTP_429),
    431: _REJECTED,
    451: _REJECTED,
}

# RunComfy's codes that speak of the account, whatever their HTTP status: no balance; token missing,
# expired or revoked.
ACCOUNT_CODES: Final = frozenset({"400002", "400004"})
GONE_CODE: Final = "404001"
_CODE_DIGITS: Final = 6

_FAMILIES: Final[Mapping[int, Kind]] = {
    3: Kind.REDIRECT,
    4: Kind.HTTP_4XX,
    5: Kind.HTTP_5XX,
}


def of_exception(error: Exception) -> Verdict:
    """What `error`, raised while submitting over stock httpx, says about money."""
    return EXCEPTIONS.get(type(error), UNKNOWN)


def kind_of(error: Exception) -> Kind:
    """The word for `error`, over either transport."""
    for candidate in (error.__cause__, error):
        for known, kind in AIOHTTP_KINDS:
            if isinstance(candidate, known):
                return kind
    return of_exception(error).kind


def of_status(status: int, *, retry_after_given: bool) -> Verdict:
    """What a status other than 2xx says about money."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after_given:
        # It names the time at which it will begin to take requests: it took none.
        return Verdict(Money.NOT_SENT, Kind.HTTP_5XX)
    doubtful = Verdict(Money.NO_ANSWER, _FAMILIES.get(status // 100, Kind.HTTP_ODD))
    return STATUSES.get(status, doubtful)


def of_code(code: str) -> Verdict:
    """What an error code inside an HTTP 200 says about money.

    A code of the 4xxxxx families means what its first three digits mean as an HTTP status; 500001
    and codes that nobody documented mean nothing.
    """
    if code in ACCOUNT_CODES:
        return _REFUSED
    in_family = len(code) == _CODE_DIGITS and code.isascii() and code.isdecimal()
    mirrored = STATUSES.get(int(code[:3])) if in_family else None
    if mirrored is None:
        return Verdict(Money.NO_ANSWER, Kind.ERROR_IN_200)
    return (
        mirrored if mirrored.money is Money.REFUSED else Verdict(mirrored.money, Kind.ERROR_IN_200)
    )
