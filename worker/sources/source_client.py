"""Reads what is at a private source by HTTP: one checked address, bounded size, time, redirects.

Every address, that of each redirect too, must be on the operator's list, and each name's addresses
are checked as those of webhooks are. Nothing is sent but the request: no cookie, no credential.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from core.objects.media_type import MAX_FILE_BYTES
from core.private_sources import PrivateSources
from core.webhooks.url_policy import Refusal, RefusalReason
from worker.ports import SourceFailed
from worker.sources.checked_get import (
    MAX_REDIRECTS,
    REDIRECTS,
    NoAddress,
    follow_redirects,
    get_pinned,
)
from worker.tls import create_tls_context, tls_failure_of
from worker.webhooks.dns_resolver import DnsResolver
from worker.webhooks.http_session import create_session
from worker.webhooks.resolved_target import (
    Resolver,
    ResolverUnavailable,
    resolve,
)

_CHUNK_BYTES: Final = 256 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_KEEP_ALIVE: Final = timedelta(seconds=4)
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_HEADERS: Final = {"user-agent": "runcomfy-gateway", "accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """The list, and the bounds of one read. `read_timeout` is that of one piece of the content."""

    sources: PrivateSources
    total_timeout: timedelta = timedelta(seconds=60)
    connect_timeout: timedelta = timedelta(seconds=5)
    read_timeout: timedelta = timedelta(seconds=15)
    max_redirects: int = MAX_REDIRECTS
    max_bytes: int = MAX_FILE_BYTES
    ca_file: Path | None = None


class SourceClient:
    """`worker.ports.SourceReader` over aiohttp."""

    def __init__(
        self, session: aiohttp.ClientSession, resolver: Resolver, policy: SourcePolicy
    ) -> None:
        """Read by `session`, see `open_source_client`."""
        self._session = session
        self._resolver = resolver
        self._policy = policy
        self._targets = policy.sources.target_policy()

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `SourceReader.open`."""
        with _failures_of(url):
            async with asyncio.timeout(self._policy.total_timeout.total_seconds()):
                response = await self._follow(url)
                try:
                    yield self._content(url, response)
                finally:
                    response.close()

    async def _content(self, url: str, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > self._policy.max_bytes:
                raise self._too_large(url)
            yield chunk

    def _too_large(self, url: str) -> SourceFailed:
        return _refused(url, f"has more than {self._policy.max_bytes:,} bytes")

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        """Return the answer that has the content. Raises `SourceFailed`."""

        async def get(place: str) -> aiohttp.ClientResponse:
            if not self._policy.sources.contain(place):
                raise _refused(url, "leads to an address that is not on the operator's list")
            return await self._get(url, place)

        try:
            response = await follow_redirects(url, get, self._policy.max_redirects)
        except NoAddress as error:
            raise _refused(url, "redirects to what is no address") from error
        self._check(url, response)
        return response

    async def _get(self, url: str, place: str) -> aiohttp.ClientResponse:
        pinned = await resolve(place, self._targets, self._resolver)
        if isinstance(pinned, Refusal):
            is_final = pinned.reason is not RefusalReason.UNRESOLVED
            raise SourceFailed(f"{shown(url)}: {pinned.message}", is_final=is_final)
        return await get_pinned(self._session, pinned, _HEADERS)

    def _check(self, url: str, response: aiohttp.ClientResponse) -> None:
        """Raise `SourceFailed` for an answer without a content that may be kept."""
        if response.status in REDIRECTS and "location" in response.headers:
            response.close()
            raise _refused(url, "redirects too often")
        if response.status != HTTPStatus.OK:
            response.close()
            is_final = response.status not in _TRANSIENT
            raise SourceFailed(f"{shown(url)} answered {response.status}.", is_final=is_final)
        if (response.content_length or 0) > self._policy.max_bytes:
            response.close()
            raise self._too_large(url)


@contextmanager
def _failures_of(url: str) -> Iterator[None]:
    """Raise `SourceFailed` for whatever the read of a URL may raise."""
    try:
        yield
    except ResolverUnavailable as error:
        raise SourceFailed(f"{shown(url)}: its name could not be looked up.") from error
    except TimeoutError as error:
        raise SourceFailed(f"{shown(url)} did not answer in time.") from error
    except HttpProcessingError as error:
        raise _refused(url, "is too large, or answers with no valid HTTP") from error
    except (aiohttp.ClientError, OSError) as error:
        tls = tls_failure_of(error)
        if tls is not None:
            raise _refused(url, f"cannot be trusted: TLS: {tls.cause}") from error
        raise SourceFailed(f"{shown(url)} cannot be reached, or broke off.") from error


def _refused(url: str, message: str) -> SourceFailed:
    return SourceFailed(f"{shown(url)} {message}.", is_final=True)


def shown(url: str) -> str:
    """Return a URL without its query, which may hold a signature."""
    return url.partition("?")[0]


@asynccontextmanager
async def open_source_client(
    policy: SourcePolicy, resolver: Resolver | None = None
) -> AsyncIterator[SourceClient]:
    """Yield a client; by default with the system's resolver."""
    system = DnsResolver(timeout=policy.connect_timeout)
    session = create_session(
        create_tls_context(policy.ca_file),
        policy.connect_timeout,
        policy.read_timeout,
        _KEEP_ALIVE,
        policy.max_bytes + _MAX_HEAD_BYTES,
    )
    try:
        async with session:
            yield SourceClient(session, resolver or system, policy)
    finally:
        await system.close()
