import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from core.observability.events import AdminAction
from core.operators.operator import Role
from service.app import create_app
from service.console.pages import MAX_FORM_BYTES, OPEN_ROUTES, ROOT
from service.console.rendering import media_origin, page_headers
from service.tenants.refusal_delays import DelayPolicy, RefusalDelays
from service.tenants.token_bucket import TokenBucket
from tests.support.app import KLING, KLING_INPUT, KLING_PATH, AppHarness, _never_opened
from tests.support.clock import run_ready_tasks
from tests.support.console import Browser, signed_in_operator, signed_in_tenant

HOSTILE = "<script>alert(1)</script>\u202e\U0001f600\"'><img src=x onerror=alert(1)>"
ODD_ADDRESSES = """
/requests?status=wrong /requests?cursor=x /requests?created_after=x /batches?cursor=x
/webhooks?since=x /requests/..%2f..%2fadmin /requests/%00 /batches/x /playground/x /playground/%ff
/sign-in?next=//[x /live/none /live/overview /static/..%2fpages.py /static/none.js /requests?a=%ff
/playground?offset=-1 /playground/kling/kling-3.0/standard/image-to-video?again=%F0
"""
CHANGES = [
    route.path or ""
    for route in iter_route_contexts(create_app(_never_opened).routes)
    if (route.path or "").startswith(ROOT) and "POST" in (route.methods or ())
]


def filled(path: str) -> str:
    """Return a route's path with an id for each parameter."""
    return re.sub(r"\{\w+(:path)?\}", "some-id", path.removeprefix(ROOT))


async def submitted(app: AppHarness, key: str, prompt: str = "Waves.") -> str:
    """Submit a request with this prompt, and return its id."""
    async with app.client(key) as caller:
        answer = await caller.post(
            KLING_PATH, json={**KLING_INPUT, "prompt": prompt}, params={"reference": "<b>ref</b>"}
        )
    request_id: str = answer.json()["request_id"]
    return request_id


async def test_what_a_caller_wrote_is_text_and_never_markup(app: AppHarness, key: str) -> None:
    request_id = await submitted(app, key, HOSTILE)
    browser = await signed_in_tenant(app, key)
    operator = await signed_in_operator(app)
    for each, path in (
        (browser, f"/requests/{request_id}"),
        (browser, "/requests"),
        (browser, f"/playground/{KLING}?again={request_id}"),
        (operator, f"/operator/requests/{request_id}"),
        (operator, "/operator/requests"),
    ):
        answer = await each.get(path)
        assert answer.status_code == httpx.codes.OK
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "<b>ref" not in answer.text
    shown = unescape((await browser.get(f"/requests/{request_id}")).text)
    assert "alert(1)" in shown


@pytest.mark.parametrize("path", CHANGES)
async def test_no_change_is_made_without_the_token_of_the_session(
    app: AppHarness, tenant: Browser, operator: Browser, path: str
) -> None:
    if path.endswith("/sign-in"):
        return
    for browser in (tenant, operator):
        for token in ("", "0" * 64, "é"):
            url = f"/console{filled(path)}"
            answer = await browser.http.post(url, data={"csrf": token}, params={"csrf": token})
            assert answer.status_code == httpx.codes.FORBIDDEN
    assert not app.events_of(AdminAction)


async def test_no_change_is_made_for_a_page_of_another_site(tenant: Browser) -> None:
    answer = await tenant.http.post(
        "/console/webhooks/endpoints",
        data={"csrf": tenant.csrf, "url": "https://evil.example/"},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == httpx.codes.FORBIDDEN


async def test_only_the_sign_in_and_files_need_no_session() -> None:
    assert {"sign_in_page", "sign_in", "asset"} == OPEN_ROUTES


@pytest.mark.parametrize("path", CHANGES)
async def test_a_change_by_nobody_leads_to_the_sign_in(app: AppHarness, path: str) -> None:
    if path.endswith("/sign-in"):
        return
    async with app.client() as http:
        answer = await http.post(f"/console{filled(path)}", data={"csrf": "x"})
    assert answer.headers["location"].endswith("/console/sign-in")


async def test_another_tenants_ids_are_unknown(app: AppHarness, key: str) -> None:
    request_id = await submitted(app, key)
    other = await signed_in_tenant(app, await app.tenant("other-team"))
    paths = (f"/requests/{request_id}", f"/live/request/{request_id}")
    for path in paths:
        assert (await other.get(path)).status_code == httpx.codes.NOT_FOUND
    for path in (f"/requests/{request_id}/cancel", f"/requests/{request_id}/delete"):
        assert (await other.send(path)).status_code == httpx.codes.NOT_FOUND
    again = await other.get(f"/playground/{KLING}?again={request_id}")
    assert again.status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize("path", ["/operator", "/operator/tenants", "/operator/settings"])
async def test_a_tenant_has_no_operators_page(tenant: Browser, path: str) -> None:
    assert (await tenant.get(path)).status_code == httpx.codes.NOT_FOUND


async def test_an_operator_who_may_only_read_changes_nothing(app: AppHarness, key: str) -> None:
    assert key
    reader = await signed_in_operator(app, Role.READ)
    for path, fields in (
        ("/operator/pause", {"kind": "all"}),
        ("/operator/tenants", {"tenant": "new-team"}),
        ("/operator/tenants/video-team/keys", {"scopes": "read"}),
        ("/operator/operators", {"operator": "eve", "roles": "all"}),
        ("/operator/limits", {"running": "1"}),
    ):
        assert (await reader.send(path, fields)).status_code == httpx.codes.FORBIDDEN
    assert "Pause</button>" not in (await reader.get("/operator")).text


async def test_a_page_loads_its_own_files_only_and_is_in_no_frame(tenant: Browser) -> None:
    headers = (await tenant.get("/home")).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


async def test_pages_have_nothing_inline(tenant: Browser, operator: Browser) -> None:
    for browser, path in (
        (tenant, "/home"),
        (tenant, f"/playground/{KLING}"),
        (operator, "/operator"),
    ):
        text = (await browser.get(path)).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text)


def test_the_address_of_a_medium_cannot_widen_the_policy() -> None:
    assert media_origin("https://media.example:8443/a.mp4") == "https://media.example:8443"
    for wrong in (
        "https://a.example; script-src *",
        "https://a.example *",
        "javascript:alert(1)",
        "data:image/png;base64,x",
        "https://",
        "//a.example",
        "https://[",
        "https://a,b/",
    ):
        assert media_origin(wrong.split("/x")[0]) in {None, "https://a.example"}
        assert "script-src *" not in page_headers([wrong])["content-security-policy"]


@pytest.mark.parametrize("path", ODD_ADDRESSES.split())
async def test_no_address_is_an_error_of_the_gateway(tenant: Browser, path: str) -> None:
    answer = await tenant.get(path)
    assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR
    assert "Traceback" not in answer.text


async def test_no_page_holds_the_key(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    for path in ("/home", "/keys", "/usage", "/webhooks", f"/playground/{KLING}"):
        assert key not in (await browser.get(path)).text


async def test_a_large_form_is_read_for_a_session_only(app: AppHarness, tenant: Browser) -> None:
    """Two megabytes of escapes take a second to decode."""
    escapes = {"secret": "%" * 300_000, "raw": "%" * 300_000}
    stranger = Browser(app)
    assert (await stranger.begin(escapes)).status_code == 413
    path = f"/playground-price/{KLING}"
    assert (await stranger.send(path, escapes)).status_code in {303, 401}
    assert app.resources.body_budget.large.used == 0
    assert (await tenant.send(path, {**escapes, "mode": "json"})).status_code == 200


async def test_an_input_of_many_values_is_not_laid_out(tenant: Browser) -> None:
    """Laying out 12,000 lists takes long, as text and as code."""
    for lists, is_refused in ((100_000, True), (12_000, False)):
        raw = '{"prompt": [' + "[1234567]," * lists + "[]]}"
        answer = await tenant.send(f"/playground-price/{KLING}", {"mode": "json", "raw": raw})
        assert ("more than 25,000 values" in answer.text) is is_refused
        assert "curl" not in answer.text


async def test_an_input_that_no_form_can_send_is_not_shown_again(
    app: AppHarness, key: str, tenant: Browser
) -> None:
    policy = app.resources.policy
    app.replace_resources(
        policy=replace(policy, body_limits=replace(policy.body_limits, max_bytes=4 * 2**20)),
        input_files=replace(app.resources.input_files, min_input_bytes=4 * 2**20),
    )
    async with app.client(key) as caller:
        body = {**KLING_INPUT, "negative_prompt": "x" * (MAX_FORM_BYTES + 1)}
        answer = await caller.post(KLING_PATH, json=body)
    assert answer.status_code == 202
    page = await tenant.get(f"/playground/{KLING}?again={answer.json()['request_id']}")
    assert page.status_code == 422
    assert "too large" in page.text


async def test_a_stranger_who_is_refused_often_waits(app: AppHarness, tenant: Browser) -> None:
    bucket = TokenBucket(1, timedelta(seconds=1))
    app.replace_resources(refusals=RefusalDelays(app.clock, DelayPolicy(bucket)))
    stranger, escapes = Browser(app), {"secret": "%" * 10_000}
    assert (await stranger.begin(escapes)).status_code == 413
    slow = asyncio.create_task(stranger.begin(escapes))
    await run_ready_tasks()
    assert not slow.done()
    assert (await tenant.get("/")).status_code == 200
    app.clock.move(DelayPolicy().delay)
    assert (await slow).status_code == 413
