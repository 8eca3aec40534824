"""A RunComfy client over a mock transport."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import httpx
from pydantic import SecretStr

from core.observability.events import Event, UpstreamCalled
from tests.support.clock import TickingClock
from worker.upstream.catalogue import RunComfyCatalogue
from worker.upstream.client import RunComfyClient
from worker.upstream.config import UpstreamAccess, UpstreamLimits
from worker.upstream.http_client import HttpClient
from worker.upstream.transports import HttpxPoster

TOKEN: Final = "tok-5ecret-0123456789"


ResponseFor = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


@dataclass
class UpstreamClientHarness:
    """A client and a catalogue whose RunComfy is `answer`; requests and events are kept."""

    answer: ResponseFor
    limits: UpstreamLimits = field(default_factory=UpstreamLimits)
    posts: list[httpx.Request] = field(default_factory=list)
    reads: list[httpx.Request] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def line(self) -> HttpClient:
        access = UpstreamAccess("https://runcomfy.test/", SecretStr(TOKEN))
        return HttpClient(
            access,
            self._transport(self.posts),
            self._transport(self.reads),
            TickingClock(),
            self.events.append,
        )

    @property
    def client(self) -> RunComfyClient:
        return RunComfyClient(self.line(), self.limits)

    @property
    def catalogue(self) -> RunComfyCatalogue:
        return RunComfyCatalogue(self.line(), self.limits)

    @property
    def calls(self) -> list[UpstreamCalled]:
        return [event for event in self.events if isinstance(event, UpstreamCalled)]

    def _transport(self, seen: list[httpx.Request]) -> HttpxPoster:
        async def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            answer = self.answer(request)
            return answer if isinstance(answer, httpx.Response) else await answer

        return HttpxPoster(httpx.MockTransport(handle), self.limits.connect_timeout)


HarnessFactory = Callable[[ResponseFor], UpstreamClientHarness]
