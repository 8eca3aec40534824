"""The two transports to RunComfy: httpx for POSTs, aiohttp for reads.

POSTs, paid ones above all, use plain httpx with a new connection each: only its errors show
reliably whether the request left. aiohttp reports some lost requests as connect errors, but costs a
fraction of the CPU: reads may be repeated, and use it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import aiohttp
import httpx
from yarl import URL

from worker.proxy import Proxy
from worker.upstream.config import UpstreamLimits
from worker.upstream.error_classification import UnsafeMethod
from worker.upstream.http_request import HttpRequest, HttpResponse, build_response, read_bounded


@dataclass(frozen=True, slots=True)
class EgressRoute:
    """How to reach RunComfy: one TLS context for both transports, and the proxy, if any."""

    tls: ssl.SSLContext
    proxy: Proxy | None = None


@asynccontextmanager
async def open_post_client(
    limits: UpstreamLimits, route: EgressRoute
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the client for POST: no keep-alive, retries, redirects or cookies."""
    connect = limits.connect_timeout.total_seconds()
    proxy = route.proxy
    async with httpx.AsyncClient(
        verify=route.tls,
        proxy=None if proxy is None else httpx.Proxy(proxy.url, auth=proxy.auth),
        limits=httpx.Limits(
            max_connections=limits.max_submit_connections, max_keepalive_connections=0
        ),
        # The request's deadline ends reads: see `worker.upstream.deadline`.
        timeout=httpx.Timeout(None, connect=connect, pool=connect),
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

    def __init__(self, session: aiohttp.ClientSession, proxy: Proxy | None = None) -> None:
        """Send over an open session, through `proxy` if there is one."""
        self._session = session
        self._proxy = proxy

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
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    allow_redirects=False,
                    proxy=None if self._proxy is None else self._proxy.url,
                    proxy_headers=None if self._proxy is None else self._proxy.headers,
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
async def open_reader(limits: UpstreamLimits, route: EgressRoute) -> AsyncIterator[AiohttpReader]:
    """Yield the transport for GET: no cookies, no decompression."""
    connector = aiohttp.TCPConnector(
        limit=limits.max_read_connections, ttl_dns_cache=_DNS_TTL_SECONDS, ssl=route.tls
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
        yield AiohttpReader(session, route.proxy)
