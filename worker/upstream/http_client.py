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
from worker.ports import Gone, NoAnswer, NotSent, Rejected, Unreachable
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.faults import Scrub
from worker.upstream.http_request import Ask, Reply, exchange
from worker.upstream.transports import open_fetcher, open_posts, tls_context

OK: Final = "ok"
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its name for observers, what to send, and its bounds (`size` in bytes)."""

    name: str
    method: str
    path: str
    deadline: timedelta
    size: int
    content: bytes | None = field(default=None, repr=False)


class Fetches(Protocol):
    """The way for reads."""

    async def fetch(self, ask: Ask, now: datetime) -> Reply:
        """Make one exchange. Raises nothing but cancellation."""
        ...


@asynccontextmanager
async def open_line(
    access: UpstreamAccess, limits: UpstreamLimits, clock: Clock, emit: Emit
) -> AsyncIterator["Line"]:
    """A line over real clients of both kinds. `emit` must not raise."""
    tls = tls_context()
    async with open_posts(limits, tls) as posts, open_fetcher(limits, tls) as reads:
        yield Line(access, posts, reads, clock, emit)


class Line:
    """Makes calls. `posts` carries whatever is not a GET, `reads` the GETs."""

    def __init__(
        self,
        access: UpstreamAccess,
        posts: httpx.AsyncClient,
        reads: Fetches,
        clock: Clock,
        emit: Emit,
    ) -> None:
        """Take what is open. `emit` must not raise: a paid id would be lost."""
        self._access = access
        self._posts = posts
        self._reads = reads
        self._clock = clock
        self._emit = emit
        self.scrub = Scrub(access.token.get_secret_value())

    def at(self, base_url: str) -> "Line":
        """The same line to another address of RunComfy's, which the operator named.

        Raises `ValueError` for what is no base URL.
        """
        access = UpstreamAccess(base_url, self._access.token)
        return Line(access, self._posts, self._reads, self._clock, self._emit)

    async def ask(self, call: Call, read: Callable[[Reply, Scrub], AnswerT]) -> AnswerT:
        """Make `call` and `read` what came back. Raises nothing but cancellation."""
        began = self._clock.monotonic()
        prepared, now = self._prepared(call), self._clock.now()
        if call.method == "GET":
            reply = await self._reads.fetch(prepared, now)
        else:
            reply = await exchange(self._posts, prepared, now)
        answer = read(reply, self.scrub)
        took = self._clock.monotonic() - began
        self._emit(UpstreamCalled(call.name, outcome_of(answer), reply.status, took))
        return answer

    def _prepared(self, call: Call) -> Ask:
        return Ask(
            method=call.method,
            url=self._access.url(call.path),
            headers=self._headers(call),
            deadline=call.deadline,
            size=call.size,
            content=call.content,
        )

    def _headers(self, call: Call) -> Mapping[str, str]:
        headers = {
            "Authorization": f"Bearer {self._access.token.get_secret_value()}",
            "Accept": "application/json",
            # Unpacked answers would have to be bounded twice.
            "Accept-Encoding": "identity",
            "User-Agent": "runcomfy-gateway",
        }
        if call.content is not None:
            headers["Content-Type"] = "application/json"
        return headers


def outcome_of(answer: object) -> str:
    """The call's outcome as a metric label: `ok`, or the kind of its fault.

    A request that failed is an answer like another: the call itself went well.
    """
    if isinstance(answer, NotSent | Rejected | NoAnswer | Gone | Unreachable):
        return answer.fault.kind
    return OK
