"""Gets what is at a checked address by HTTP, and follows redirects that are checked as well.

A request goes to the address that was checked, not to a name that could by then be another's.
Nothing is sent but the request: no cookie, no credential of a host.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from worker.proxy import Proxy
from worker.webhooks.resolved_target import PinnedTarget

MAX_REDIRECTS: Final = 3
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class NoAddress(Exception):
    """A redirect leads to what is no address."""


async def get_pinned(
    session: aiohttp.ClientSession,
    pinned: PinnedTarget,
    headers: Mapping[str, str],
    proxy: Proxy | None = None,
    time_limits: aiohttp.ClientTimeout | None = None,
) -> aiohttp.ClientResponse:
    """Return the answer of one request. `time_limits` replace all of the session's.

    Raises what aiohttp raises.
    """
    return await session.get(
        URL(pinned.url, encoded=True),
        headers={"host": pinned.target.authority, **headers},
        server_hostname=pinned.server_name,
        proxy=None if proxy is None else proxy.url,
        proxy_headers=None if proxy is None else proxy.headers,
        allow_redirects=False,
        timeout=session.timeout if time_limits is None else time_limits,
    )


async def follow_redirects(
    url: str,
    get: Callable[[str], Awaitable[aiohttp.ClientResponse]],
    max_redirects: int = MAX_REDIRECTS,
) -> aiohttp.ClientResponse:
    """Return the first answer that is no redirect, or the last redirect that may be followed.

    `get` checks each address before it calls it. Raises `NoAddress`, and what `get` raises.
    """
    place = url
    for _ in range(max_redirects):
        response = await get(place)
        location = response.headers.get("location")
        if response.status not in REDIRECTS or location is None:
            return response
        response.close()
        try:
            place = urljoin(place, location)
        except ValueError as error:
            raise NoAddress from error
    return await get(place)
