"""Fetches outputs from RunComfy's media hosts, or from those that the operator allows.

An address comes from RunComfy's answer, which may repeat what a model or a caller wrote: it is
checked as a webhook's is, name and resolved address, and so is each redirect.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from core.archive import ArchiveError
from core.webhooks.url_policy import Refusal, RefusalReason
from worker.ports import Media, MediaUnavailable
from worker.proxy import Proxy
from worker.sources.checked_get import NoAddress, follow_redirects, get_pinned
from worker.webhooks.resolved_target import PinnedTarget, ResolverUnavailable

RUNCOMFY_MEDIA_DOMAINS: Final = ("runcomfy.net", "runcomfy.com")
"""Outputs are on hosts of these domains."""
_READ_BYTES: Final = 64 * 1024
_OK: Final = 200
_HEADERS: Final = {"accept-encoding": "identity"}
_GONE: Final = frozenset({404, 410})
_NETWORK_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)


ResolveMedia = Callable[[str], Awaitable[PinnedTarget | Refusal]]
"""Checks and resolves an address. Raises `ResolverUnavailable` if no name can be looked up."""


class MediaClient:
    """`MediaSource` over HTTP."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolve: ResolveMedia,
        connect_timeout: timedelta,
        idle_timeout: timedelta,
        total_timeout: timedelta,
        proxy: Proxy | None = None,
    ) -> None:
        """`idle_timeout` is between two pieces, `total_timeout` of one output.

        Hosts on the operator's list are called directly, others by `proxy` if there is one.
        """
        self._session = session
        self._resolve = resolve
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout.total_seconds(),
            sock_connect=connect_timeout.total_seconds(),
            sock_read=idle_timeout.total_seconds(),
        )

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Media]:
        """See `MediaSource.fetch`."""
        response = await self._open(url)
        try:
            declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            yield Media(declared, _read(response, url))
        finally:
            response.close()

    async def _open(self, url: str) -> aiohttp.ClientResponse:
        try:
            response = await follow_redirects(url, self._get)
        except NoAddress as error:
            message = f"{_host(url)} redirects to what is no address"
            raise MediaUnavailable(ArchiveError.HOST, message) from error
        if response.status == _OK:
            return response
        response.close()
        gone = response.status in _GONE
        reason = ArchiveError.GONE if gone else ArchiveError.UNREACHABLE
        raise MediaUnavailable(reason, f"{_host(url)} answered {response.status}")

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        target = await self._check(url)
        proxy = None if target.is_allowed else self._proxy
        try:
            return await get_pinned(self._session, target, _HEADERS, proxy, self._timeout)
        except _NETWORK_ERRORS as error:
            raise MediaUnavailable(ArchiveError.UNREACHABLE, _describe(url, error)) from error

    async def _check(self, url: str) -> PinnedTarget:
        try:
            target = await self._resolve(url)
        except ResolverUnavailable as error:
            raise MediaUnavailable(ArchiveError.UNREACHABLE, _describe(url, error)) from error
        if isinstance(target, Refusal):
            unresolved = target.reason is RefusalReason.UNRESOLVED
            reason = ArchiveError.UNREACHABLE if unresolved else ArchiveError.HOST
            raise MediaUnavailable(reason, f"{_host(url)}: {target.message}")
        if not (target.is_allowed or is_media_host(_host(url))):
            raise MediaUnavailable(ArchiveError.HOST, f"{_host(url)} is no media host")
        return target


def is_media_host(host: str) -> bool:
    """Return whether a host is RunComfy's."""
    return any(host == domain or host.endswith(f".{domain}") for domain in RUNCOMFY_MEDIA_DOMAINS)


def _host(url: str) -> str:
    """Return the host of an address; its path and query may be secret."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _describe(url: str, error: Exception) -> str:
    return f"{_host(url)}: {type(error).__name__}"


async def _read(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(_READ_BYTES):
            yield chunk
    except _NETWORK_ERRORS as error:
        raise MediaUnavailable(ArchiveError.UNREACHABLE, _describe(url, error)) from error
