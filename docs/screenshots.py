"""Draws the console's images in docs/images: `python -m docs.screenshots [FOLDER]`.

Starts a stack with a simulated RunComfy, sends traffic, gives it a past of two weeks, and opens
pages in a chromium of the machine. With a folder, every page of `PAGES` is drawn there in light,
dark and phone width; without one, only the images that the documentation has.
"""

import asyncio
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from pydantic import SecretStr

from core.clock import SystemClock
from core.settings.definitions import RedisPolicy
from core.store import keys
from core.store.booking import day_text
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from core.tenants.windows import UTC_CALENDAR
from simulator.demo import wait_for
from simulator.media import media_path
from simulator.stack import Stack, StackPlan, TenantCredentials, run_stack, without_settings

IMAGES: Final = Path(__file__).parent / "images"
ADMIN_TOKEN: Final = "an-admin-token-of-at-least-32-characters"  # noqa: S105 - of a stack of our own
VIDEO: Final = "kling/kling-3.0/standard/image-to-video"
PICTURE: Final = "lumen/lumen-2/text-to-image"
SHORT: Final = "fable/fable-1.5/text-to-video"
TENANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "video-team": ("--usd-per-day", "250", "--usd-per-month", "4000", "--running", "12"),
    "shop": ("--usd-per-day", "150", "--usd-per-month", "2500"),
    "research": ("--usd-per-month", "3000", "--jobs-per-day", "500"),
}
PROMPTS: Final = (
    "A lighthouse in the fog, waves against the rocks, slow push in.",
    "A paper boat drifts down a rainy street.",
    "Morning light over terraced fields, drone shot.",
    "A glass teapot, steam rising, macro.",
    "A train crosses a viaduct at dusk.",
    "Snow falls on an old observatory.",
)
CAMPAIGNS: Final = ("spring", "launch", "social")
PAST_DAYS: Final = 24
DESKTOP: Final = (1280, 800)
PHONE: Final = (390, 844)
SETTLE: Final = timedelta(seconds=1.5)
"""After it a page has its pictures, and its first live update."""
TRAFFIC_TIME: Final = timedelta(seconds=150)
TIMEOUT: Final = timedelta(seconds=60)
MAX_COLOURS: Final = 200
SEED: Final = 7
Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Shot:
    """One image: which page, as whom, in which colours and width; "" for the sign-in page."""

    name: str
    path: str
    user: str = "video-team"
    scheme: Scheme = "light"
    size: tuple[int, int] = DESKTOP


OPERATOR: Final = "operator"
DOCUMENTED: Final = (
    Shot("console-overview", "/operator", OPERATOR),
    Shot("console-request", "/requests/{done}"),
    Shot("console-playground", f"/playground/{VIDEO}", scheme="dark"),
    Shot("console-phone", "/home", scheme="dark", size=PHONE),
)
PAGES: Final = (
    *(
        Shot(name, path)
        for name, path in (
            ("home", "/home"),
            ("requests", "/requests"),
            ("request", "/requests/{done}"),
            ("failed", "/requests/{failed}"),
            ("playground", f"/playground/{VIDEO}"),
            ("models", "/playground"),
            ("webhooks", "/webhooks"),
            ("usage", "/usage"),
            ("usage-model", "/usage?by=model"),
            ("batches", "/batches"),
            ("keys", "/keys"),
            ("files", "/files"),
            ("empty", "/requests?reference=nothing"),
        )
    ),
    *(
        Shot(f"operator-{name}", path, OPERATOR)
        for name, path in (
            ("overview", "/operator"),
            ("in-doubt", "/operator/in-doubt"),
            ("tenants", "/operator/tenants"),
            ("tenant", "/operator/tenants/video-team"),
            ("requests", "/operator/requests"),
            ("request", "/operator/requests/{done}"),
            ("usage", "/operator/usage"),
            ("usage-tenant", "/operator/usage?by=tenant"),
            ("catalogue", "/operator/catalogue"),
            ("audit", "/operator/audit"),
            ("operators", "/operator/operators"),
            ("settings", "/operator/settings?changed=1"),
            ("about", "/operator/about"),
        )
    ),
    Shot("sign-in", "/sign-in", ""),
)
VIEWS: Final[tuple[tuple[str, Scheme, tuple[int, int]], ...]] = (
    ("light", "light", DESKTOP),
    ("dark", "dark", DESKTOP),
    ("phone", "light", PHONE),
)


@dataclass(slots=True)
class World:
    """A running stack, its tenants, and requests to show."""

    stack: Stack
    tenants: dict[str, TenantCredentials]
    files: dict[str, str] = field(default_factory=dict)
    """An uploaded picture of each tenant."""
    random: Random = field(default_factory=lambda: Random(SEED))  # noqa: S311 - chooses prompts

    def call(self, tenant: str, method: str, path: str, body: object = None, **query: str) -> Any:  # noqa: ANN401 - JSON
        """Return what the API answers a tenant."""
        answer = httpx.request(
            method,
            f"{self.stack.url}{path}",
            json=body,
            params=query,
            headers=self.tenants[tenant].auth_header,
            trust_env=False,
            timeout=TIMEOUT.total_seconds(),
        )
        if answer.is_error:
            raise RuntimeError(f"{answer.status_code} {answer.text}")
        return answer.json()

    def submit(self, tenant: str, model: str = VIDEO, mark: str = "") -> str:
        """Submit a request; return its id."""
        prompt = f"{self.random.choice(PROMPTS)} {mark}".strip()
        label = f"campaign:{self.random.choice(CAMPAIGNS)}"
        body: dict[str, object] = {"prompt": f"{prompt} #{self.random.randrange(10_000)}"}
        if model == VIDEO:
            body |= {"start_image_url": f"gateway-file:{self.files[tenant]}", "duration": 5}
        answer = self.call(tenant, "POST", f"/v1/models/{model}", body, label=label)
        request_id: str = answer["request_id"]
        return request_id

    def wait_for(self, tenant: str, request_id: str, statuses: Sequence[str]) -> None:
        """Wait until a request has one of these statuses."""

        def has_status() -> bool | None:
            answer = self.call(tenant, "GET", f"/v1/requests/{request_id}/status")
            return answer["gateway_status"] in statuses or None

        wait_for(has_status, TRAFFIC_TIME, f"{request_id} with status {statuses}")


def upload(stack: Stack, tenant: TenantCredentials) -> str:
    """Upload a picture; return its id."""
    answer = httpx.post(
        f"{stack.url}/v1/files",
        content=media_path("output.png").read_bytes(),
        headers={**tenant.auth_header, "content-type": "image/png"},
        trust_env=False,
    )
    answer.raise_for_status()
    file_id: str = answer.json()["file_id"]
    return file_id


def send_traffic(world: World) -> dict[str, str]:
    """Submit requests of all kinds; return the ids that pages show."""
    done = world.submit("video-team", mark="[sim:queue=3] [sim:run=9]")
    failed = world.submit("video-team", mark="[sim:failed]")
    world.submit("video-team", mark="[sim:lost_after]")
    world.submit("shop", mark="[sim:lost_after]")
    last = done
    for number in range(75):
        tenant = ("video-team", "video-team", "shop", "research")[number % 4]
        last = world.submit(tenant, (VIDEO, PICTURE, SHORT)[number % 3])
    items = [{"model_id": SHORT, "input": {"prompt": prompt}} for prompt in PROMPTS]
    world.call("video-team", "POST", "/v1/batches", {"items": items})
    world.wait_for("video-team", done, ["completed"])
    world.wait_for("video-team", failed, ["failed"])
    wait_for(lambda: _is_idle(world) or None, TRAFFIC_TIME, "the end of the traffic")
    for mark in ("[sim:run=600]", "[sim:run=600]", "[sim:queue=600]"):
        last = world.submit("video-team", mark=mark)
    return {"done": done, "failed": failed, "last": last}


def _is_idle(world: World) -> bool:
    """Return whether no request of any tenant waits or runs."""
    found = [world.call(tenant, "GET", "/v1/usage") for tenant in world.tenants]
    return not any(use["waiting"]["used"] or use["running"]["used"] > 1 for use in found)


async def write_past(redis_url: str, tenants: Sequence[str], random: Random) -> None:
    """Give tenants a usage on days before today: today's, more or less of it."""
    now = SystemClock().now()
    settings = RedisPolicy(SecretStr(redis_url), (), "", TIMEOUT, TIMEOUT)
    async with RedisClient(build_connection_pool(settings, "screenshots")) as client:
        stores = open_stores(client, LuaScripts(client, load_scripts()), SystemClock())
        for name in tenants:
            before = await stores.tenants.load(name)
            if before is not None:
                since = now - timedelta(days=PAST_DAYS + 1)
                await stores.tenants.change(before, replace(before, created_at=since))
            for day, factor in _past_days(now, random):
                await _copy_day(client, name, (day_text(now.date()), day_text(day)), factor)
                await _add_to_windows(client, name, (now.date(), day), factor)


async def _add_to_windows(
    client: RedisClient, tenant: str, days: tuple[date, date], factor: int
) -> None:
    """Count a day's copy in the windows that have both days, such as the month."""
    today, past = ([one.name for one in UTC_CALENDAR.windows_of(day)] for day in days)
    source = await client.execute("HGET", keys.usage(tenant), today[0])
    for name in set(today) & set(past):
        held = _numbers(await client.execute("HGET", keys.usage(tenant), name))
        sums = [a + b * factor for a, b in zip(held, _numbers(source), strict=True)]
        await client.execute("HSET", keys.usage(tenant), name, struct.pack(f">{len(sums)}q", *sums))


def _numbers(row: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(row) // 8}q", row)


def _past_days(now: datetime, random: Random) -> Iterator[tuple[date, int]]:
    """Yield each day with a whole factor: parts of a sum stay equal to it."""
    for ago in range(1, PAST_DAYS + 1):
        day = (now - timedelta(days=ago)).date()
        is_weekend = day.weekday() >= 5  # noqa: PLR2004 - Saturday
        yield day, random.choice((0, 1)) if is_weekend else random.choice((1, 2, 2, 3, 4))


async def _copy_day(client: RedisClient, tenant: str, days: tuple[str, str], factor: int) -> None:
    source, target = (keys.usage_history(tenant, day) for day in days)
    flat = await client.execute("HGETALL", source)
    for name, row in zip(flat[::2], flat[1::2], strict=True):
        await client.execute("HSET", target, name, _scaled(row, factor))


def _scaled(row: bytes, factor: int) -> bytes:
    """Return a row of sums, which are 64-bit integers, times a factor; any other field as it is."""
    count, rest = divmod(len(row), 8)
    if rest or count < 2:  # noqa: PLR2004 - the number of a day's rows
        return row
    return struct.pack(f">{count}q", *(one * factor for one in _numbers(row)))


def draw(world: World, ids: Mapping[str, str], shots: Sequence[Shot], folder: Path) -> None:
    """Open each page and write its image."""
    command = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=command, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        views = {(shot.user, shot.scheme, shot.size) for shot in shots}
        for view in sorted(views):
            page = _signed_in(browser, world, *view)
            for shot in shots:
                if (shot.user, shot.scheme, shot.size) == view:
                    _draw_page(page, world, shot, ids, folder)
            page.context.close()
        browser.close()


def _signed_in(
    browser: Browser,
    world: World,
    user: str,
    scheme: Scheme,
    size: tuple[int, int],
) -> Page:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2 if size == PHONE else 1,
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT.total_seconds() * 1000)
    if user:
        page.goto(f"{world.stack.url}/console/sign-in")
        secret = ADMIN_TOKEN if user == OPERATOR else world.tenants[user].key
        page.fill("#secret", secret)
        page.click("main button[type=submit]")
        page.wait_for_selector("text=Sign out")
    return page


def _draw_page(page: Page, world: World, shot: Shot, ids: Mapping[str, str], folder: Path) -> None:
    page.goto(f"{world.stack.url}/console{shot.path.format(**ids)}")
    page.wait_for_timeout(SETTLE.total_seconds() * 1000)
    is_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    print(shot.name, "is wider than the window" if is_wide else "")
    whole = folder != IMAGES
    image = Image.open(BytesIO(page.screenshot(full_page=whole)))
    image.convert("RGB").quantize(MAX_COLOURS).save(folder / f"{shot.name}.png", optimize=True)


def all_views() -> list[Shot]:
    """Return every page in every view."""
    return [
        replace(shot, name=f"{shot.name}-{name}", scheme=scheme, size=size)
        for shot in PAGES
        for name, scheme, size in VIEWS
    ]


def main(arguments: Sequence[str]) -> None:
    """Draw the documentation's images, or with a folder every page."""
    folder = Path(arguments[0]) if arguments else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        environment = {**without_settings({}), "GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN}
        options = ("--queue-seconds", "0..1", "--run-seconds", "2..8", "--balance-usd", "900")
        plan = StackPlan(
            Path(place), environment=environment, runcomfy_options=options, keeps_outputs=True
        )
        with run_stack(plan) as stack:
            tenants = {
                name: stack.create_tenant(name, *flags, "--unknown-price-counts", "0.4")
                for name, flags in TENANTS.items()
            }
            files = {name: upload(stack, tenant) for name, tenant in tenants.items()}
            world = World(stack, tenants, files)
            ids = send_traffic(world)
            asyncio.run(write_past(stack.redis_url, list(tenants), world.random))
            draw(world, ids, all_views() if arguments else DOCUMENTED, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
