import asyncio
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from core.observability.events import RequestServed
from core.operators.operator import Role
from core.tenants.api_keys import Scope
from service.admin.operators import revoke_operator
from service.console.sessions import code_digest, operator_document
from service.context import ConsolePolicy
from service.tenants.api_keys import revoke_key
from service.tenants.refusal_delays import DelayPolicy, RefusalDelays
from service.tenants.token_bucket import TokenBucket
from tests.support.app import AppHarness
from tests.support.clock import run_ready_tasks
from tests.support.console import (
    ADMIN_TOKEN,
    Browser,
    signed_in_operator,
    signed_in_tenant,
)

FOUND, SEE_OTHER = 200, 303


async def test_a_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(
    app: AppHarness, key: str
) -> None:
    answer = await Browser(app).sign_in(key)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "max-age=43200" in cookie
    assert key.lower() not in cookie


async def test_over_tls_the_cookie_is_for_this_host_and_tls_alone(
    app: AppHarness, key: str
) -> None:
    async with app.client() as http:
        url = "https://gateway.test/console/sign-in"
        cookie = (await http.post(url, data={"secret": key})).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie


async def test_without_a_session_every_page_leads_to_the_sign_in(app: AppHarness) -> None:
    async with app.client() as http:
        for path in ("/console/home", "/console/operator", "/console/no-such-page"):
            answer = await http.get(path)
            assert answer.status_code == SEE_OTHER
            assert "/console/sign-in" in answer.headers["location"]


async def test_a_tampered_cookie_is_no_session(app: AppHarness, tenant: Browser) -> None:
    name, token = next(iter(tenant.http.cookies.items()))
    async with app.client() as http:
        for wrong in (token[:-1], f"{token}x", token.swapcase(), "é", "../../x", "a" * 5_000):
            answer = await http.get(
                "/console/home", headers={b"cookie": f"{name}={wrong}".encode()}
            )
            assert answer.status_code == SEE_OTHER


@pytest.mark.parametrize("secret", ["", "x", "rcg_video-team_x", "rco_ada_x", "é" * 99, "x" * 999])
async def test_a_wrong_secret_is_refused_and_counted(app: AppHarness, secret: str) -> None:
    answer = await Browser(app).sign_in(secret)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert app.events_of(RequestServed)[-1].code == "unauthenticated"
    assert b'gateway_authentication_failures_total{api="console"} 1.0' in (
        await app.resources.metrics.render()
    )


async def test_wrong_secrets_from_one_address_are_answered_later(app: AppHarness) -> None:
    bucket = TokenBucket(1, timedelta(seconds=1))
    policy = DelayPolicy(bucket, delay=timedelta(seconds=5))
    app.replace_resources(failed_authentications=RefusalDelays(app.clock, policy))
    browser = Browser(app)
    await browser.sign_in("wrong")
    second = asyncio.ensure_future(browser.sign_in("wrong"))
    await run_ready_tasks()
    assert not second.done()
    app.clock.move(policy.delay)
    assert (await second).status_code == httpx.codes.UNAUTHORIZED


async def test_a_revoked_key_ends_its_sessions(app: AppHarness, key: str) -> None:
    browser = await signed_in_tenant(app, key)
    await revoke_key(app.resources.admin, "video-team", key)
    app.clock.move(timedelta(seconds=6))
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER


async def test_a_revoked_operator_is_signed_out(app: AppHarness) -> None:
    browser = await signed_in_operator(app, Role.READ)
    await revoke_operator(app.resources.admin, "ada")
    app.clock.move(timedelta(seconds=6))
    assert (await browser.http.get("/console/operator")).status_code == SEE_OTHER


async def test_another_admin_token_ends_the_sessions_of_the_one_before(
    app: AppHarness, operator: Browser
) -> None:
    app.enable_admin_api("another-admin-token-of-at-least-32-characters")
    assert (await operator.http.get("/console/operator")).status_code == SEE_OTHER


async def test_a_session_ends_after_twelve_hours_and_with_the_sign_out(
    app: AppHarness, key: str
) -> None:
    browser = await signed_in_tenant(app, key)
    app.clock.move(timedelta(hours=12, seconds=1))
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER
    again = await signed_in_tenant(app, key)
    cookies = dict(again.http.cookies)
    await again.change("/sign-out")
    async with app.client() as http:
        http.cookies.update(cookies)
        assert (await http.get("/console/home")).status_code == SEE_OTHER


async def test_a_code_signs_in_once(app: AppHarness) -> None:
    document = operator_document(None, "not the digest of the admin token")
    sessions = app.resources.stores.console_sessions
    await sessions.add(code_digest("c0de"), document, timedelta(minutes=15))
    async with app.client() as http:
        sent = {"code": "c0de"}
        assert (await http.post("/console/sign-in", data=sent)).status_code == SEE_OTHER
        again = await http.post("/console/sign-in", data=sent)
    assert again.status_code == httpx.codes.UNAUTHORIZED
    assert "used before" in again.text


async def test_a_code_is_no_session_and_a_session_no_code(app: AppHarness, tenant: Browser) -> None:
    _, token = next(iter(tenant.http.cookies.items()))
    async with app.client() as http:
        answer = await http.post("/console/sign-in", data={"code": token})
    assert answer.status_code == httpx.codes.UNAUTHORIZED


async def test_the_sign_in_leads_back_to_a_page_of_the_console_only(
    app: AppHarness, key: str
) -> None:
    async with app.client() as http:
        for target, leads_to in (
            ("/console/usage", "/console/usage"),
            (
                "/console/batches?cursor=x&b=c:d",
                "/console/batches?cursor=x&b=c:d",
            ),
            ("https://evil.example/console/x", "/console/"),
            ("//evil.example/console/x", "/console/"),
            ("/console/\\evil", "/console/"),
            ("/admin/v1/tenants", "/console/"),
        ):
            answer = await http.post("/console/sign-in", data={"secret": key, "next": target})
            assert answer.headers["location"] == leads_to


async def test_after_the_sign_in_the_page_that_was_asked_for_is_shown(
    app: AppHarness, key: str
) -> None:
    asked = "/requests?status=failed&reference=a%26b%20%C3%A9"
    for prefix in ("", "/gw"):
        served = httpx.ASGITransport(app.serve, root_path=prefix)
        root = f"http://gateway.test{prefix}/console"
        async with httpx.AsyncClient(transport=served, trust_env=False) as http:
            sent_away = await http.get(f"{root}{asked}")
            sign_in = urlsplit(sent_away.headers["location"])
            assert sign_in.path == f"{prefix}/console/sign-in"
            (following,) = parse_qs(sign_in.query)["next"]
            answer = await http.post(f"{root}/sign-in", data={"secret": key, "next": following})
            assert answer.headers["location"] == f"{prefix}/console{asked}"


async def test_a_console_that_is_off_is_nowhere(app: AppHarness, key: str) -> None:
    off = replace(app.resources.policy, console=ConsolePolicy())
    app.replace_resources(policy=off)
    assert (await Browser(app).sign_in(key)).status_code == httpx.codes.NOT_FOUND


async def test_operators_sign_in_where_the_admin_api_is_served_only(app: AppHarness) -> None:
    app.serve_admin_listener()
    app.state.clear()
    assert (await Browser(app).sign_in(ADMIN_TOKEN)).status_code == httpx.codes.UNAUTHORIZED


async def test_a_key_sees_what_its_scopes_allow(app: AppHarness) -> None:
    key = await app.tenant("submitter", scopes=frozenset({Scope.SUBMIT}))
    browser = await signed_in_tenant(app, key)
    assert (await browser.get("/home")).status_code == FOUND
    assert (await browser.get("/requests")).status_code == httpx.codes.FORBIDDEN
    assert (await browser.send("/webhooks/test")).status_code == httpx.codes.FORBIDDEN
