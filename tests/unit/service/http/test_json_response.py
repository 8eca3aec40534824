"""Responses whose JSON is ready."""

import pytest
from starlette.types import Message, Receive, Scope

from core.http_server.connections import ANSWER_PART
from core.http_server.protocol import ANSWER_BYTES
from service.http.json_response import json_bytes_response


async def receive() -> Message:
    raise AssertionError("a response reads nothing")


async def sent(body: bytes) -> list[Message]:
    """What a response with `body` sends."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    unread: Receive = receive
    scope: Scope = {"type": "http", "method": "GET", "state": {}}
    await json_bytes_response(body)(scope, unread, send)
    long = {ANSWER_BYTES: len(body)} if len(body) > ANSWER_PART else {}
    assert scope["state"] == long, "it counts as several beginnings of its address"
    return messages


@pytest.mark.parametrize(
    ("size", "parts"),
    [(0, [0]), (ANSWER_PART, [ANSWER_PART]), (2 * ANSWER_PART + 1, [ANSWER_PART, ANSWER_PART, 1])],
)
async def test_a_long_body_is_sent_in_parts(size: int, parts: list[int]) -> None:
    """Hundreds of callers were sent 0.7 MB each in one turn of the event loop."""
    body = bytes(index % 251 for index in range(size))
    start, *messages = await sent(body)
    assert dict(start["headers"])[b"content-length"] == b"%d" % size
    assert [len(message["body"]) for message in messages] == parts
    assert b"".join(message["body"] for message in messages) == body
    assert [message.get("more_body", False) for message in messages] == (
        [True] * (len(parts) - 1) + [False]
    )
