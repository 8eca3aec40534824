"""Makes one delivery attempt by HTTP: resolve, sign, send, classify the answer."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from core.clock import Clock
from core.observability.log_context import current_log_context
from core.observability.outcomes import FailureKind
from core.webhooks.url_policy import Refusal, RefusalReason, TargetPolicy
from worker.proxy import Proxy
from worker.retry_after import parse_retry_after
from worker.tls import cause_chain, create_tls_context, tls_failure_of
from worker.webhooks.dns_resolver import DnsResolver
from worker.webhooks.http_session import create_session
from worker.webhooks.outcomes import (
    AttemptFailed,
    AttemptResult,
    Delivered,
    kind_of_status,
    printable_text,
)
from worker.webhooks.receiver_tls import ReceiverTls
from worker.webhooks.resolved_target import PinnedTarget, Resolver, ResolverUnavailable, resolve
from worker.webhooks.signing import sign


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """Bounds of one attempt, sizes in bytes. `total_timeout` includes the DNS lookup.

    `body_timeout` bounds the read of the body: the status line alone decides the result.
    `max_response_bytes` bounds an answer with its head and framing; a longer one closes its
    connection.

    `max_connections` is the number of concurrent attempts; the wait of further ones does not count
    against the receiver. An error that arrives `max_lateness` after the attempt's deadline means
    that the event loop was blocked; it is no evidence about the receiver. `keep_alive` is below the
    5 s of Node.js and uvicorn: a receiver that closes first would break an attempt.

    Through `proxy` go all attempts but those to allowed targets; `proxy_resolves`: by name.
    """

    targets: TargetPolicy = field(default_factory=TargetPolicy)
    connect_timeout: timedelta = timedelta(seconds=5)
    total_timeout: timedelta = timedelta(seconds=20)
    max_lateness: timedelta = timedelta(seconds=1)
    body_timeout: timedelta = timedelta(seconds=1)
    max_response_bytes: int = 16 * 1024
    max_excerpt_bytes: int = 1024
    max_connections: int = 256
    keep_alive: timedelta = timedelta(seconds=4)
    user_agent: str = "runcomfy-gateway"
    proxy: Proxy | None = None
    proxy_resolves: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """What to send, and where. `number` counts from 1; `secrets` and `keys` are all live ones.

    `timeout` may shorten the policy's `total_timeout`; `headers` are the endpoint's own. `queue` is
    the delivery's queue, for the choice of a client certificate.
    """

    webhook_id: str
    url: str
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    number: int = 1
    keys: tuple[str, ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: timedelta | None = None
    queue: str = ""


# First match wins, after the exception's causes (`_KINDS_BY_CAUSE`): subclasses before their bases.
KINDS_BY_EXCEPTION: Final[tuple[tuple[type[Exception], FailureKind], ...]] = (
    (TimeoutError, FailureKind.TIMEOUT),
    (aiohttp.ServerFingerprintMismatch, FailureKind.CONNECT_ERROR),
    (aiohttp.ServerConnectionError, FailureKind.RESET),
    (aiohttp.ClientProxyConnectionError, FailureKind.PROXY_ERROR),
    (aiohttp.ClientConnectorError, FailureKind.CONNECT_ERROR),
    (aiohttp.ClientConnectionError, FailureKind.RESET),
    (aiohttp.ClientPayloadError, FailureKind.RESET),
    (aiohttp.ClientHttpProxyError, FailureKind.PROXY_ERROR),
    (aiohttp.ClientResponseError, FailureKind.INVALID_RESPONSE),
    (HttpProcessingError, FailureKind.INVALID_RESPONSE),
    (aiohttp.ClientError, FailureKind.SEND_ERROR),
    (OSError, FailureKind.RESET),
)
_KINDS_BY_CAUSE: Final = (
    (ssl.SSLError, FailureKind.TLS_ERROR),
    (socket.gaierror, FailureKind.DNS_ERROR),
)
# What a proxy answers where the receiver, not the proxy, is the reason (RFC 9110, 15.6).
_UNREACHABLE_STATUSES: Final = frozenset({502, 503, 504})
# What sending may raise; anything else is a bug in the gateway, and surfaces as one.
_SEND_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError)
_CHUNK_SIZE: Final = 16 * 1024
_LATE: Final = "the gateway was too busy to read the answer"
_NO_RESOLVER: Final = "the gateway could not look up the host's name"


class Sender:
    """Makes attempts concurrently. None raises, whatever the receiver does."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolver: Resolver,
        tls: ReceiverTls,
        clock: Clock,
        policy: SenderPolicy,
    ) -> None:
        """Send by `session`, see `worker.webhooks.http_session`."""
        self._session = session
        self._tls = tls
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
        except ResolverUnavailable:
            return AttemptFailed(FailureKind.BUSY, _UNMEASURED, excerpt=_NO_RESOLVER)
        except _SEND_ERRORS as error:
            late = asyncio.get_running_loop().time() - deadline
            if late > self._policy.max_lateness.total_seconds():
                return AttemptFailed(FailureKind.BUSY, _UNMEASURED, excerpt=_LATE)
            kind = failure_kind_of_error(error)
            return AttemptFailed(kind, _UNMEASURED, excerpt=_describe_error(error, kind))
        if isinstance(answer, Refusal):
            return _blocked_target_result(answer)
        rest = asyncio.get_running_loop().time() + self._policy.body_timeout.total_seconds()
        try:
            start = await self._read_excerpt(answer, min(deadline, rest))
        finally:
            _close(answer)
        return self._classify(answer, printable_text(start, self._policy.max_excerpt_bytes))

    async def _open_response(self, attempt: AttemptRequest) -> aiohttp.ClientResponse | Refusal:
        pinned = await resolve(
            attempt.url,
            self._policy.targets,
            self._resolver,
            rotation=attempt.number - 1,
            proxy_resolves=self._policy.proxy_resolves,
        )
        if isinstance(pinned, Refusal):
            return pinned
        proxy = None if pinned.is_allowed else self._policy.proxy
        return await self._session.post(
            URL(pinned.url, encoded=True),
            data=attempt.body,
            headers=self._build_headers(attempt, pinned),
            allow_redirects=False,
            server_hostname=pinned.server_name,
            ssl=self._tls.context_of(attempt.queue, pinned.target.host),
            proxy=None if proxy is None else proxy.url,
            proxy_headers=None if proxy is None else proxy.headers,
        )

    def _build_headers(
        self, attempt: AttemptRequest, pinned: PinnedTarget
    ) -> tuple[tuple[str, str], ...]:
        signature = sign(
            attempt.body,
            webhook_id=attempt.webhook_id,
            timestamp=self._clock.now(),
            secrets=attempt.secrets,
            keys=attempt.keys,
        )
        own = (
            ("host", pinned.target.authority),
            ("user-agent", self._policy.user_agent),
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("accept-encoding", "identity"),
            *signature,
            *_trace_headers(),
        )
        overridden = {name.lower() for name, _ in attempt.headers}
        return (*(row for row in own if row[0] not in overridden), *attempt.headers)

    async def _read_excerpt(self, response: aiohttp.ClientResponse, deadline: float) -> bytes:
        """Return the start of the body; one that breaks or is slow is no error.

        Short answers are read to their end, so that the connection can be reused.
        """
        start, size = bytearray(), 0
        with contextlib.suppress(*_SEND_ERRORS):
            async with asyncio.timeout_at(deadline):
                async for chunk in response.content.iter_chunked(_CHUNK_SIZE):
                    start += chunk[: self._policy.max_excerpt_bytes - len(start)]
                    size += len(chunk)
                    if size >= self._policy.max_response_bytes:
                        break
        return bytes(start)

    def _classify(self, response: aiohttp.ClientResponse, excerpt: str) -> AttemptResult:
        kind = kind_of_status(response.status)
        if kind is None:
            return Delivered(response.status, _UNMEASURED, excerpt)
        location = response.headers.get("location")
        if kind is FailureKind.REDIRECT and location is not None:
            excerpt = printable_text(
                f"Location: {location}".encode(), self._policy.max_excerpt_bytes
            )
        delay = parse_retry_after(response.headers.get("retry-after"), self._clock.now())
        return AttemptFailed(kind, _UNMEASURED, response.status, delay, excerpt)


def _close(response: aiohttp.ClientResponse) -> None:
    # The rest of an unread answer must not be drained: its connection is closed instead.
    if response.content.at_eof():
        response.release()
    else:
        response.close()


def _trace_headers() -> tuple[tuple[str, str], ...]:
    """W3C Trace Context, for a receiver that continues the caller's trace."""
    present = current_log_context()
    trace = present and present.trace
    return (("traceparent", trace),) if trace else ()


_UNMEASURED: Final = timedelta(0)


def failure_kind_of_error(error: Exception) -> FailureKind:
    """Return why an attempt failed that ended with this exception."""
    causes = tuple(cause_chain(error))
    for theirs, kind in _KINDS_BY_CAUSE:
        if any(isinstance(cause, theirs) for cause in causes):
            return kind
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in _UNREACHABLE_STATUSES:
        return FailureKind.CONNECT_ERROR
    return next(kind for theirs, kind in KINDS_BY_EXCEPTION if isinstance(error, theirs))


def _describe_error(error: Exception, kind: FailureKind) -> str:
    """Return why sending failed, for a tenant and an operator, and the setting that may fix it.

    Other errors' texts may contain internal addresses, and a tenant reads it.
    """
    tls = tls_failure_of(error)
    if tls is not None:
        hint = "" if tls.setting is None else f" (operator: {_SETTING_PREFIX}{tls.setting})"
        return f"TLS: {tls.cause}{hint}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status in _UNREACHABLE_STATUSES:
            return f"the operator's proxy cannot reach the receiver ({error.status})"
        return f"the operator's proxy answered {error.status} (operator: {_SETTING_PREFIX}PROXY)"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the operator's proxy cannot be reached (operator: {_SETTING_PREFIX}PROXY)"
    return _RESET_HINT if kind is FailureKind.RESET else ""


_SETTING_PREFIX: Final = "GATEWAY_WEBHOOKS__"
# With TLS 1.3 a server may refuse a missing certificate after the handshake, by a reset that
# overtakes its alert.
_RESET_HINT: Final = (
    "the connection was closed without an answer; if the receiver wants a client certificate "
    f"(operator: {_SETTING_PREFIX}CLIENT_CERTIFICATES)"
)


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
    tls: ReceiverTls | None = None,
) -> AsyncIterator[Sender]:
    """Yield a sender; by default with the system's resolver and trusted CAs."""
    system = DnsResolver(timeout=policy.connect_timeout)
    tls = tls or ReceiverTls(create_tls_context())
    session = create_session(
        tls.default,
        policy.connect_timeout,
        policy.total_timeout,
        policy.keep_alive,
        policy.max_response_bytes,
        policy.proxy,
    )
    try:
        async with session:
            yield Sender(session, resolver or system, tls, clock, policy)
    finally:
        await system.close()
