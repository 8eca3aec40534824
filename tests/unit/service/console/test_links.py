"""Links of `gateway console`, and where they lead."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from core.errors import NotFound
from core.operators.operator import Role
from service.console.links import create_operator_link, create_tenant_link
from service.settings import ServiceSettings
from service.tenants.api_keys import key_id, list_keys, revoke_key
from tests.support.app import AppHarness, create_operator
from tests.support.console import ADMIN_TOKEN, Browser

ADDRESS = "http://gateway.test"
TENANT = "video-team"
SEE_OTHER = httpx.codes.SEE_OTHER


async def first_page(app: AppHarness, link: str) -> str:
    """Open a link in a new browser; return the path where it ends."""
    browser = Browser(app)
    answer = await browser.open_link(link)
    if answer.status_code != SEE_OTHER:
        return ""
    return (await browser.http.get(answer.headers["location"], follow_redirects=True)).url.path


async def test_a_link_signs_an_operator_in_once(app: AppHarness) -> None:
    link = await create_operator_link(app.resources.admin, ADDRESS, ADMIN_TOKEN, is_named=False)
    assert link.startswith(f"{ADDRESS}/console/sign-in?code=")
    assert await first_page(app, link) == "/console/operator"
    assert await first_page(app, link) == ""


async def test_a_link_of_an_operator_has_that_operator_s_roles(app: AppHarness) -> None:
    token = await create_operator(app, "ada", [Role.READ])
    link = await create_operator_link(app.resources.admin, ADDRESS, token, is_named=True)
    browser = Browser(app)
    await browser.open_link(link)
    page = await browser.page("/operator")
    assert "operator:ada" in page
    assert "/operator/circuits/reset" not in page


async def test_a_link_signs_a_tenant_in_with_its_key(app: AppHarness, key: str) -> None:
    admin = app.resources.admin
    link = await create_tenant_link(admin, ADDRESS, TENANT, None)
    browser = Browser(app)
    await browser.open_link(link)
    assert (await browser.get("/")).url.path == "/console/home"
    await revoke_key(admin, TENANT, key)
    app.clock.move(timedelta(seconds=6))
    assert (await browser.http.get("/console/home")).status_code == SEE_OTHER


async def test_what_previews_a_link_does_not_use_it_up(app: AppHarness) -> None:
    link = await create_operator_link(app.resources.admin, ADDRESS, ADMIN_TOKEN, is_named=False)
    async with app.client() as http:
        for send in (http.get, http.head, http.get):
            answer = await send(link, follow_redirects=True)
            assert answer.status_code == httpx.codes.OK
            assert "set-cookie" not in answer.headers
    assert await first_page(app, link) == "/console/operator"


async def test_a_link_is_too_old_after_a_quarter_of_an_hour(app: AppHarness, key: str) -> None:
    assert key
    link = await create_tenant_link(app.resources.admin, ADDRESS, TENANT, None)
    app.clock.move(timedelta(minutes=15, seconds=1))
    assert await first_page(app, link) == ""


async def test_a_link_is_for_a_valid_key_only(app: AppHarness, key: str) -> None:
    admin = app.resources.admin
    held = key_id((await list_keys(admin, TENANT))[0].api_key)
    assert await create_tenant_link(admin, ADDRESS, TENANT, held)
    for tenant, chosen in ((TENANT, "0" * 16), ("nobody", None)):
        with pytest.raises(NotFound):
            await create_tenant_link(admin, ADDRESS, tenant, chosen)
    await revoke_key(admin, TENANT, key)
    with pytest.raises(NotFound):
        await create_tenant_link(admin, ADDRESS, TENANT, None)


async def test_the_audit_log_has_who_made_a_link_and_no_code(app: AppHarness, key: str) -> None:
    assert key
    admin = app.resources.admin
    link = await create_tenant_link(admin, ADDRESS, TENANT, None)
    page = await admin.stores.audit.list_entries(1)
    assert page[0].action == "console.link"
    assert page[0].subject.startswith(f"{TENANT}/")
    assert urlsplit(link).query.removeprefix("code=") not in str(page)


@pytest.mark.parametrize(
    ("given", "for_operators", "address"),
    [
        ({}, True, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": 9}, False, "http://[::1]:9"),
        ({"public_url": "https://gw.example/"}, True, "https://gw.example"),
        ({"public_url": "https://gw.example", "admin_port": 9}, True, "http://127.0.0.1:9"),
        ({"public_url": "https://gw.example", "admin_port": 9}, False, "https://gw.example"),
    ],
)
def test_a_link_leads_to_the_console_of_its_user(
    given: dict[str, Any], address: str, *, for_operators: bool
) -> None:
    settings = ServiceSettings(**given)
    assert settings.console_address(for_operators=for_operators) == address
