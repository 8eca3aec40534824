"""Makes calls to RunComfy: adds the token, bounds and times each call, emits its event."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

from core.clock import Clock
from core.observability.events import Emit, UpstreamCalled
from core.runtime.statically_frozen import statically_frozen
from worker.ports import Indeterminate, NotSent, Rejected, RequestNotFound, Unreachable
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.faults import Redactor
from worker.upstream.http_request import HttpRequest, HttpResponse
from worker.upstream.transports import EgressRoute, open_poster, open_reader

OK: Final = "ok"
LARGE_BODY: Final = 64 * 1024
"""Larger answers are parsed in a thread: the leases of paid submits are renewed meanwhile."""
AnswerT = TypeVar("AnswerT")


@statically_frozen
class ApiCall:
    """One call: its name in metrics, what to send, and its bounds."""

    name: str
    method: str
    path: str
    deadline: timedelta
    max_bytes: int
    content: bytes | None = field(default=None, repr=False)


class UpstreamTransport(Protocol):
    """A transport for reads, or for everything else."""

    async def send_request(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Send one request and read its answer. Raises nothing but cancellation."""
        ...


@asynccontextmanager
async def open_http_client(
    access: UpstreamAccess, limits: UpstreamLimits, route: EgressRoute, clock: Clock, emit: Emit
) -> AsyncIterator["HttpClient"]:
    """Yield a client over the network. `emit` must not raise."""
    async with open_poster(limits, route) as posts, open_reader(limits, route) as reads:
        yield HttpClient(access, posts, reads, clock, emit)


class HttpClient:
    """Makes calls: GETs over `reads`, everything else over `posts`."""

    def __init__(
        self,
        access: UpstreamAccess,
        posts: UpstreamTransport,
        reads: UpstreamTransport,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """`emit` must not raise: the id of a paid request would be lost."""
        self._access = access
        self._posts = posts
        self._reads = reads
        self._clock = clock
        self._emit = emit
        self.redactor = Redactor(access.token.get_secret_value())

    def with_base_url(self, base_url: str) -> "HttpClient":
        """Return a client of another API with the same token. Raises `ValueError` for a bad URL.

        The token goes there: only pass a URL that the operator configured.
        """
        access = UpstreamAccess(base_url, self._access.token)
        return HttpClient(access, self._posts, self._reads, self._clock, self._emit)

    async def call(
        self, api_call: ApiCall, parse: Callable[[HttpResponse, Redactor], AnswerT]
    ) -> AnswerT:
        """Make the call and parse the answer. Raises nothing but cancellation."""
        began = self._clock.monotonic()
        prepared, now = self._build_request(api_call), self._clock.now()
        transport = self._reads if api_call.method == "GET" else self._posts
        reply = await transport.send_request(prepared, now)
        if len(reply.body) > LARGE_BODY:
            answer = await asyncio.to_thread(parse, reply, self.redactor)
        else:
            answer = parse(reply, self.redactor)
        took = self._clock.monotonic() - began
        self._emit(UpstreamCalled(api_call.name, outcome_of(answer), reply.status, took))
        return answer

    def _build_request(self, api_call: ApiCall) -> HttpRequest:
        return HttpRequest(
            method=api_call.method,
            url=self._access.url(api_call.path),
            headers=self._build_headers(api_call),
            deadline=api_call.deadline,
            max_bytes=api_call.max_bytes,
            content=api_call.content,
        )

    def _build_headers(self, api_call: ApiCall) -> Mapping[str, str]:
        headers = {
            "Authorization": f"Bearer {self._access.token.get_secret_value()}",
            "Accept": "application/json",
            # A compressed answer would have to be bounded twice.
            "Accept-Encoding": "identity",
            "User-Agent": "runcomfy-gateway",
        }
        if api_call.content is not None:
            headers["Content-Type"] = "application/json"
        return headers


def outcome_of(answer: object) -> str:
    """Return the call's outcome as a metric label: `ok`, or the kind of its fault.

    The answer that a request failed counts as `ok`: the call itself succeeded.
    """
    if isinstance(answer, NotSent | Rejected | Indeterminate | RequestNotFound | Unreachable):
        return answer.fault.kind
    return OK
