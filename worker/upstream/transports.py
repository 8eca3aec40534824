"""The two transports to RunComfy: httpx for POSTs, aiohttp for reads.

POSTs, paid ones above all, use plain httpx with a new connection each: only its errors tell
reliably whether the request left. aiohttp reports some lost requests as connect errors, but costs a
fraction of the CPU: reads may be repeated, and use it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import aiohttp
import httpx
from yarl import URL

from worker.upstream.config import UpstreamLimits
from worker.upstream.error_classification import UnsafeMethod
from worker.upstream.http_request import HttpRequest, HttpResponse, build_response, read_bounded


def create_upstream_tls_context() -> ssl.SSLContext:
    """Return one context for both transports: building it reads the CA store, 36 ms."""
    return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def open_post_client(
    limits: UpstreamLimits, tls: ssl.SSLContext
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client for POST: no keep-alive, retries, redirects, proxies or cookies."""
    span = limits.submit_read_timeout.total_seconds()
    connect = limits.connect_timeout.total_seconds()
    async with httpx.AsyncClient(
        verify=tls,
        limits=httpx.Limits(
            max_connections=limits.max_submit_connections, max_keepalive_connections=0
        ),
        timeout=httpx.Timeout(span, connect=connect, pool=connect),
        cookies=_empty_cookie_jar(),
        trust_env=False,
        follow_redirects=False,
    ) as client:
        yield client


def _empty_cookie_jar() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


_DNS_TTL_SECONDS: Final = 300


class AiohttpReader:
    """Sends GET requests, which cost nothing and may be repeated."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Send over an open session."""
        self._session = session

    async def send_request(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Send a request and read its answer within its bounds. Raises nothing but cancellation.

        As `worker.upstream.http_request.send_request`, for GET only. aiohttp itself repeats a GET
        once if a reused connection was closed.
        """
        if request.method != "GET":
            return HttpResponse(
                None, error=UnsafeMethod(f"{request.method} must not use the transport for reads")
            )
        body = bytearray()
        response: aiohttp.ClientResponse | None = None
        broke: Exception | None = None
        try:
            async with asyncio.timeout(request.deadline.total_seconds()):
                response = await self._session.get(
                    URL(request.url, encoded=True), headers=request.headers, allow_redirects=False
                )
                await read_bounded(response.content.iter_any(), body, request.max_bytes)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job is polled again
            broke = error
        finally:
            if response is not None:
                # An answer that was not read to its end closes its connection.
                response.release()
        if response is None:
            return HttpResponse(status=None, error=broke)
        return build_response(response.status, response.headers, bytes(body), broke, now)


@asynccontextmanager
async def open_reader(limits: UpstreamLimits, tls: ssl.SSLContext) -> AsyncIterator[AiohttpReader]:
    """Yield the transport for GET: no cookies, no proxies, no decompression."""
    connector = aiohttp.TCPConnector(
        limit=limits.max_read_connections, ttl_dns_cache=_DNS_TTL_SECONDS, ssl=tls
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
        yield AiohttpReader(session)
