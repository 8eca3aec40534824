"""One raw ASGI call, whose answer can be read while it lasts, and which can be disconnected."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.types import ASGIApp, Message

from tests.support.clock import run_ready_tasks


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One server-sent event."""

    id: str
    event: str
    data: str


@dataclass(slots=True)
class AsgiCall:
    """A call in progress."""

    messages: list[Message] = field(default_factory=list)
    _body: list[bytes] = field(default_factory=list)
    _disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    _unread: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @classmethod
    async def begin(
        cls,
        app: ASGIApp,
        path: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        body: bytes = b"",
    ) -> Self:
        """Start a call of `app` and let it run until it waits."""
        call = cls(_body=[body])
        call._unread.set()
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        call.task = asyncio.ensure_future(_run(app, scope, call))
        await run_ready_tasks()
        return call

    @property
    def status(self) -> int | None:
        """The answer's status; None before it has begun."""
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers."""
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def text(self) -> str:
        """The body so far."""
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def events(self) -> list[ServerSentEvent]:
        """The server-sent events so far; comments are no events."""
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" in fields:
                found.append(ServerSentEvent(fields["id"], fields["event"], fields["data"]))
        return found

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        last = self.messages[-1] if self.messages else {"type": "nothing"}
        return last["type"] == "http.response.body" and not last.get("more_body", False)

    async def disconnect(self) -> None:
        """Disconnect the caller."""
        self._disconnected.set()
        await run_ready_tasks()

    def stop_reading(self) -> None:
        """Stop reading: what is sent from now on waits."""
        self._unread.clear()

    async def receive(self) -> Message:
        """ASGI's receive."""
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        await self._unread.wait()
        self.messages.append(message)


async def _run(app: ASGIApp, scope: dict[str, Any], call: AsgiCall) -> None:
    await app(scope, call.receive, call.send)
