"""Opens the two clients that speak to RunComfy. Knows sockets and TLS; holds no token.

Paid and other POSTs go over stock httpx, a fresh connection each: only its errors say truly whether
the request left. Polls go over aiohttp, at a tenth of the CPU; it calls a POST that arrived and was
then reset a connect time-out, so that transport refuses everything but GET.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from worker.upstream.errors import WrongVerb
from worker.upstream.policy import UpstreamLimits

_DNS_TTL_SECONDS = 300


class GetOnly(httpx.AsyncBaseTransport):
    """A transport that refuses every verb but GET, before a byte leaves."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Raises WrongVerb."""
        if request.method != "GET":
            raise WrongVerb(f"{request.method} may not go through the transport for reads")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def tls_context() -> ssl.SSLContext:
    """One context for both clients: building it reads the CA store, 36 ms."""
    return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def open_posts(
    limits: UpstreamLimits, tls: ssl.SSLContext
) -> AsyncIterator[httpx.AsyncClient]:
    """The client for POST: no keep-alive, no retries, no redirects, no proxies, no cookies."""
    span = limits.submit_read_timeout.total_seconds()
    connect = limits.connect_timeout.total_seconds()
    async with httpx.AsyncClient(
        verify=tls,
        limits=httpx.Limits(max_connections=limits.submit_connections, max_keepalive_connections=0),
        timeout=httpx.Timeout(span, connect=connect, pool=connect),
        cookies=_no_cookies(),
        trust_env=False,
        follow_redirects=False,
    ) as client:
        yield client


@asynccontextmanager
async def open_reads(
    limits: UpstreamLimits, tls: ssl.SSLContext
) -> AsyncIterator[httpx.AsyncClient]:
    """The client for GET, with keep-alive. aiohttp repeats a GET once on a dropped connection."""
    connect = limits.connect_timeout.total_seconds()
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limits.read_connections, ttl_dns_cache=_DNS_TTL_SECONDS, ssl=tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session,
        httpx.AsyncClient(
            transport=GetOnly(AiohttpTransport(verify=tls, client=session)),
            timeout=httpx.Timeout(
                limits.read_timeout.total_seconds(), connect=connect, pool=connect
            ),
            cookies=_no_cookies(),
            trust_env=False,
            follow_redirects=False,
        ) as client,
    ):
        yield client


def _no_cookies() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
