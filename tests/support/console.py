"""A browser of the console over in-memory stores: cookies, forms with their token."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import unescape
from typing import Final

import httpx

from core.operators.operator import Role
from service.context import ConsolePolicy
from tests.support.app import AppHarness, create_operator

_CSRF: Final = re.compile(r'name="csrf" value="([0-9a-f]+)"')
_CODE: Final = re.compile(r'name="code" value="([^"]+)"')
ADMIN_TOKEN: Final = "an-admin-token-of-at-least-32-characters"
FormFields = Mapping[str, str | Sequence[str]]


def enable_console(app: AppHarness) -> None:
    """Turn the console and the operators' side on."""
    policy = replace(app.resources.policy, console=ConsolePolicy(enabled=True))
    app.replace_resources(policy=policy)
    app.enable_admin_api(ADMIN_TOKEN)


class Browser:
    """One browser: it keeps the session, and sends forms as a page of the console does."""

    def __init__(self, app: AppHarness) -> None:
        """Visit the console of `app`, which is on."""
        self.http = app.client()
        self.csrf = ""

    async def sign_in(self, secret: str) -> httpx.Response:
        """Sign in with a key or a token."""
        return await self.begin({"secret": secret})

    async def begin(self, fields: FormFields) -> httpx.Response:
        """Send the form of the sign-in page; return the answer."""
        answer = await self.http.post("/console/sign-in", data=fields)
        if answer.status_code == httpx.codes.SEE_OTHER:
            found = _CSRF.search((await self.get("/")).text)
            self.csrf = found[1] if found else ""
        return answer

    async def open_link(self, link: str) -> httpx.Response:
        """Open a link that signs in, and press its button; return the answer."""
        page = await self.http.get(link)
        assert page.status_code == httpx.codes.OK
        found = _CODE.search(page.text)
        assert found is not None
        return await self.begin({"code": found[1]})

    async def get(self, path: str) -> httpx.Response:
        """Open a page, and go where it leads."""
        return await self.http.get(f"/console{path}", follow_redirects=True)

    async def page(self, path: str) -> str:
        """Return the text of a page that must be one."""
        answer = await self.get(path)
        assert answer.status_code == httpx.codes.OK, (path, answer.status_code, answer.text)
        return unescape(answer.text)

    async def send(self, path: str, fields: FormFields | None = None) -> httpx.Response:
        """Send a form, with its token; return the answer without following it."""
        data = {"csrf": self.csrf, **(fields or {})}
        return await self.http.post(f"/console{path}", data=data)

    async def change(self, path: str, fields: FormFields | None = None) -> httpx.Response:
        """Send a form that must succeed; return the page after it."""
        answer = await self.send(path, fields)
        assert answer.status_code in {200, 303}, (path, answer.status_code, answer.text)
        if answer.status_code == httpx.codes.SEE_OTHER:
            return await self.http.get(answer.headers["location"], follow_redirects=True)
        return answer


async def signed_in_tenant(app: AppHarness, key: str) -> Browser:
    """Return the browser of a tenant."""
    browser = Browser(app)
    await browser.sign_in(key)
    return browser


async def signed_in_operator(app: AppHarness, *roles: Role) -> Browser:
    """Return the browser of an operator with these roles; without any, of the admin token."""
    secret = await create_operator(app, "ada", roles) if roles else ADMIN_TOKEN
    browser = Browser(app)
    await browser.sign_in(secret)
    return browser
