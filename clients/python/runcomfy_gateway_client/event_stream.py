"""A request's events (server-sent events), without input and output."""

from __future__ import annotations

import json

from runcomfy_gateway_client.documents import Event
from runcomfy_gateway_client.protocol import Call, path_of

FINAL_EVENTS = frozenset({"request.completed", "request.failed", "request.cancelled"})
NO_CONTENT = 204


class EventStream:
    """Reads the stream of one request across connections: each event once, in order."""

    def __init__(self, request_id: str, last_event_id: str = "") -> None:
        """Begin after `last_event_id`; empty: with the first event."""
        self._request_id = request_id
        self._last_event_id = last_event_id
        self._rest = b""
        self.is_over = False

    def call(self) -> Call:
        """Return the call that opens the stream, or opens it again where it broke off."""
        self._rest = b""
        headers = {"accept": "text/event-stream"}
        if self._last_event_id:
            headers["last-event-id"] = self._last_event_id
        return Call("GET", f"{path_of(self._request_id)}/events", headers=headers)

    def opened(self, status: int) -> None:
        """Take the status of the response: after 204 no event is left."""
        self.is_over = self.is_over or status == NO_CONTENT

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that this chunk completes."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        events = [event for block in blocks if (event := _parse_event(block)) is not None]
        if events:
            self._last_event_id = events[-1].id
            self.is_over = self.is_over or events[-1].type in FINAL_EVENTS
        return events


def _parse_event(block: bytes) -> Event | None:
    """Return the event of one block; None for a comment or a block without data."""
    fields: dict[str, list[str]] = {}
    for line in block.decode().split("\n"):
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return None
    document = json.loads("\n".join(fields["data"]))
    kind = fields.get("event", ["message"])[-1]
    return Event(fields.get("id", [""])[-1], kind, document)
