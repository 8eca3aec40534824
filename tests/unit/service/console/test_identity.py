"""Persons whom an authenticating proxy names."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from core.tenants.api_keys import KEY_ID_LENGTH, Scope, api_key_digest
from service.context import ConsolePolicy, LinkPolicy
from service.parsing.forwarded import TrustedProxies
from service.parsing.identity_headers import Grant, IdentityPolicy
from service.tenants.api_keys import create_key, key_id, revoke_key
from tests.support.app import BASE_URL, AppHarness
from tests.support.console import Browser

PROXY, STRANGER = "10.0.0.1", "192.0.2.1"
SEE_OTHER = httpx.codes.SEE_OTHER
IDENTITY = IdentityPolicy(
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    {
        "platform": Grant.parse("role:operate"),
        "video": Grant.parse("tenant:video-team"),
        "ads": Grant.parse("tenant:ads"),
    },
)


@pytest.fixture(autouse=True)
def proxy(app: AppHarness) -> None:
    """A proxy that names persons, and tells nothing of their addresses."""
    policy = app.resources.policy
    links = LinkPolicy(trusted_proxies=TrustedProxies.parse([PROXY]))
    console = ConsolePolicy(enabled=True, identity=IDENTITY)
    app.replace_resources(policy=replace(policy, links=links, console=console))


def browser_of(app: AppHarness, person: str, groups: str = "", peer: str = PROXY) -> Browser:
    """Return the browser of a person, whose requests come from `peer`."""
    headers = {"x-forwarded-user": person, "x-forwarded-groups": groups} if person else {}
    browser = Browser(app)
    browser.http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app.serve, client=(peer, 1)),
        base_url=BASE_URL,
        headers=headers,
        trust_env=False,
    )
    return browser


async def continued(browser: Browser, tenant: str = "") -> httpx.Response:
    """Press the button of the sign-in page; return the answer."""
    return await browser.begin({"tenant": tenant})


async def test_an_operator_signs_in_and_is_named_in_the_audit_log(
    app: AppHarness, key: str
) -> None:
    assert key
    browser = browser_of(app, "ada@example.com", "staff,platform")
    asked = await browser.get("/operator")
    assert asked.url.path == "/console/sign-in"
    assert "You are <bdi>ada@example.com</bdi>" in asked.text
    assert "sign-in-link.js" in asked.text
    assert (await continued(browser)).headers["location"] == "/console/"
    await browser.change("/operator/tenants/video-team/pause")
    entries = await app.stores.audit.list_entries(1)
    assert (entries[0].actor, entries[0].action) == ("person:ada@example.com", "pause")
    refused = await browser.send("/operator/tenants", {"tenant": "new-team"})
    assert refused.status_code == httpx.codes.FORBIDDEN


async def test_a_person_acts_as_a_tenant_and_is_named_in_its_audit_log(
    app: AppHarness, key: str
) -> None:
    browser = browser_of(app, "ada@example.com", "video")
    await continued(browser, "video-team")
    assert (await browser.get("/home")).url.path == "/console/home"
    await browser.change("/webhooks/endpoints", {"url": "https://hooks.example/x"})
    (entry, *_) = await app.resources.admin.stores.audit.list_entries(1, tenant="video-team")
    assert entry.actor.endswith(" person:ada@example.com")
    await revoke_key(app.resources.admin, "video-team", key)
    app.clock.move(timedelta(seconds=6))
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER
    assert (await continued(browser, "video-team")).status_code == httpx.codes.UNAUTHORIZED


async def test_of_several_tenants_the_person_chooses(app: AppHarness, key: str) -> None:
    assert key
    await app.tenant("ads")
    browser = browser_of(app, "ada", "video,ads,platform")
    page = (await browser.get("/sign-in")).text
    for choice in ("an operator", "ads", "video-team"):
        assert f"Continue as {choice}" in page
    assert "sign-in-link.js" not in page
    await continued(browser, "ads")
    assert "<h1>ads</h1>" in (await browser.get("/home")).text


async def test_a_person_of_no_known_group_may_do_nothing(app: AppHarness, key: str) -> None:
    assert key
    browser = browser_of(app, "eve", "staff")
    page = await browser.get("/operator")
    assert "None of your groups may use this console" in page.text
    for tenant in ("", "video-team"):
        assert (await continued(browser, tenant)).status_code == httpx.codes.UNAUTHORIZED


async def test_without_the_header_the_sign_in_is_by_key(app: AppHarness, key: str) -> None:
    browser = browser_of(app, "")
    assert "You are" not in (await browser.get("/home")).text
    assert (await browser.sign_in(key)).status_code == SEE_OTHER


@pytest.mark.parametrize("peer", [STRANGER, "127.0.0.1"])
async def test_a_header_of_anybody_else_is_nothing(app: AppHarness, key: str, peer: str) -> None:
    assert key
    browser = browser_of(app, "ada", "platform,video", peer)
    assert "You are" not in (await browser.get("/operator")).text
    for tenant in ("", "video-team"):
        assert (await continued(browser, tenant)).status_code == httpx.codes.UNAUTHORIZED


async def test_two_headers_name_nobody(app: AppHarness) -> None:
    browser = browser_of(app, "")
    for headers in (
        [("x-forwarded-user", "ada"), ("x-forwarded-user", "eve")],
        [("x-forwarded-user", "ada"), ("x-forwarded-groups", "platform")] * 2,
    ):
        page = await browser.http.get("/console/sign-in", headers=headers)
        assert "You are" not in page.text


@pytest.mark.parametrize(
    ("person", "groups", "peer"),
    [
        ("", "", PROXY),
        ("eve", "platform", PROXY),
        ("ada", "staff", PROXY),
        ("ada", "video", PROXY),
        ("ada", "platform", STRANGER),
    ],
)
async def test_a_session_is_of_the_person_whom_the_proxy_names(
    app: AppHarness, key: str, person: str, groups: str, peer: str
) -> None:
    assert key
    ada = browser_of(app, "ada", "platform")
    await continued(ada)
    assert (await ada.http.get("/console/operator")).status_code == httpx.codes.OK
    thief = browser_of(app, person, groups, peer)
    thief.http.cookies.update(ada.http.cookies)
    assert (await thief.http.get("/console/operator")).status_code == SEE_OTHER


def grant(app: AppHarness, **groups: str) -> None:
    """Change what the groups may do, as a restart with other settings does."""
    policy = app.resources.policy
    grants = {name: Grant.parse(text) for name, text in groups.items()}
    console = ConsolePolicy(enabled=True, identity=replace(IDENTITY, grants=grants))
    app.replace_resources(policy=replace(policy, console=console))


async def reading_key(app: AppHarness) -> str:
    """Create a newer key of the tenant, which only reads; return its id."""
    app.clock.move(timedelta(seconds=1))
    created = await create_key(app.resources.admin, "video-team", frozenset({Scope.READ}), None)
    return key_id(created[1])


async def test_a_session_has_the_key_that_the_group_grants(app: AppHarness, key: str) -> None:
    """Another group of the same tenant does not keep a session with more scopes."""
    first = api_key_digest(key)[:KEY_ID_LENGTH]
    second = await reading_key(app)
    grant(app, makers=f"tenant:video-team/{first}", readers=f"tenant:video-team/{second}")
    browser = browser_of(app, "ada", "makers")
    await continued(browser, f"video-team/{first}")
    assert (await browser.http.get("/console/home")).status_code == httpx.codes.OK
    browser.http.headers["x-forwarded-groups"] = "readers"
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER
    refused = await continued(browser, f"video-team/{first}")
    assert refused.status_code == httpx.codes.UNAUTHORIZED
    await continued(browser, f"video-team/{second}")
    assert (await browser.http.get("/console/home")).status_code == httpx.codes.OK


async def test_a_newer_key_ends_the_sessions_of_the_newest(app: AppHarness, key: str) -> None:
    assert key
    browser = browser_of(app, "ada", "video")
    await continued(browser, "video-team")
    newer = await reading_key(app)
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER
    await continued(browser, "video-team")
    assert (await browser.http.get("/console/home")).status_code == httpx.codes.OK
    grant(app, video=f"tenant:video-team/{newer}")
    assert (await browser.http.get("/console/home")).status_code == httpx.codes.OK


async def test_of_several_keys_of_a_tenant_the_person_chooses(app: AppHarness, key: str) -> None:
    first = api_key_digest(key)[:KEY_ID_LENGTH]
    await reading_key(app)
    grant(app, makers=f"tenant:video-team/{first}", readers="tenant:video-team")
    browser = browser_of(app, "ada", "makers,readers")
    page = (await browser.get("/sign-in")).text
    for choice in ("video-team", f"video-team/{first}"):
        assert f"Continue as {choice}</button>" in page
        await continued(browser, choice)
        assert (await browser.http.get("/console/home")).status_code == httpx.codes.OK


async def test_a_key_that_a_person_typed_is_used_with_its_own_scopes(
    app: AppHarness, key: str
) -> None:
    browser = browser_of(app, "ada", "platform")
    await browser.sign_in(key)
    assert (await browser.get("/home")).url.path == "/console/home"
    assert (await browser.http.get("/console/operator")).status_code == httpx.codes.NOT_FOUND


async def test_the_api_believes_no_such_header(app: AppHarness, key: str) -> None:
    assert key
    browser = browser_of(app, "ada", "platform,video")
    for path in ("/v1/usage", "/admin/v1/tenants"):
        assert (await browser.http.get(path)).status_code == httpx.codes.UNAUTHORIZED


async def test_after_the_sign_out_nobody_is_signed_in_by_itself(app: AppHarness) -> None:
    browser = browser_of(app, "ada", "platform")
    await continued(browser)
    page = await browser.change("/sign-out")
    assert page.url.path == "/console/sign-in"
    assert "Continue as an operator" in page.text
    assert "sign-in-link.js" not in page.text
