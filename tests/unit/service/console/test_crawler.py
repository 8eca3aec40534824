"""A crawler follows every link of the console, as tenant, as operator and as a stranger."""

import re
from html import unescape
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.console import Browser, signed_in_operator, signed_in_tenant

_LINK = re.compile(r'(?:href|src|sse-connect|hx-get)="([^"]+)"')
OTHER = "other-team"
MAX_PAGES = 300


async def made_something(app: AppHarness, key: str, tenant: str) -> str:
    """Submit a request with odd texts, and make an endpoint; return the request's id."""
    query = {"reference": f"{tenant}-reference/../%2f?&#<'\"", "label": f"of:{tenant}"}
    async with app.client(key) as caller:
        answer = await caller.post(KLING_PATH, json=KLING_INPUT, params=query)
        request_id: str = answer.json()["request_id"]
        await caller.post("/v1/webhooks/endpoints", json={"url": f"https://hooks.example/{tenant}"})
        await caller.post("/v1/webhooks/test", json={})
    return request_id


async def crawl(browser: Browser, *starts: str) -> dict[str, httpx.Response]:
    """Open pages and what they link to within the console; return the answers by path."""
    found: dict[str, httpx.Response] = {}
    waiting = [f"/console{start}" for start in starts]
    while waiting and len(found) < MAX_PAGES:
        path = waiting.pop()
        if path in found:
            continue
        answer = await browser.http.get(path)
        found[path] = answer
        links = (
            _LINK.findall(answer.text)
            if "text/html" in answer.headers.get("content-type", "")
            else []
        )
        for link in [*links, answer.headers.get("location", "")]:
            target = urlsplit(urljoin(path, unescape(link)))
            is_ours = target.path.startswith("/console") and not target.netloc
            is_stream = target.path.startswith("/console/live/")
            if is_ours and not is_stream:
                waiting.append(f"{target.path}{'?' if target.query else ''}{target.query}")
    return found


@pytest.fixture
async def ids(app: AppHarness, key: str) -> tuple[str, str]:
    """A request of `video-team`, and one of another tenant."""
    others = await app.tenant(OTHER)
    return (
        await made_something(app, key, "video-team"),
        await made_something(app, others, OTHER),
    )


async def test_a_tenant_sees_no_error_and_nothing_of_others(
    tenant: Browser, ids: tuple[str, str]
) -> None:
    pages = await crawl(
        tenant, "/", "/files", "/operator", f"/requests/{ids[1]}", f"/batches/{ids[1]}"
    )
    assert len(pages) > 20
    assert f"/console/requests/{ids[0]}" in pages
    for path, answer in pages.items():
        assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, path
        assert OTHER not in answer.text, path
        assert ids[1] not in answer.text, path


async def test_an_operator_sees_no_error_and_no_input(
    app: AppHarness, ids: tuple[str, str]
) -> None:
    operator = await signed_in_operator(app)
    pages = await crawl(operator, "/", f"/requests/{ids[0]}", "/home", "/usage")
    assert len(pages) > 15
    for request_id in ids:
        assert pages[f"/console/operator/requests/{request_id}"].status_code == httpx.codes.OK
    for path, answer in pages.items():
        assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, path
        assert KLING_INPUT["prompt"] not in answer.text, path


async def test_a_stranger_sees_the_sign_in_and_nothing_else(
    app: AppHarness, key: str, ids: tuple[str, str]
) -> None:
    seen = [
        *await crawl(await signed_in_tenant(app, key), "/"),
        *await crawl(await signed_in_operator(app), "/"),
    ]
    stranger = Browser(app)
    for path in seen:
        answer = await stranger.http.get(path)
        if "/static/" in path or "/sign-in" in path:
            assert answer.status_code == httpx.codes.OK
            continue
        assert answer.status_code == httpx.codes.SEE_OTHER, path
        assert not answer.content, path
        assert ids[0] not in urlsplit(answer.headers["location"]).path
