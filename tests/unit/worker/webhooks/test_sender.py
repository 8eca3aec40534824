"""One attempt without a network: what is sent, and the result of every answer and error."""

import asyncio
import itertools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import cast
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadHttpMessage
from multidict import CIMultiDict
from standardwebhooks import Webhook
from yarl import URL

from core.observability.log_context import LogContext, bind_log_context
from core.observability.outcomes import FailureKind
from core.webhooks.secrets import encode_webhook_secret
from core.webhooks.url_policy import Address, AllowedTargets, TargetPolicy
from tests.support.clock import TickingClock
from tests.support.traces import SAMPLED
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered
from worker.webhooks.receiver_tls import ReceiverTls
from worker.webhooks.resolved_target import Resolver, ResolverUnavailable
from worker.webhooks.sender import (
    KINDS_BY_EXCEPTION,
    AttemptRequest,
    Sender,
    SenderPolicy,
    failure_kind_of_error,
)

DURATION = timedelta(milliseconds=250)
SECRETS = (encode_webhook_secret(bytes(range(32))), encode_webhook_secret(bytes(range(32, 64))))
BODY = b'{"type":"request.completed"}'
ATTEMPT = AttemptRequest("msg_1", "https://hooks.example/x?y=%7Ea", BODY, SECRETS)
TLS = ssl.create_default_context()
POLICY = SenderPolicy(targets=TargetPolicy(allowed=AllowedTargets.parse(["*.internal.example"])))


class StaticResolver:
    """Resolves every name to the same addresses, separated by spaces; None for no address."""

    def __init__(self, addresses: str | None = "8.8.8.8") -> None:
        self.known = tuple(ip_address(text) for text in (addresses or "").split())

    async def resolve(self, host: str) -> tuple[Address, ...]:
        assert host
        return self.known


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as the session received it; header names are in lower case."""

    url: URL
    headers: dict[str, str]
    content: bytes
    server_hostname: str | None


class FakeBody:
    """A body in parts; an error among them ends it."""

    def __init__(self, parts: Iterable[bytes | Exception]) -> None:
        self.parts = iter(parts)
        self.sent = 0
        self.ended = False

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            assert len(part) <= size
            self.sent += len(part)
            yield part
        self.ended = True

    def at_eof(self) -> bool:
        return self.ended


@dataclass
class FakeResponse:
    """A response with an unread body."""

    status: int
    headers: CIMultiDict[str]
    content: FakeBody
    closed: list[str] = field(default_factory=list)

    def release(self) -> None:
        self.closed.append("released")

    def close(self) -> None:
        self.closed.append("closed")


class FakeSession:
    """Passes each request to `handler`."""

    def __init__(self, handler: Callable[[ReceivedRequest], FakeResponse]) -> None:
        self.handler = handler

    async def post(
        self,
        url: URL,
        *,
        data: bytes,
        headers: Iterable[tuple[str, str]],
        allow_redirects: bool,
        server_hostname: str | None,
        ssl: ssl.SSLContext,
        proxy: str | None,
        proxy_headers: Mapping[str, str] | None,
    ) -> FakeResponse:
        assert not allow_redirects
        assert proxy is None
        assert proxy_headers is None
        assert ssl is TLS
        named = {name.lower(): value for name, value in headers}
        return self.handler(ReceivedRequest(url, named, data, server_hostname))


class UnavailableResolver:
    """The gateway's own name servers cannot be reached."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        raise ResolverUnavailable(host)


class StalledResolver:
    """While it looks a name up, the process stands still until the attempt's time is long over."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        assert host
        time.sleep(0.1)  # noqa: ASYNC251 - a blocked event loop is what is tested
        await asyncio.sleep(60)
        return ()


async def send(
    handler: Callable[[ReceivedRequest], FakeResponse],
    attempt: AttemptRequest = ATTEMPT,
    *,
    address: str | None = "8.8.8.8",
    now: datetime | None = None,
) -> AttemptResult:
    session = cast("aiohttp.ClientSession", FakeSession(handler))
    clock = TickingClock(now or datetime(2026, 11, 22, tzinfo=UTC), DURATION)
    sender = Sender(session, StaticResolver(address), ReceiverTls(TLS), clock, POLICY)
    return await sender.send(attempt)


def answer(status: int, body: bytes = b"", **headers: str) -> FakeResponse:
    """A response as received: its body is not read yet."""
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    return FakeResponse(status, named, FakeBody([body]))


async def test_request_goes_to_the_address_and_names_the_host() -> None:
    seen: list[ReceivedRequest] = []

    def receiver(request: ReceivedRequest) -> FakeResponse:
        seen.append(request)
        return answer(204)

    assert await send(receiver, now=datetime.now(UTC)) == Delivered(204, DURATION)
    (request,) = seen
    assert str(request.url) == "https://8.8.8.8/x?y=%7Ea"
    assert request.headers["host"] == "hooks.example"
    assert request.server_hostname == "hooks.example"
    assert request.content == BODY
    assert request.headers["content-type"] == "application/json"
    for secret in SECRETS:
        Webhook(secret).verify(request.content, dict(request.headers))


async def test_each_attempt_tries_the_next_address() -> None:
    called: list[str] = []

    def receiver(request: ReceivedRequest) -> FakeResponse:
        called.append(str(request.url.host))
        return answer(500)

    for number in (1, 2, 3):
        await send(receiver, replace(ATTEMPT, number=number), address="8.8.8.8 1.1.1.1")
    assert called == ["8.8.8.8", "1.1.1.1", "8.8.8.8"]


async def test_the_receiver_is_told_the_trace_if_there_is_one() -> None:
    seen: list[str | None] = []

    def receiver(request: ReceivedRequest) -> FakeResponse:
        seen.append(request.headers.get("traceparent"))
        return answer(200)

    await send(receiver)
    with bind_log_context(LogContext("acme", "req_1", SAMPLED)):
        await send(receiver)
    assert seen == [None, SAMPLED]


async def test_plain_http_has_no_server_name() -> None:
    seen: list[ReceivedRequest] = []

    def receiver(request: ReceivedRequest) -> FakeResponse:
        seen.append(request)
        return answer(200, b"thanks\n")

    attempt = AttemptRequest("msg_1", "http://a.internal.example:9000/", BODY, SECRETS)
    assert await send(receiver, attempt, address="10.0.0.1") == Delivered(200, DURATION, "thanks")
    assert seen[0].server_hostname is None
    assert str(seen[0].url) == "http://10.0.0.1:9000/"
    assert seen[0].headers["host"] == "a.internal.example:9000"


async def test_redirect_is_a_failure_and_not_followed() -> None:
    calls: list[str] = []

    def receiver(request: ReceivedRequest) -> FakeResponse:
        calls.append(str(request.url))
        return answer(307, location="https://169.254.169.254/")

    assert await send(receiver) == AttemptFailed(
        FailureKind.REDIRECT, DURATION, 307, excerpt="Location: https://169.254.169.254/"
    )
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
    def receiver(request: ReceivedRequest) -> FakeResponse:
        raise AssertionError(request)

    outcome = await send(receiver, address=address)
    assert isinstance(outcome, AttemptFailed)
    assert outcome.kind is kind
    assert outcome.duration == DURATION
    assert outcome.excerpt


async def test_answer_is_read_to_a_bound_and_its_connection_closed() -> None:
    endless = answer(500)
    endless.content = FakeBody(itertools.repeat(b"a" * 5000))
    outcome = await send(lambda _: endless)
    assert outcome == AttemptFailed(FailureKind.SERVER_ERROR, DURATION, 500, None, "a" * 1024)
    assert 16 * 1024 <= endless.content.sent < 16 * 1024 + 5000
    assert endless.closed == ["closed"]


async def test_an_answer_that_was_read_to_its_end_gives_its_connection_back() -> None:
    short = answer(200, b"thanks")
    assert await send(lambda _: short) == Delivered(200, DURATION, "thanks")
    assert short.closed == ["released"]


async def test_the_status_was_said_though_the_rest_broke_off() -> None:
    broken = answer(200)
    broken.content = FakeBody([b"half an ans", aiohttp.ClientPayloadError("reset")])
    outcome = await send(lambda _: broken)
    assert outcome == Delivered(200, DURATION, "half an ans")
    assert broken.closed == ["closed"]


# --- every exception has a kind

KEY = ConnectionKey("8.8.8.8", 443, True, True, None, None, None)  # noqa: FBT003 - aiohttp's
ERRORS: dict[type[Exception], FailureKind] = {
    TimeoutError: FailureKind.TIMEOUT,
    aiohttp.ConnectionTimeoutError: FailureKind.TIMEOUT,
    aiohttp.SocketTimeoutError: FailureKind.TIMEOUT,
    aiohttp.ServerTimeoutError: FailureKind.TIMEOUT,
    aiohttp.ClientConnectorError: FailureKind.CONNECT_ERROR,
    aiohttp.ClientConnectorDNSError: FailureKind.CONNECT_ERROR,
    aiohttp.ClientProxyConnectionError: FailureKind.PROXY_ERROR,
    aiohttp.ServerFingerprintMismatch: FailureKind.CONNECT_ERROR,
    aiohttp.ServerDisconnectedError: FailureKind.RESET,
    aiohttp.ServerConnectionError: FailureKind.RESET,
    aiohttp.ClientConnectionResetError: FailureKind.RESET,
    aiohttp.ClientConnectionError: FailureKind.RESET,
    aiohttp.ClientOSError: FailureKind.RESET,
    aiohttp.ClientPayloadError: FailureKind.RESET,
    OSError: FailureKind.RESET,
    ConnectionResetError: FailureKind.RESET,
    aiohttp.ClientResponseError: FailureKind.INVALID_RESPONSE,
    BadHttpMessage: FailureKind.INVALID_RESPONSE,
    aiohttp.ClientHttpProxyError: FailureKind.PROXY_ERROR,
    aiohttp.InvalidURL: FailureKind.SEND_ERROR,
    aiohttp.NonHttpUrlClientError: FailureKind.SEND_ERROR,
    aiohttp.ClientError: FailureKind.SEND_ERROR,
    aiohttp.ClientConnectorSSLError: FailureKind.TLS_ERROR,
    aiohttp.ClientConnectorCertificateError: FailureKind.TLS_ERROR,
}


TEXT = "http://10.0.0.1 is not for everybody's eyes"
ARGUMENTS: dict[type[Exception], tuple[object, ...]] = {
    aiohttp.ClientConnectorCertificateError: (KEY, ssl.SSLCertVerificationError("name")),
    aiohttp.ClientConnectorError: (KEY, OSError(TEXT)),
    aiohttp.ClientResponseError: (Mock(), ()),
    aiohttp.ServerFingerprintMismatch: (b"", b"", TEXT, 443),
}


def made(error: type[Exception]) -> Exception:
    """An error of the given class with a text that tenants must not see."""
    base = next((kind for kind in ARGUMENTS if issubclass(error, kind)), None)
    built = error(*ARGUMENTS[base]) if base else error(TEXT)
    if error is aiohttp.ClientConnectorSSLError:
        built.__cause__ = ssl.SSLError(TEXT)
    return built


@pytest.mark.parametrize(("error", "kind"), ERRORS.items(), ids=str)
async def test_exception_becomes_its_kind(error: type[Exception], kind: FailureKind) -> None:
    def receiver(_: ReceivedRequest) -> FakeResponse:
        raise made(error)

    result = await send(receiver)
    assert isinstance(result, AttemptFailed)
    assert result.kind is kind
    assert TEXT not in result.excerpt


async def test_a_mistake_of_ours_surfaces_as_the_defect_that_it_is() -> None:
    def receiver(_: ReceivedRequest) -> FakeResponse:
        raise ValueError("a header with a line break")

    with pytest.raises(ValueError, match="line break"):
        await send(receiver)


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
    middle, outer = OSError(), aiohttp.ClientConnectorError(KEY, OSError("x"))
    middle.__cause__, outer.__cause__ = cause, middle
    assert failure_kind_of_error(outer) is kind


def test_every_row_of_the_table_is_reached() -> None:
    used = {
        next(row for row in KINDS_BY_EXCEPTION if issubclass(error, row[0])) for error in ERRORS
    }
    assert set(KINDS_BY_EXCEPTION) == used


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_every_exception_of_aiohttp_has_a_kind() -> None:
    for error in set(subclasses(aiohttp.ClientError)):
        assert any(issubclass(error, kind) for kind, _ in KINDS_BY_EXCEPTION)


def test_no_row_of_the_table_hides_another() -> None:
    kinds = [kind for kind, _ in KINDS_BY_EXCEPTION]
    for place, kind in enumerate(kinds):
        assert not issubclass(kind, tuple(kinds[:place]))


def test_an_attempt_shows_neither_secret_nor_body() -> None:
    shown = repr(ATTEMPT)
    assert "whsec_" not in shown
    assert "request.completed" not in shown


@pytest.mark.parametrize(
    "resolver", [UnavailableResolver(), StalledResolver()], ids=["dns", "stall"]
)
async def test_what_the_gateway_itself_cannot_do_is_not_the_receivers_failure(
    resolver: Resolver,
) -> None:
    answer = FakeResponse(200, CIMultiDict(), FakeBody(()))
    session = cast("aiohttp.ClientSession", FakeSession(lambda _: answer))
    policy = replace(
        POLICY,
        total_timeout=timedelta(milliseconds=20),
        max_lateness=timedelta(milliseconds=20),
    )
    clock = TickingClock(datetime(2026, 11, 22, tzinfo=UTC), DURATION)
    outcome = await Sender(session, resolver, ReceiverTls(TLS), clock, policy).send(ATTEMPT)
    assert outcome.label == FailureKind.BUSY
