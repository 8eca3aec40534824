"""Opens the client for POSTs to RunComfy. Knows sockets and TLS; holds no token.

Paid and other POSTs go over stock httpx, a fresh connection each: only its errors say truly whether
the request left. Reads go another way (`worker.upstream.fetching`), at a fraction of the CPU.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from worker.upstream.policy import UpstreamLimits


def tls_context() -> ssl.SSLContext:
    """One context for both ways: building it reads the CA store, 36 ms."""
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


def _no_cookies() -> CookieJar:
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
