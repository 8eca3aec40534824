"""One attempt at a callback: resolve, sign, send, say what it came to. Knows no outbox."""

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
from core.observability.log_context import subject
from core.webhooks.url_policy import Reason, Refusal, TargetPolicy
from worker.retry_after import read_retry_after
from worker.webhooks.aiohttp_transport import PooledTransport
from worker.webhooks.outcomes import (
    Delivered,
    Kind,
    Outcome,
    Refused,
    kind_of_status,
    safe_text,
)
from worker.webhooks.resolved_target import PinnedTarget, Resolver, SystemResolver, resolve
from worker.webhooks.signing import sign


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """Bounds of one attempt, sizes in bytes. `total` counts from the name's resolution on.

    `rest` is how long an answer's body is read once its status was said: that is enough to judge.
    `read_at_most` bounds an answer with its head and framing: what is longer costs its connection.

    `connections` is how many attempts may be under way at once; further ones wait, and their wait
    does not count against the receiver. `keep_alive` stays under the 5 s of Node.js and uvicorn.
    """

    targets: TargetPolicy = field(default_factory=TargetPolicy)
    connect: timedelta = timedelta(seconds=5)
    total: timedelta = timedelta(seconds=20)
    rest: timedelta = timedelta(seconds=1)
    read_at_most: int = 16 * 1024
    keep_at_most: int = 1024
    connections: int = 256
    keep_alive: timedelta = timedelta(seconds=4)
    user_agent: str = "runcomfy-gateway"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is to be sent, where. `number` counts from 1; `secrets` and `keys` are all live ones.

    `timeout` may shorten the policy's `total`; `headers` are the tenant's own.
    """

    webhook_id: str
    url: str
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    number: int = 1
    keys: tuple[str, ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: timedelta | None = None


# First match wins; what the chain of causes says (`_CAUSES`) goes before. The last row ends the
# walk: what remains is what we could not even send.
KINDS: Final[tuple[tuple[type[Exception], Kind], ...]] = (
    (httpx.PoolTimeout, Kind.BUSY),
    (httpx.TimeoutException, Kind.TIMEOUT),
    (TimeoutError, Kind.TIMEOUT),
    (httpx.ConnectError, Kind.CONNECT_ERROR),
    (httpx.NetworkError, Kind.RESET),
    (httpx.RemoteProtocolError, Kind.BAD_ANSWER),
    (httpx.DecodingError, Kind.BAD_ANSWER),
    (Exception, Kind.UNSENDABLE),
)
_CAUSES: Final = ((ssl.SSLError, Kind.TLS_ERROR), (socket.gaierror, Kind.DNS_ERROR))
# What sending may raise. httpx's `StreamError` and `CookieConflict` would be mistakes of ours.
_EXPECTED: Final = (httpx.HTTPError, httpx.InvalidURL, TimeoutError)


class Sender:
    """Makes attempts, many at once. None raises for what a receiver does."""

    def __init__(
        self, client: httpx.AsyncClient, resolver: Resolver, clock: Clock, policy: SenderPolicy
    ) -> None:
        """Send by `client`, which must not follow redirects or read the environment."""
        self._client = client
        self._resolver = resolver
        self._clock = clock
        self._policy = policy
        self._slots = asyncio.Semaphore(policy.connections)

    async def send(self, attempt: Attempt) -> Outcome:
        """Make one attempt and say what it came to."""
        async with self._slots:
            start = self._clock.monotonic()
            outcome = await self._bounded(attempt)
            return replace(outcome, took=self._clock.monotonic() - start)

    async def _bounded(self, attempt: Attempt) -> Outcome:
        total = min(attempt.timeout or self._policy.total, self._policy.total)
        deadline = asyncio.get_running_loop().time() + total.total_seconds()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._open(attempt)
        except _EXPECTED as error:
            return Refused(kind_of_error(error), _UNMEASURED, excerpt=_words_about(error))
        if isinstance(answer, Refusal):
            return _refused_target(answer)
        rest = asyncio.get_running_loop().time() + self._policy.rest.total_seconds()
        try:
            start = await self._start_of(answer, min(deadline, rest))
        finally:
            await answer.aclose()
        return self._judge(answer, safe_text(start, self._policy.keep_at_most))

    async def _open(self, attempt: Attempt) -> httpx.Response | Refusal:
        pinned = await resolve(
            attempt.url, self._policy.targets, self._resolver, turn=attempt.number - 1
        )
        if isinstance(pinned, Refusal):
            return pinned
        request = self._request(attempt, pinned)
        return await self._client.send(request, stream=True, follow_redirects=False)

    def _request(self, attempt: Attempt, pinned: PinnedTarget) -> httpx.Request:
        signed = sign(
            attempt.body,
            webhook_id=attempt.webhook_id,
            at=self._clock.now(),
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
            *_context(),
        )
        theirs = {name.lower() for name, _ in attempt.headers}
        headers = (*(row for row in ours if row[0] not in theirs), *attempt.headers)
        timeouts = httpx.Timeout(
            self._policy.total.total_seconds(), connect=self._policy.connect.total_seconds()
        )
        extensions: dict[str, object] = {"timeout": timeouts.as_dict()}
        if pinned.server_name is not None:
            extensions["sni_hostname"] = pinned.server_name
        return httpx.Request(
            "POST", pinned.url, headers=headers, content=attempt.body, extensions=extensions
        )

    async def _start_of(self, answer: httpx.Response, deadline: float) -> bytes:
        """What can be had of the answer; its status was said, so a broken or slow rest is no error.

        Short answers are read to their end, so that the connection can serve again.
        """
        start, size = bytearray(), 0
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout_at(deadline):
                async for chunk in answer.aiter_raw():
                    start += chunk[: self._policy.keep_at_most - len(start)]
                    size += len(chunk)
                    if size >= self._policy.read_at_most:
                        break
        return bytes(start)

    def _judge(self, answer: httpx.Response, excerpt: str) -> Outcome:
        kind = kind_of_status(answer.status_code)
        if kind is None:
            return Delivered(answer.status_code, _UNMEASURED, excerpt)
        wait = read_retry_after(answer.headers.get("retry-after"), self._clock.now())
        return Refused(kind, _UNMEASURED, answer.status_code, wait, excerpt)


def _context() -> tuple[tuple[str, str], ...]:
    """W3C Trace Context, for a receiver that goes on with the caller's trace."""
    present = subject()
    trace = present and present.trace
    return (("traceparent", trace),) if trace else ()


_UNMEASURED: Final = timedelta(0)


def kind_of_error(error: Exception) -> Kind:
    """Why an attempt that ended by this exception failed."""
    causes = tuple(_chain(error))
    for theirs, kind in _CAUSES:
        if any(isinstance(cause, theirs) for cause in causes):
            return kind
    return next(kind for theirs, kind in KINDS if isinstance(error, theirs))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _words_about(error: Exception) -> str:
    # An error's own text may name an address of ours; a certificate's flaw is the receiver's own.
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            # aiohttp's own subclass lacks what the real one, its cause, has.
            words = getattr(cause, "verify_message", "")
            if isinstance(words, str) and words:
                return words
    return ""


def _refused_target(refusal: Refusal) -> Refused:
    unresolved = refusal.reason is Reason.UNRESOLVED
    kind = Kind.DNS_ERROR if unresolved else Kind.BLOCKED_TARGET
    return Refused(kind, _UNMEASURED, excerpt=refusal.message)


@asynccontextmanager
async def open_sender(
    policy: SenderPolicy,
    clock: Clock,
    *,
    resolver: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Sender]:
    """A sender on the real network; by default with the machine's resolver and trusted CAs."""
    system = SystemResolver(timeout=policy.connect)
    transport = PooledTransport(tls or trusted_context(), policy.keep_alive, policy.read_at_most)
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


def trusted_context() -> ssl.SSLContext:
    """The public CAs that httpx brings, and those that the machine trusts (an internal one)."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
