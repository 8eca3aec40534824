"""The routes of the API reference."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import orjson
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.api import docs
from tests.support.app import AppHarness, open_app


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


def _open_with_guide(folder: Path | None, *, docs: bool = True) -> AppHarness:
    app = open_app()
    policy = replace(app.resources.policy, guide=folder, docs=docs)
    app.resources = replace(app.resources, policy=policy)
    return app


async def test_the_guide_is_served_from_its_folder_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    (tmp_path / "index.html").write_text("the first page")
    (tmp_path / "page.html").write_text("another page")
    async with _open_with_guide(tmp_path).client() as browser:
        moved = await browser.get("/docs/guide")
        first = await browser.get(urljoin("/docs/guide", moved.headers["location"]))
        other = await browser.get("/docs/guide/page.html")
    assert (moved.status_code, first.text, other.text) == (307, "the first page", "another page")
    policy = other.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    assert "script-src 'self';" in policy[0]


async def test_nothing_outside_the_folder_of_the_guide_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    async with _open_with_guide(folder).client() as browser:
        for path in ("../secret", "%2e%2e/secret", "..%2fsecret", "link", "nothing", ""):
            answer = await browser.get(f"/docs/guide/{path}")
            assert (path, answer.status_code) == (path, 404)


@pytest.mark.parametrize("path", ["/docs/guide", "/docs/guide/", "/docs/guide/index.html"])
async def test_no_guide_without_its_setting_or_without_the_reference(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("the first page")
    for app in (_open_with_guide(None), _open_with_guide(tmp_path, docs=False)):
        async with app.client() as browser:
            answer = await browser.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_callers_that_waited_for_the_description_go_on_one_after_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five hundred went on in one turn of the event loop, in which no other call was served."""
    begun = asyncio.Event()

    async def make(*_: object) -> dict[object, bytes]:
        await begun.wait()
        return {("3.1", webhooks): b"{}" for webhooks in (False, True)}

    monkeypatch.setattr(asyncio, "to_thread", make)
    app = FastAPI(openapi_url=None)
    docs.add_docs_routes(app)
    waiting = [asyncio.create_task(_get_description(app)) for _ in range(20)]
    for _ in range(10):
        await asyncio.sleep(0)
    begun.set()
    served = [0]
    while served[-1] < len(waiting):
        await asyncio.sleep(0)
        served.append(sum(task.done() for task in waiting))
    assert max(later - earlier for earlier, later in pairwise(served)) <= 2
