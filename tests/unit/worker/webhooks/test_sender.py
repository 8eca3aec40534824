"""One attempt, without a network: what is sent, how every answer and error is named."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from standardwebhooks import Webhook

from core.observability.log_context import LogContext, bind_log_context
from core.observability.outcomes import FailureKind
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from tests.support.traces import SAMPLED
from worker.webhooks import aiohttp_transport as transport
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.sender import (
    KINDS_BY_EXCEPTION,
    AttemptRequest,
    Sender,
    SenderPolicy,
    failure_kind_of_error,
)
from worker.webhooks.signing import encode_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from core.webhooks.url_policy import Address

DURATION = timedelta(milliseconds=250)
SECRETS = (encode_secret(bytes(range(32))), encode_secret(bytes(range(32, 64))))
BODY = b'{"type":"request.completed"}'
ATTEMPT = AttemptRequest("msg_1", "https://hooks.example/x?y=%7Ea", BODY, SECRETS)
POLICY = SenderPolicy(targets=TargetPolicy(allowed=AllowedTargets.parse(["*.internal.example"])))


class QuarterSecondClock:
    """Each look at the monotonic clock is a quarter of a second later."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.reads = 0

    def now(self) -> datetime:
        return self.start

    def monotonic(self) -> timedelta:
        self.reads += 1
        return DURATION * self.reads

    async def sleep(self, span: timedelta) -> None:
        raise AssertionError(span)


class StaticResolver:
    """Every name has the same addresses, written with spaces between; None for no address."""

    def __init__(self, addresses: str | None = "8.8.8.8") -> None:
        self.known = tuple(ip_address(text) for text in (addresses or "").split())

    async def resolve(self, host: str) -> tuple[Address, ...]:
        assert host
        return self.known


async def send(
    handler: Callable[[httpx.Request], httpx.Response],
    attempt: AttemptRequest = ATTEMPT,
    *,
    address: str | None = "8.8.8.8",
    now: datetime | None = None,
) -> AttemptResult:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        clock = QuarterSecondClock(now or datetime(2026, 11, 22, tzinfo=UTC))
        return await Sender(client, StaticResolver(address), clock, POLICY).send(attempt)


def answer(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    """An answer as it comes from a wire: its body not yet read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=httpx.ByteStream(body))


async def test_request_goes_to_the_address_and_names_the_host() -> None:
    seen: list[httpx.Request] = []

    def receiver(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(204)

    assert await send(receiver, now=datetime.now(UTC)) == Delivered(204, DURATION)
    (request,) = seen
    assert request.method == "POST"
    assert str(request.url) == "https://8.8.8.8/x?y=%7Ea"
    assert request.headers["host"] == "hooks.example"
    assert request.extensions["sni_hostname"] == "hooks.example"
    assert request.extensions["timeout"]["connect"] == 5
    assert request.content == BODY
    assert request.headers["content-type"] == "application/json"
    for secret in SECRETS:
        Webhook(secret).verify(request.content, dict(request.headers))


async def test_each_attempt_tries_the_next_address() -> None:
    called: list[str] = []

    def receiver(request: httpx.Request) -> httpx.Response:
        called.append(request.url.host)
        return answer(500)

    for number in (1, 2, 3):
        await send(receiver, replace(ATTEMPT, number=number), address="8.8.8.8 1.1.1.1")
    assert called == ["8.8.8.8", "1.1.1.1", "8.8.8.8"]


async def test_the_receiver_is_told_the_trace_if_there_is_one() -> None:
    seen: list[str | None] = []

    def receiver(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent"))
        return answer(200)

    await send(receiver)
    with bind_log_context(LogContext("acme", "req_1", SAMPLED)):
        await send(receiver)
    assert seen == [None, SAMPLED]


async def test_plain_http_has_no_server_name() -> None:
    seen: list[httpx.Request] = []

    def receiver(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(200, b"thanks\n")

    attempt = AttemptRequest("msg_1", "http://a.internal.example:9000/", BODY, SECRETS)
    assert await send(receiver, attempt, address="10.0.0.1") == Delivered(200, DURATION, "thanks")
    assert "sni_hostname" not in seen[0].extensions
    assert str(seen[0].url) == "http://10.0.0.1:9000/"
    assert seen[0].headers["host"] == "a.internal.example:9000"


async def test_redirect_is_a_failure_and_not_followed() -> None:
    calls: list[str] = []

    def receiver(request: httpx.Request) -> httpx.Response:
        calls.append(str(request.url))
        return answer(307, location="https://169.254.169.254/")

    assert await send(receiver) == AttemptFailed(FailureKind.REDIRECT, DURATION, 307)
    assert len(calls) == 1


@pytest.mark.parametrize("location", ["http://[", "https://a:99999/", "\x00", "", "//"])
async def test_hostile_location_is_only_a_failure(location: str) -> None:
    outcome = await send(lambda _: answer(302, location=location))
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind in {FailureKind.REDIRECT, FailureKind.INVALID_RESPONSE}


async def test_retry_after_is_carried() -> None:
    slow = answer(503, b"later", retry_after="90")
    expected = AttemptFailed(FailureKind.THROTTLED, DURATION, 503, timedelta(seconds=90), "later")
    assert await send(lambda _: slow) == expected


@pytest.mark.parametrize(
    ("address", "kind"), [("127.0.0.1", FailureKind.BLOCKED_TARGET), (None, FailureKind.DNS_ERROR)]
)
async def test_unfit_target_is_not_called(address: str | None, kind: FailureKind) -> None:
    def receiver(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request)

    outcome = await send(receiver, address=address)
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind is kind
    assert outcome.duration == DURATION
    assert outcome.excerpt


class EndlessBody(httpx.AsyncByteStream):
    """An answer without end, that counts what was read of it."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 5000
            yield b"a" * 5000


class BrokenBody(httpx.AsyncByteStream):
    """An answer that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half an ans"
        raise httpx.ReadError("reset")


async def test_answer_is_read_to_a_bound() -> None:
    endless = EndlessBody()
    outcome = await send(lambda _: httpx.Response(500, stream=endless))
    assert outcome == AttemptFailed(FailureKind.SERVER_ERROR, DURATION, 500, None, "a" * 1024)
    assert 16 * 1024 <= endless.sent < 16 * 1024 + 5000


async def test_the_status_was_said_though_the_rest_broke_off() -> None:
    outcome = await send(lambda _: httpx.Response(200, stream=BrokenBody()))
    assert outcome == Delivered(200, DURATION, "half an ans")


# --- every exception has a kind

ERRORS = {
    httpx.PoolTimeout: FailureKind.BUSY,
    httpx.ConnectTimeout: FailureKind.TIMEOUT,
    httpx.ReadTimeout: FailureKind.TIMEOUT,
    httpx.WriteTimeout: FailureKind.TIMEOUT,
    httpx.TimeoutException: FailureKind.TIMEOUT,
    httpx.ConnectError: FailureKind.CONNECT_ERROR,
    httpx.ReadError: FailureKind.RESET,
    httpx.WriteError: FailureKind.RESET,
    httpx.CloseError: FailureKind.RESET,
    httpx.NetworkError: FailureKind.RESET,
    httpx.RemoteProtocolError: FailureKind.INVALID_RESPONSE,
    httpx.DecodingError: FailureKind.INVALID_RESPONSE,
    httpx.LocalProtocolError: FailureKind.SEND_ERROR,
    httpx.ProtocolError: FailureKind.SEND_ERROR,
    httpx.ProxyError: FailureKind.SEND_ERROR,
    httpx.UnsupportedProtocol: FailureKind.SEND_ERROR,
    httpx.TooManyRedirects: FailureKind.SEND_ERROR,
    httpx.TransportError: FailureKind.SEND_ERROR,
    httpx.RequestError: FailureKind.SEND_ERROR,
    httpx.HTTPError: FailureKind.SEND_ERROR,
    httpx.HTTPStatusError: FailureKind.SEND_ERROR,
    httpx.InvalidURL: FailureKind.SEND_ERROR,
}
# Mistakes in our own use of httpx: they surface as the defects that they are.
DEFECTS = {
    httpx.CookieConflict,
    httpx.StreamError,
    httpx.StreamConsumed,
    httpx.StreamClosed,
    httpx.ResponseNotRead,
    httpx.RequestNotRead,
}


def test_every_exception_of_httpx_is_in_the_table() -> None:
    exported = {getattr(httpx, name) for name in httpx.__all__}
    raised = {it for it in exported if isinstance(it, type) and issubclass(it, Exception)}
    assert raised == set(ERRORS) | DEFECTS


@pytest.mark.parametrize(("error", "kind"), ERRORS.items(), ids=str)
async def test_exception_becomes_its_kind(error: type[Exception], kind: FailureKind) -> None:
    def receiver(request: httpx.Request) -> httpx.Response:
        if error is httpx.HTTPStatusError:
            raise httpx.HTTPStatusError("x", request=request, response=httpx.Response(500))
        raise error("http://10.0.0.1 is not for everybody's eyes")

    assert await send(receiver) == AttemptFailed(kind, DURATION)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ssl.SSLError("handshake"), FailureKind.TLS_ERROR),
        (ssl.SSLCertVerificationError("name"), FailureKind.TLS_ERROR),
        (socket.gaierror(), FailureKind.DNS_ERROR),
        (ConnectionRefusedError(), FailureKind.CONNECT_ERROR),
    ],
)
def test_cause_tells_more_than_the_error(cause: Exception, kind: FailureKind) -> None:
    middle, outer = OSError(), httpx.ConnectError("x")
    middle.__cause__, outer.__cause__ = cause, middle
    assert failure_kind_of_error(outer) is kind


def test_every_row_of_the_table_is_reached() -> None:
    used = {
        next(row for row in KINDS_BY_EXCEPTION if issubclass(error, row[0])) for error in ERRORS
    }
    assert set(KINDS_BY_EXCEPTION) - used == {(TimeoutError, FailureKind.TIMEOUT)}
    assert failure_kind_of_error(TimeoutError()) is FailureKind.TIMEOUT


# --- the transport's table over aiohttp's exceptions


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


AIOHTTP = {
    aiohttp.ServerDisconnectedError: httpx.ReadError,
    aiohttp.ClientConnectionResetError: httpx.ReadError,
    aiohttp.ClientOSError: httpx.ReadError,
    aiohttp.ClientConnectorError: httpx.ConnectError,
    aiohttp.ClientConnectorSSLError: httpx.ConnectError,
    aiohttp.ClientConnectorCertificateError: httpx.ConnectError,
    aiohttp.ConnectionTimeoutError: httpx.ConnectTimeout,
    aiohttp.SocketTimeoutError: httpx.ReadTimeout,
    aiohttp.ServerTimeoutError: httpx.ReadTimeout,
    aiohttp.ClientPayloadError: httpx.ReadError,
    aiohttp.ClientResponseError: httpx.RemoteProtocolError,
    aiohttp.InvalidURL: httpx.UnsupportedProtocol,
    aiohttp.ClientError: httpx.LocalProtocolError,
}


@pytest.mark.parametrize(("theirs", "ours"), AIOHTTP.items(), ids=str)
def test_aiohttp_s_errors_keep_their_meaning(
    theirs: type[Exception], ours: type[httpx.RequestError]
) -> None:
    assert next(word for kind, word in transport.HTTPX_ERRORS if issubclass(theirs, kind)) is ours


def test_every_exception_of_aiohttp_has_a_word() -> None:
    for error in set(subclasses(aiohttp.ClientError)):
        assert any(issubclass(error, kind) for kind, _ in transport.HTTPX_ERRORS)


def test_no_row_of_the_transport_s_table_hides_another() -> None:
    kinds = [kind for kind, _ in transport.HTTPX_ERRORS]
    for place, kind in enumerate(kinds):
        assert not issubclass(kind, tuple(kinds[:place]))


def test_certificate_s_flaw_is_a_tls_error_in_the_transport_s_words() -> None:
    key = ConnectionKey("8.8.8.8", 443, True, True, None, None, None)  # noqa: FBT003 - aiohttp's
    flaw = aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("name"))
    with pytest.raises(httpx.ConnectError) as caught:
        transport._raise_as_httpx_error(flaw)
    assert failure_kind_of_error(caught.value) is FailureKind.TLS_ERROR


def test_an_attempt_shows_neither_secret_nor_body() -> None:
    shown = repr(ATTEMPT)
    assert "whsec_" not in shown
    assert "request.completed" not in shown
