"""Reads from RunComfy over aiohttp itself: GET alone, kept connections, bounded answers.

Polls are nearly all that a worker does, and httpx in front of aiohttp costs twice what aiohttp
does. A POST is refused before a byte leaves: aiohttp's errors do not tell whether one arrived.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import aiohttp
from yarl import URL

from worker.upstream.errors import WrongVerb
from worker.upstream.exchange import Ask, Reply, read_bounded, reply_of
from worker.upstream.policy import UpstreamLimits

_DNS_TTL_SECONDS: Final = 300


class Fetcher:
    """Makes the exchanges that cost nothing."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Take a session that is open."""
        self._session = session

    async def fetch(self, ask: Ask, now: datetime) -> Reply:
        """Send `ask` and read its answer within its bounds. Raises nothing but cancellation.

        As `worker.upstream.exchange.exchange`: redirects are not followed, `now` dates a
        Retry-After. aiohttp repeats a GET once on a connection that was dropped.
        """
        if ask.method != "GET":
            return Reply(None, broke=WrongVerb(f"{ask.method} may not go where reads go"))
        body = bytearray()
        response: aiohttp.ClientResponse | None = None
        broke: Exception | None = None
        try:
            async with asyncio.timeout(ask.deadline.total_seconds()):
                response = await self._session.get(
                    URL(ask.url, encoded=True), headers=ask.headers, allow_redirects=False
                )
                await read_bounded(response.content.iter_any(), body, ask.size)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job is looked at again
            broke = error
        finally:
            if response is not None:
                # What was not read to its end leaves with its connection.
                response.release()
        if response is None:
            return Reply(status=None, broke=broke)
        return reply_of(response.status, response.headers, bytes(body), broke, now)


@asynccontextmanager
async def open_fetcher(limits: UpstreamLimits, tls: ssl.SSLContext) -> AsyncIterator[Fetcher]:
    """The way for GET: no cookies, no proxies, nothing unpacked."""
    connector = aiohttp.TCPConnector(
        limit=limits.read_connections, ttl_dns_cache=_DNS_TTL_SECONDS, ssl=tls
    )
    timeout = aiohttp.ClientTimeout(
        total=None,
        connect=limits.connect_timeout.total_seconds(),
        sock_connect=limits.connect_timeout.total_seconds(),
        sock_read=limits.read_timeout.total_seconds(),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield Fetcher(session)
