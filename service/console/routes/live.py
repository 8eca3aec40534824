"""Live parts of pages, as server-sent events.

Consoles of one key share each read and each rendering: a thousand of them cost one query a second.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import GatewayError, NotFound
from service.console.filters import REQUEST_FILTERS, chosen
from service.console.pages import AnyPage, Page, base_path, console_router, frame_values
from service.console.rendering import environment
from service.console.routes import operator, tenant
from service.console.sessions import check_identity
from service.errors import TooManyWaiters
from service.http.request_context import request_context
from service.streaming.event_stream import MEDIA_TYPE
from service.streaming.subscriptions import STOP_REASONS, Subscription

router = console_router()
INTERVAL: Final = timedelta(seconds=2)
HEARTBEATS: Final = 7
"""Intervals without a change after which a comment is sent."""
MAX_STREAM: Final = timedelta(minutes=30)
"""A browser connects again after it."""
_HEADERS: Final = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
ReadValues = Callable[[Page, str], Awaitable[dict[str, Any]]]


async def _home(page: Page, _: str) -> dict[str, Any]:
    return await tenant.home_values(page)


async def _requests(page: Page, _: str) -> dict[str, Any]:
    return await tenant.requests_values(page)


async def _overview(page: Page, _: str) -> dict[str, Any]:
    return await operator.overview_values(page)


LIVE: Final[Mapping[str, tuple[bool, str, ReadValues]]] = {
    "home": (False, "home_fragment.html", _home),
    "requests": (False, "requests_fragment.html", _requests),
    "request": (False, "request_fragment.html", tenant.request_state),
    "overview": (True, "overview_fragment.html", _overview),
}
"""By name: whether it is for operators, its template, and what reads its values."""


@router.get("/live/{name}")
async def follow_page(page: AnyPage, name: str) -> Response:
    """Send a part of a page whenever it changes."""
    return await _follow(page, name, "")


@router.get("/live/{name}/{subject}")
async def follow_subject(page: AnyPage, name: str, subject: str) -> Response:
    """Send a part of a page about one request whenever it changes."""
    return await _follow(page, name, subject)


@router.get("/reload")
async def reload_page(_: AnyPage) -> Response:
    """Let the page load again: what it shows has ended."""
    return Response(status_code=204, headers={"hx-refresh": "true"})


async def _follow(page: Page, name: str, subject: str) -> Response:
    for_operators, _, _ = LIVE.get(name, (None, "", None))
    if for_operators is not page.user.is_operator:
        raise NotFound
    page = replace(page, user=page.user.uncounted())
    await _fragment(page, name, subject)  # an error is a page, not a stream
    if request_context(page.request.scope).is_head:
        return Response(media_type=MEDIA_TYPE)
    # Other parts than a request's are of no job.
    subscription = page.context.subscriptions.subscribe(subject, page.user.tenant)
    if subscription is None:
        raise TooManyWaiters
    return LiveResponse(_events(page, name, subject, subscription), subscription)


class LiveResponse(StreamingResponse):
    """An event stream that ends its subscription, whether it was begun or not."""

    def __init__(self, events: AsyncIterator[str], subscription: Subscription) -> None:
        """Send `events`, which wait with `subscription`."""
        super().__init__(events, media_type=MEDIA_TYPE, headers=_HEADERS)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        with self._subscription:
            await super().__call__(scope, receive, send)


async def _events(
    page: Page, name: str, subject: str, subscription: Subscription
) -> AsyncIterator[str]:
    context, last, quiet = page.context, "", 0
    until = context.clock.monotonic() + MAX_STREAM
    while context.clock.monotonic() < until:
        try:
            await check_identity(context, page.user)
            fragment = await _fragment(page, name, subject)
        except GatewayError:  # the key was revoked, or the store does not answer: it connects again
            return
        quiet = quiet + 1 if fragment == last else 0
        if fragment != last:
            last = fragment
            yield _event(fragment)
        elif quiet % HEARTBEATS == 0:
            yield ":\n\n"
        if await subscription.wait(INTERVAL) in STOP_REASONS:
            return


async def _fragment(page: Page, name: str, subject: str) -> str:
    _, template, read = LIVE[name]

    async def render() -> str:
        values = frame_values(page.request, page.user) | await read(page, subject)
        return environment().get_template(template).render(values | {"live": True})

    key = (
        name,
        subject,
        page.user.identity,
        base_path(page.request),
        str(chosen(page.query, REQUEST_FILTERS)),
    )
    return await page.context.shared_reads.get(key, render)


def _event(fragment: str) -> str:
    lines = "".join(f"data: {line}\n" for line in fragment.splitlines() if line.strip())
    return f"event: fragment\n{lines}\n"
