"""Makes one delivery attempt by HTTP: resolve, sign, send, classify the answer."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from core.clock import Clock
from core.observability.log_context import current_log_context
from core.observability.outcomes import FailureKind
from core.webhooks.url_policy import Refusal, RefusalReason, TargetPolicy
from worker.retry_after import parse_retry_after
from worker.webhooks.aiohttp_transport import PooledTransport
from worker.webhooks.outcomes import (
    AttemptFailed,
    AttemptResult,
    Delivered,
    kind_of_status,
    printable_text,
)
from worker.webhooks.resolved_target import PinnedTarget, Resolver, SystemResolver, resolve
from worker.webhooks.signing import sign


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """Bounds of one attempt, sizes in bytes. `total_timeout` includes the DNS lookup.

    `body_timeout` bounds the read of the body: the status line alone decides the result.
    `max_response_bytes` bounds an answer with its head and framing; a longer one closes its
    connection.

    `max_connections` is the number of concurrent attempts; the wait of further ones does not count
    against the receiver. `keep_alive` is below the 5 s of Node.js and uvicorn: a receiver that
    closes first would break an attempt.
    """

    targets: TargetPolicy = field(default_factory=TargetPolicy)
    connect_timeout: timedelta = timedelta(seconds=5)
    total_timeout: timedelta = timedelta(seconds=20)
    body_timeout: timedelta = timedelta(seconds=1)
    max_response_bytes: int = 16 * 1024
    max_excerpt_bytes: int = 1024
    max_connections: int = 256
    keep_alive: timedelta = timedelta(seconds=4)
    user_agent: str = "runcomfy-gateway"


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """What to send, and where. `number` counts from 1; `secrets` and `keys` are all live ones.

    `timeout` may shorten the policy's `total_timeout`; `headers` are the endpoint's own.
    """

    webhook_id: str
    url: str
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    number: int = 1
    keys: tuple[str, ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: timedelta | None = None


# First match wins, after the exception's causes (`_KINDS_BY_CAUSE`). The last row matches the rest:
# requests that could not be built or sent at all.
KINDS_BY_EXCEPTION: Final[tuple[tuple[type[Exception], FailureKind], ...]] = (
    (httpx.PoolTimeout, FailureKind.BUSY),
    (httpx.TimeoutException, FailureKind.TIMEOUT),
    (TimeoutError, FailureKind.TIMEOUT),
    (httpx.ConnectError, FailureKind.CONNECT_ERROR),
    (httpx.NetworkError, FailureKind.RESET),
    (httpx.RemoteProtocolError, FailureKind.INVALID_RESPONSE),
    (httpx.DecodingError, FailureKind.INVALID_RESPONSE),
    (Exception, FailureKind.SEND_ERROR),
)
_KINDS_BY_CAUSE: Final = (
    (ssl.SSLError, FailureKind.TLS_ERROR),
    (socket.gaierror, FailureKind.DNS_ERROR),
)
# What sending may raise. httpx's `StreamError` and `CookieConflict` would be bugs of ours.
_SEND_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, TimeoutError)


class Sender:
    """Makes attempts concurrently. None raises, whatever the receiver does."""

    def __init__(
        self, client: httpx.AsyncClient, resolver: Resolver, clock: Clock, policy: SenderPolicy
    ) -> None:
        """Send by `client`, which must neither follow redirects nor read the environment."""
        self._client = client
        self._resolver = resolver
        self._clock = clock
        self._policy = policy
        self._slots = asyncio.Semaphore(policy.max_connections)

    async def send(self, attempt: AttemptRequest) -> AttemptResult:
        """Make one attempt and return its result."""
        async with self._slots:
            start = self._clock.monotonic()
            outcome = await self._send_bounded(attempt)
            return replace(outcome, duration=self._clock.monotonic() - start)

    async def _send_bounded(self, attempt: AttemptRequest) -> AttemptResult:
        total = min(attempt.timeout or self._policy.total_timeout, self._policy.total_timeout)
        deadline = asyncio.get_running_loop().time() + total.total_seconds()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._open_response(attempt)
        except _SEND_ERRORS as error:
            return AttemptFailed(
                failure_kind_of_error(error), _UNMEASURED, excerpt=_describe_error(error)
            )
        if isinstance(answer, Refusal):
            return _blocked_target_result(answer)
        rest = asyncio.get_running_loop().time() + self._policy.body_timeout.total_seconds()
        try:
            start = await self._read_excerpt(answer, min(deadline, rest))
        finally:
            await answer.aclose()
        return self._classify(answer, printable_text(start, self._policy.max_excerpt_bytes))

    async def _open_response(self, attempt: AttemptRequest) -> httpx.Response | Refusal:
        pinned = await resolve(
            attempt.url, self._policy.targets, self._resolver, rotation=attempt.number - 1
        )
        if isinstance(pinned, Refusal):
            return pinned
        request = self._build_request(attempt, pinned)
        return await self._client.send(request, stream=True, follow_redirects=False)

    def _build_request(self, attempt: AttemptRequest, pinned: PinnedTarget) -> httpx.Request:
        signed = sign(
            attempt.body,
            webhook_id=attempt.webhook_id,
            timestamp=self._clock.now(),
            secrets=attempt.secrets,
            keys=attempt.keys,
        )
        ours = (
            ("host", pinned.target.authority),
            ("user-agent", self._policy.user_agent),
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            *signed,
            *_trace_headers(),
        )
        theirs = {name.lower() for name, _ in attempt.headers}
        headers = (*(row for row in ours if row[0] not in theirs), *attempt.headers)
        timeouts = httpx.Timeout(
            self._policy.total_timeout.total_seconds(),
            connect=self._policy.connect_timeout.total_seconds(),
        )
        extensions: dict[str, object] = {"timeout": timeouts.as_dict()}
        if pinned.server_name is not None:
            extensions["sni_hostname"] = pinned.server_name
        return httpx.Request(
            "POST", pinned.url, headers=headers, content=attempt.body, extensions=extensions
        )

    async def _read_excerpt(self, response: httpx.Response, deadline: float) -> bytes:
        """Return the start of the body; one that breaks or is slow is no error.

        Short answers are read to their end, so that the connection can be reused.
        """
        start, size = bytearray(), 0
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout_at(deadline):
                async for chunk in response.aiter_raw():
                    start += chunk[: self._policy.max_excerpt_bytes - len(start)]
                    size += len(chunk)
                    if size >= self._policy.max_response_bytes:
                        break
        return bytes(start)

    def _classify(self, response: httpx.Response, excerpt: str) -> AttemptResult:
        kind = kind_of_status(response.status_code)
        if kind is None:
            return Delivered(response.status_code, _UNMEASURED, excerpt)
        wait = parse_retry_after(response.headers.get("retry-after"), self._clock.now())
        return AttemptFailed(kind, _UNMEASURED, response.status_code, wait, excerpt)


def _trace_headers() -> tuple[tuple[str, str], ...]:
    """W3C Trace Context, for a receiver that continues the caller's trace."""
    present = current_log_context()
    trace = present and present.trace
    return (("traceparent", trace),) if trace else ()


_UNMEASURED: Final = timedelta(0)


def failure_kind_of_error(error: Exception) -> FailureKind:
    """Return why an attempt failed that ended with this exception."""
    causes = tuple(_cause_chain(error))
    for theirs, kind in _KINDS_BY_CAUSE:
        if any(isinstance(cause, theirs) for cause in causes):
            return kind
    return next(kind for theirs, kind in KINDS_BY_EXCEPTION if isinstance(error, theirs))


def _cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _describe_error(error: Exception) -> str:
    # An error's text may contain internal addresses, and a tenant reads it. A certificate's flaw is
    # the receiver's, and the tenant needs it.
    for cause in _cause_chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            # aiohttp's subclass lacks the attribute; its cause, the real error, has it.
            words = getattr(cause, "verify_message", "")
            if isinstance(words, str) and words:
                return words
    return ""


def _blocked_target_result(refusal: Refusal) -> AttemptFailed:
    unresolved = refusal.reason is RefusalReason.UNRESOLVED
    kind = FailureKind.DNS_ERROR if unresolved else FailureKind.BLOCKED_TARGET
    return AttemptFailed(kind, _UNMEASURED, excerpt=refusal.message)


@asynccontextmanager
async def open_sender(
    policy: SenderPolicy,
    clock: Clock,
    *,
    resolver: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Sender]:
    """Yield a sender; by default with the system's resolver and trusted CAs."""
    system = SystemResolver(timeout=policy.connect_timeout)
    transport = PooledTransport(
        tls or create_webhook_tls_context(), policy.keep_alive, policy.max_response_bytes
    )
    client = httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
    try:
        async with client:
            yield Sender(client, resolver or system, clock, policy)
    finally:
        system.close()


def create_webhook_tls_context() -> ssl.SSLContext:
    """Return a context with httpx's public CAs and those that the system trusts (internal ones)."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
