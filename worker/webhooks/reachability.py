"""Whether webhook receivers can be connected to from here, for `gateway doctor`."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from core.webhooks.url_policy import Refusal, TargetPolicy
from worker.proxy import Proxy
from worker.webhooks.dns_resolver import DnsResolver
from worker.webhooks.resolved_target import ResolverUnavailable, resolve

TIMEOUT: Final = timedelta(seconds=5)
MAX_CONCURRENT: Final = 10


async def find_unreachable(urls: Iterable[str], policy: TargetPolicy) -> Mapping[str, str]:
    """Return why each of the URLs cannot be connected to; those that can are left out.

    Nothing is sent: a connection is opened, to an address that the policy allows, and closed.
    """
    resolver, gate = DnsResolver(timeout=TIMEOUT), asyncio.Semaphore(MAX_CONCURRENT)

    async def check(url: str) -> tuple[str, str | None]:
        async with gate:
            return url, await _connect_to_receiver(url, policy, resolver)

    try:
        found = await asyncio.gather(*map(check, dict.fromkeys(urls)))
    finally:
        await resolver.close()
    return {url: reason for url, reason in found if reason is not None}


async def find_proxy_issue(proxy: Proxy) -> str | None:
    """Return why the proxy cannot be connected to; None if it can."""
    return await _connect(proxy.host, urlsplit(proxy.url).port or 80)


async def _connect_to_receiver(url: str, policy: TargetPolicy, resolver: DnsResolver) -> str | None:
    try:
        pinned = await resolve(url, policy, resolver)
    except ResolverUnavailable:
        return "no name server answers"
    if isinstance(pinned, Refusal):
        return pinned.message
    return await _connect(str(pinned.address), pinned.target.port)


async def _connect(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(TIMEOUT.total_seconds()):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"does not answer within {TIMEOUT.total_seconds():g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None
