"""The console in a real browser: each action is checked through the API, with scripts and without.

Chromium of the machine is driven by Playwright; axe-core looks for what keeps people out.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.stack import Stack, TenantCredentials
from tests.support.stack import END_TIMEOUT, running_stack

pytest.importorskip("playwright", reason="playwright: not installed; `make install` does it")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(  # a bare Debian has no browser; `.ci/run` installs it
    CHROMIUM is None, reason="chromium: not installed"
)
ADMIN_TOKEN: Final = "an-admin-token-of-at-least-32-characters"
MODEL: Final = "kling/kling-3.0/pro/text-to-video"
TIMEOUT_MS: Final = 60_000
SERIOUS: Final = frozenset({"serious", "critical"})
PHONE: Final = {"width": 390, "height": 800}
DESKTOP: Final = {"width": 1280, "height": 800}
TENANT_PAGES: Final = (
    "/home",
    "/requests",
    "/playground",
    f"/playground/{MODEL}",
    "/webhooks",
    "/usage",
    "/usage?by=model",
    "/batches",
    "/keys",
    "/files",
)
OPERATOR_PAGES: Final = (
    "/operator",
    "/operator/in-doubt",
    "/operator/tenants",
    "/operator/tenants/video-team",
    "/operator/requests",
    "/operator/usage",
    "/operator/catalogue",
    "/operator/audit?verify=1",
    "/operator/operators",
    "/operator/settings",
    "/operator/about",
)


class World:
    """A running gateway with a tenant, and how tests ask its API."""

    def __init__(self, stack: Stack, tenant: TenantCredentials) -> None:
        """Call the API as `tenant` and as operator."""
        self.stack, self.tenant = stack, tenant

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return what the API answers: the document, or None where there is nothing."""
        answer = httpx.request(
            method,
            f"{self.stack.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token or self.tenant.key}"},
            trust_env=False,
        )
        if answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
            return None
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def admin(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Return what the admin API answers."""
        return self.call("GET", f"/admin/v1{path}", token=ADMIN_TOKEN)

    def submit(self, prompt: str) -> str:
        """Submit a request; return its id."""
        request_id: str = self.call("POST", f"/v1/models/{MODEL}", {"prompt": prompt})["request_id"]
        return request_id

    def status(self, request_id: str) -> str:
        """Return the status of a request."""
        status: str = self.call("GET", f"/v1/requests/{request_id}/status")["gateway_status"]
        return status

    def wait_for_status(self, request_id: str, status: str) -> None:
        """Wait until a request has this status."""
        wait_for(lambda: self.status(request_id) == status or None, END_TIMEOUT, status)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway whose console is on, and a tenant with a completed request and a batch."""
    environment = {
        "GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN,
        "GATEWAY_WEBHOOKS__ALLOWED_TARGETS": '["127.0.0.1"]',
    }
    with running_stack(tmp_path_factory.mktemp("console"), environment) as stack:
        world = World(
            stack,
            stack.create_tenant(
                "video-team", "--usd-per-day", "500", "--unknown-price-counts", "1"
            ),
        )
        done = world.submit("A lighthouse in the fog.")
        world.call(
            "POST",
            "/v1/batches",
            {"items": [{"model_id": MODEL, "input": {"prompt": f"Wave {n}."}} for n in range(2)]},
        )
        world.wait_for_status(done, "completed")
        yield world


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


class Console:
    """One signed-in browser, and what went wrong in its pages."""

    def __init__(self, world: World, page: Page) -> None:
        """Visit the console of `world`."""
        self.world, self.page = world, page
        self.problems: list[str] = []
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("response", lambda answer: self._note(answer.status, answer.url))

    def _note(self, status: int, url: str) -> None:
        if status >= httpx.codes.BAD_REQUEST and url.startswith(self.world.stack.url):
            self.problems.append(f"{self.page.url}: {status} {url}")

    def open(self, path: str) -> Page:
        """Open a page of the console."""
        self.page.goto(f"{self.world.stack.url}/console{path}", wait_until="domcontentloaded")
        return self.page

    def sign_in(self, secret: str) -> None:
        """Sign in with a key or a token."""
        self.open("/sign-in").fill("#secret", secret)
        self.page.click("main button[type=submit]")
        self.page.wait_for_selector("text=Sign out")

    def press(self, label: str, within: Locator | None = None) -> None:
        """Press the button with this label."""
        scope = within or self.page.locator("main")
        scope.locator("button", has_text=re.compile(f"^{label}$")).first.click()

    def confirm(self, label: str, within: Locator | None = None) -> None:
        """Open what asks for a confirmation, and confirm."""
        scope = within or self.page.locator("main")
        summary = self.page.locator("summary", has_text=re.compile(f"^{label}$"))
        asked = scope.locator("details.confirm", has=summary).first
        asked.locator("summary").click()
        asked.locator("button[type=submit]").click()

    def form(self, action: str, summary: str = "") -> Locator:
        """Return the form that goes to this address; open the part in which it is."""
        if summary:
            self.page.locator("summary", has_text=re.compile(f"^{summary}$")).first.click()
        return self.page.locator(f'main form[action$="{action}"]').first

    def succeeded(self) -> None:
        """Wait for the notice that something was done."""
        self.page.wait_for_selector(".notice.good[role=status]")


@contextmanager
def visiting(world: World, browser: Browser, **options: Any) -> Iterator[Console]:  # noqa: ANN401 - of a context
    """Visit the console with a browser of its own; pages must have no error."""
    context = browser.new_context(**options)
    try:
        console = Console(world, context.new_page())
        yield console
        assert not console.problems
    finally:
        context.close()


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", DESKTOP), ("dark", DESKTOP), ("dark", PHONE), ("light", PHONE)]
)
def test_every_page_can_be_used_by_everybody(
    world: World, browser: Browser, scheme: str, size: dict[str, int]
) -> None:
    axe, found = Axe(), []
    for secret, pages in ((world.tenant.key, TENANT_PAGES), (ADMIN_TOKEN, OPERATOR_PAGES)):
        with visiting(world, browser, color_scheme=scheme, viewport=size) as console:
            violations = axe.run(console.open("/sign-in")).response["violations"]
            console.sign_in(secret)
            request = world.call("GET", "/v1/requests?status=completed")["requests"][0]
            root = "/requests" if secret == world.tenant.key else "/operator/requests"
            for path in (*pages, f"{root}/{request['request_id']}"):
                page = console.open(path)
                violations += axe.run(page).response["violations"]
                is_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                found += [f"{path} is wider than the window"] if is_wide else []
                found += [
                    f"{path}: {one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
                    for one in violations
                    if one["impact"] in SERIOUS
                ]
                violations = []
    assert not found


@pytest.mark.parametrize("java_script", [True, False], ids=["scripts", "no scripts"])
def test_a_tenant_does_everything(world: World, browser: Browser, *, java_script: bool) -> None:
    with visiting(world, browser, java_script_enabled=java_script) as console:
        page = console.page
        console.sign_in(world.tenant.key)
        submitted = _submit(console, "A lighthouse by night.")
        world.wait_for_status(submitted, "completed")
        if java_script:
            page.wait_for_selector(".status.completed")
        console.open(f"/requests/{submitted}")
        page.wait_for_selector("main video")
        page.click("main a.button:has-text('Again')")
        assert "by night" in page.input_value("main textarea[name='in.prompt']")
        slow = _submit(console, "A slow one. [sim:queue=300] [sim:run=300]")
        console.confirm("Cancel")
        console.succeeded()
        world.wait_for_status(slow, "cancelled")
        wait_for(lambda: _delete(console, submitted) or None, END_TIMEOUT, "the request is deleted")
        assert world.call("GET", f"/v1/requests/{submitted}") is None
        console.open("/requests")
        page.select_option("select[name=status]", "cancelled")
        console.press("Filter")
        assert slow in page.locator("main").inner_text()
        _webhooks(console)
        with page.expect_download() as download:
            console.open("/usage").click("text=Download CSV")
        assert Path(download.value.path()).read_text().startswith("day,jobs,")
        page.click("text=Sign out")
        assert "/sign-in" in console.open("/home").url


def _submit(console: Console, prompt: str) -> str:
    page = console.open(f"/playground/{MODEL}")
    page.fill("main textarea[name='in.prompt']", prompt)
    console.press("Submit", page.locator("main form").first)
    page.wait_for_url(re.compile("/console/requests/"))
    return page.url.rpartition("/")[2].partition("?")[0]


def _delete(console: Console, request_id: str) -> bool:
    """Try to delete a request: it cannot be while its webhook is pending."""
    console.open(f"/requests/{request_id}")
    console.confirm("Delete")
    console.page.wait_for_load_state()
    is_gone = console.world.call("GET", f"/v1/requests/{request_id}") is None
    if not is_gone:
        console.problems.clear()
    return is_gone


def _webhooks(console: Console) -> None:
    world, page = console.world, console.page

    def made() -> list[dict[str, Any]]:
        listed = world.call("GET", "/v1/webhooks/endpoints")["endpoints"]
        return [one for one in listed if one["url"].endswith("/browser")]

    console.open("/webhooks")
    form = console.form("/webhooks/endpoints", "New endpoint")
    form.locator("input[name=url]").fill(world.stack.webhook_url("browser"))
    form.locator("button").click()
    console.succeeded()
    (endpoint,) = made()
    for label, enabled in (("Disable", False), ("Enable", True)):
        console.press(label, page.locator("article.card", has_text=endpoint["id"]))
        console.succeeded()
        assert made()[0]["enabled"] is enabled
    console.press("Send a test event")
    console.succeeded()
    console.confirm("Delete", page.locator("article.card", has_text=endpoint["id"]))
    console.succeeded()
    assert not made()
    page.locator("summary", has_text=re.compile("^Secret$")).click()
    page.click("text=New HMAC secret")
    page.wait_for_selector("text=whsec_")


@pytest.mark.parametrize("java_script", [True, False], ids=["scripts", "no scripts"])
def test_an_operator_does_everything(world: World, browser: Browser, *, java_script: bool) -> None:
    with visiting(world, browser, java_script_enabled=java_script) as console:
        link = world.stack.create_console_link("link")
        console.page.goto(link, wait_until="domcontentloaded")
        if not java_script:
            console.press("Sign in")
        console.page.wait_for_url(re.compile("/console/operator"))
        _tenants(console, "scripted" if java_script else "plain")
        _pauses(console)
        _doubts(console, "scripted" if java_script else "plain")


def _tenants(console: Console, name: str) -> None:
    world, page = console.world, console.page
    console.open("/operator/tenants")
    form = console.form("/operator/tenants", "New tenant")
    form.locator("[name=tenant]").fill(name)
    form.locator("[name=usd_per_day]").fill("12.50")
    form.locator("button").click()
    page.wait_for_selector("text=rcg_")
    assert world.admin(f"/tenants/{name}")["usd_per_day"] == 12.5
    console.open(f"/operator/tenants/{name}").fill("#set-running", "3")
    page.locator("form.settings button").click()
    console.succeeded()
    assert world.admin(f"/tenants/{name}")["running"] == 3
    console.open(f"/operator/tenants/{name}")
    console.form("/keys", "New key").locator("button").click()
    page.wait_for_selector("text=rcg_")
    assert len(world.admin(f"/tenants/{name}/keys")["keys"]) == 2
    console.open(f"/operator/tenants/{name}")
    console.confirm("Revoke")
    console.succeeded()
    assert len(world.admin(f"/tenants/{name}/keys")["keys"]) == 1
    console.confirm("Delete", page.locator("main > .actions"))
    console.succeeded()
    assert world.admin(f"/tenants/{name}") is None


def _pauses(console: Console) -> None:
    world = console.world
    console.open("/operator")
    form = console.form("/operator/pause", "Pause")
    form.locator("select").select_option("model")
    form.locator("[name=name]").fill(MODEL)
    form.locator("button").click()
    console.succeeded()
    assert world.admin("/limits")["paused"] == [f"model:{MODEL}"]
    console.press("Resume")
    console.succeeded()
    assert world.admin("/limits")["paused"] == []
    form = console.form("/operator/limits")
    form.locator("[name=running]").fill("70")
    form.locator("button").click()
    console.succeeded()
    assert world.admin("/limits")["running"] == 70


def _doubts(console: Console, name: str) -> None:
    """A submit without an answer, which the operator declares lost."""
    world = console.world
    request_id = world.submit(f"Lost, {name}. [sim:lost_after*1]")

    def is_in_doubt() -> bool | None:
        return (
            any(one["request_id"] == request_id for one in world.admin("/doubts")["doubts"]) or None
        )

    wait_for(is_in_doubt, END_TIMEOUT, "the submit is in doubt")
    card = console.open("/operator/in-doubt").locator("article.card", has_text=request_id)
    console.confirm("Lost", card)
    console.succeeded()
    world.wait_for_status(request_id, "failed")
