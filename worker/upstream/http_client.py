"""The line to RunComfy: each call authorised, bounded, timed and told to observers, then read.

Knows the token and the clients; knows no paths and no documents.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

import httpx

from core.clock import Clock
from core.observability.events import Emit, UpstreamCalled
from worker.ports import Indeterminate, NotSent, Rejected, RequestNotFound, Unreachable
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.faults import Redactor
from worker.upstream.http_request import HttpRequest, HttpResponse, send_request
from worker.upstream.transports import create_upstream_tls_context, open_post_client, open_reader

OK: Final = "ok"
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call: its name for observers, what to send, and its bounds (`size` in bytes)."""

    name: str
    method: str
    path: str
    deadline: timedelta
    max_bytes: int
    content: bytes | None = field(default=None, repr=False)


class UpstreamReader(Protocol):
    """The way for reads."""

    async def send_request(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Make one exchange. Raises nothing but cancellation."""
        ...


@asynccontextmanager
async def open_http_client(
    access: UpstreamAccess, limits: UpstreamLimits, clock: Clock, emit: Emit
) -> AsyncIterator["HttpClient"]:
    """A line over real clients of both kinds. `emit` must not raise."""
    tls = create_upstream_tls_context()
    async with open_post_client(limits, tls) as posts, open_reader(limits, tls) as reads:
        yield HttpClient(access, posts, reads, clock, emit)


class HttpClient:
    """Makes calls. `posts` carries whatever is not a GET, `reads` the GETs."""

    def __init__(
        self,
        access: UpstreamAccess,
        posts: httpx.AsyncClient,
        reads: UpstreamReader,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """Take what is open. `emit` must not raise: a paid id would be lost."""
        self._access = access
        self._posts = posts
        self._reads = reads
        self._clock = clock
        self._emit = emit
        self.redactor = Redactor(access.token.get_secret_value())

    def with_base_url(self, base_url: str) -> "HttpClient":
        """The same line to another address of RunComfy's, which the operator named.

        Raises `ValueError` for what is no base URL.
        """
        access = UpstreamAccess(base_url, self._access.token)
        return HttpClient(access, self._posts, self._reads, self._clock, self._emit)

    async def call(
        self, api_call: ApiCall, parse: Callable[[HttpResponse, Redactor], AnswerT]
    ) -> AnswerT:
        """Make `call` and `read` what came back. Raises nothing but cancellation."""
        began = self._clock.monotonic()
        prepared, now = self._build_request(api_call), self._clock.now()
        if api_call.method == "GET":
            reply = await self._reads.send_request(prepared, now)
        else:
            reply = await send_request(self._posts, prepared, now)
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
            # Unpacked answers would have to be bounded twice.
            "Accept-Encoding": "identity",
            "User-Agent": "runcomfy-gateway",
        }
        if api_call.content is not None:
            headers["Content-Type"] = "application/json"
        return headers


def outcome_of(answer: object) -> str:
    """The call's outcome as a metric label: `ok`, or the kind of its fault.

    A request that failed is an answer like another: the call itself went well.
    """
    if isinstance(answer, NotSent | Rejected | Indeterminate | RequestNotFound | Unreachable):
        return answer.fault.kind
    return OK
