"""The two transports to RunComfy: httpx for POSTs, aiohttp for reads.

POSTs, paid ones above all, use httpx's own transport with a new connection each: only its errors
show reliably whether the request left. aiohttp reports some lost requests as connect errors, but
costs a fraction of the CPU: reads may be repeated, and use it.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import aiohttp
import httpx
from yarl import URL

from worker.proxy import Proxy
from worker.upstream.config import UpstreamLimits
from worker.upstream.deadline import patient_deadline
from worker.upstream.error_classification import TunnelFailed, UnsafeMethod
from worker.upstream.http_request import HttpRequest, HttpResponse, build_response, read_bounded


@dataclass(frozen=True, slots=True)
class EgressRoute:
    """How to reach RunComfy: one TLS context for both transports, and the proxy, if any."""

    tls: ssl.SSLContext
    proxy: Proxy | None = None


@dataclass(slots=True)
class TunnelTrace:
    """Whether a tunnel was requested, and whether the request itself began to leave.

    httpx has one set of exceptions for both. httpcore calls its trace before the first byte of
    either is written: https://www.encode.io/httpcore/extensions/#trace
    """

    requested_tunnel: bool = False
    began_request: bool = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one event of httpcore."""
        if event.endswith(".send_request_headers.started"):
            if info["request"].method == b"CONNECT":
                self.requested_tunnel = True
            else:
                self.began_request = True

    def explain(self, error: Exception) -> Exception:
        """Return `TunnelFailed` in place of an error that came before the request began to leave.

        A failure to reach the proxy, or of TLS inside the tunnel, has an exception of its own.
        """
        if self.began_request or not self.requested_tunnel or isinstance(error, httpx.ConnectError):
            return error
        words = f"the proxy opened no tunnel: {type(error).__name__} {error}".rstrip()
        failed = TunnelFailed(words)
        failed.__cause__ = error
        return failed


class HttpxPoster:
    """Sends POST requests, paid ones above all: each once, over a connection of its own.

    httpx's transport is used without its client, so that nothing here could follow a redirect, with
    which the token would go, keep a cookie, or repeat a request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, connect_timeout: timedelta) -> None:
        """Wait at most `connect_timeout` for a free connection, and again until it is open."""
        self._transport = transport
        seconds = connect_timeout.total_seconds()
        # The request's deadline ends reads: see `worker.upstream.deadline`.
        self._timeout = httpx.Timeout(None, connect=seconds, pool=seconds).as_dict()

    async def send_request(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Send a request and read its answer within its bounds. Raises nothing but cancellation.

        `now` is for dates in `Retry-After`.
        """
        body, trace = bytearray(), TunnelTrace()
        response: httpx.Response | None = None
        broke: Exception | None = None
        try:
            async with patient_deadline(request.deadline):
                response = await self._transport.handle_async_request(
                    self._build_request(request, trace)
                )
                await read_bounded(response.aiter_bytes(), body, request.max_bytes)
        except Exception as error:  # noqa: BLE001 - whatever it is, RunComfy may have taken the submit
            broke = trace.explain(error)
        finally:
            if response is not None:
                with contextlib.suppress(Exception):
                    await response.aclose()
        if response is None:
            return HttpResponse(status=None, error=broke)
        return build_response(response.status_code, response.headers, bytes(body), broke, now)

    def _build_request(self, request: HttpRequest, trace: TunnelTrace) -> httpx.Request:
        return httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.content,
            extensions={"timeout": self._timeout, "trace": trace},
        )


@asynccontextmanager
async def open_poster(limits: UpstreamLimits, route: EgressRoute) -> AsyncIterator[HttpxPoster]:
    """Yield the transport for POST: no keep-alive and no retries."""
    proxy = route.proxy
    async with httpx.AsyncHTTPTransport(
        verify=route.tls,
        proxy=None if proxy is None else httpx.Proxy(proxy.url, auth=proxy.auth),
        limits=httpx.Limits(
            max_connections=limits.max_submit_connections, max_keepalive_connections=0
        ),
        trust_env=False,
        retries=0,
    ) as transport:
        yield HttpxPoster(transport, limits.connect_timeout)


_DNS_TTL_SECONDS: Final = 300


class AiohttpReader:
    """Sends GET requests, which cost nothing and may be repeated."""

    def __init__(self, session: aiohttp.ClientSession, proxy: Proxy | None = None) -> None:
        """Send over an open session, through `proxy` if there is one."""
        self._session = session
        self._proxy = proxy

    async def send_request(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Send a request and read its answer within its bounds. Raises nothing but cancellation.

        As `HttpxPoster.send_request`, for GET only. aiohttp itself repeats a GET
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
