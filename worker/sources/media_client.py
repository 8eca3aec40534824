"""Fetches outputs from RunComfy's media hosts, or from those that the operator allows.

An address comes from RunComfy's answer, which may repeat what a model or a caller wrote: it is
checked as a webhook's is, name and resolved address, and so is each redirect.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from core.archive import ArchiveError
from core.webhooks.url_policy import Refusal, RefusalReason
from worker.ports import Media, MediaUnavailable
from worker.proxy import Proxy

RUNCOMFY_MEDIA_DOMAINS: Final = ("runcomfy.net", "runcomfy.com")
"""Outputs are on hosts of these domains."""
MAX_REDIRECTS: Final = 3
_READ_BYTES: Final = 64 * 1024
_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})
_NETWORK_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class ResolvedMedia:
    """Where to connect for an address: `url` has the checked IP address in place of the name.

    `authority` is the `Host` header, `server_name` that of TLS, if it is by name.
    """

    url: str
    authority: str
    server_name: str | None
    is_allowed: bool
    """Whether the operator's list has the host or its address."""
    proxy: Proxy | None = None


ResolveMedia = Callable[[str], Awaitable[ResolvedMedia | Refusal]]
"""Checks and resolves an address. May raise `OSError` if no name can be looked up."""


class MediaFetcher:
    """`MediaSource` over HTTP."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        resolve: ResolveMedia,
        connect_timeout: timedelta,
        idle_timeout: timedelta,
        total_timeout: timedelta,
    ) -> None:
        """`idle_timeout` is between two pieces, `total_timeout` of one output.

        A timeout of a request replaces all of its session's.
        """
        self._session = session
        self._resolve = resolve
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout.total_seconds(),
            sock_connect=connect_timeout.total_seconds(),
            sock_read=idle_timeout.total_seconds(),
        )

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Media]:
        """See `MediaSource.fetch`."""
        response = await self._open(url, MAX_REDIRECTS)
        try:
            declared = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            yield Media(declared, _read(response, url))
        finally:
            response.close()

    async def _open(self, url: str, redirects_left: int) -> aiohttp.ClientResponse:
        target = await self._check(url)
        try:
            response = await self._session.get(
                URL(target.url, encoded=True),
                headers={"host": target.authority, "accept-encoding": "identity"},
                server_hostname=target.server_name,
                proxy=None if target.proxy is None else target.proxy.url,
                proxy_headers=None if target.proxy is None else target.proxy.headers,
                allow_redirects=False,
                timeout=self._timeout,
            )
        except _NETWORK_ERRORS as error:
            raise MediaUnavailable(ArchiveError.UNREACHABLE, _describe(url, error)) from error
        if response.status == _OK:
            return response
        location = response.headers.get("location")
        response.close()
        if response.status in _REDIRECTS and location is not None and redirects_left:
            return await self._open(_joined(url, location), redirects_left - 1)
        gone = response.status in _GONE
        reason = ArchiveError.GONE if gone else ArchiveError.UNREACHABLE
        raise MediaUnavailable(reason, f"{_host(url)} answered {response.status}")

    async def _check(self, url: str) -> ResolvedMedia:
        try:
            target = await self._resolve(url)
        except OSError as error:
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


def _joined(url: str, location: str) -> str:
    """Return where a redirect leads. Raises `MediaUnavailable` for what is no address."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise MediaUnavailable(ArchiveError.HOST, f"{_host(url)} redirects nowhere") from error


def _describe(url: str, error: Exception) -> str:
    return f"{_host(url)}: {type(error).__name__}"


async def _read(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(_READ_BYTES):
            yield chunk
    except _NETWORK_ERRORS as error:
        raise MediaUnavailable(ArchiveError.UNREACHABLE, _describe(url, error)) from error
