"""The routes of the API reference."""

import asyncio
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.api import docs
from tests.support.app import open_app


async def test_the_description_is_made_once_and_with_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def describe(routes: object) -> dict[str, Any]:
        made.append(routes)
        return {"openapi": "3.1.0", "webhooks": {}, "paths": {}, "components": {"schemas": {}}}

    monkeypatch.setattr(docs, "openapi_document", describe)
    app = FastAPI(openapi_url=None)
    docs.add_docs_routes(app)
    assert made == []
    answers = await asyncio.gather(*(_get_description(app) for _ in range(3)))
    assert len(made) == 1
    assert [orjson.loads(answer)["openapi"] for answer in answers] == ["3.1.0"] * 3


async def _get_description(app: FastAPI) -> bytes:
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/openapi.json",
        "query_string": b"",
        "headers": [],
        "state": {"resources": open_app().resources},
    }
    await app(scope, receive, send)
    return b"".join(parts)
