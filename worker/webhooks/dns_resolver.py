"""Looks up host names asynchronously by c-ares.

`getaddrinfo` blocks a thread until the system gives up, often for longer than any timeout here: a
few dozen names whose servers do not answer would then delay every other lookup. c-ares needs no
thread for each, so that the lookups of one tenant are bounded by its attempts alone.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

import aiodns
import pycares

from core.webhooks.url_policy import Address
from worker.webhooks.resolved_target import ResolverUnavailable

_TRIES: Final = 2
# c-ares: no name server could be reached, or the resolver itself is unusable. No name causes these.
_OWN_ERRORS: Final = frozenset(
    {
        pycares.errno.ARES_ECONNREFUSED,
        pycares.errno.ARES_EFILE,
        pycares.errno.ARES_ENOMEM,
        pycares.errno.ARES_EDESTRUCTION,
        pycares.errno.ARES_ENOTINITIALIZED,
        pycares.errno.ARES_ECANCELLED,
    }
)


class DnsResolver:
    """The name servers and the hosts file of the system, read as the system's resolver does."""

    def __init__(self, timeout: timedelta, name_servers: Sequence[str] | None = None) -> None:
        """Give up on a name after `timeout`. Call it while an event loop runs.

        `name_servers` (`address:port`) replace those of the system.
        """
        self._timeout = timeout.total_seconds()
        self._resolver = aiodns.DNSResolver(
            name_servers, timeout=self._timeout / _TRIES, tries=_TRIES
        )

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """See `Resolver.resolve`."""
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._resolver.getaddrinfo(host)
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in _OWN_ERRORS:
                raise ResolverUnavailable from error
            return ()
        except (TimeoutError, UnicodeError):
            return ()
        return tuple(dict.fromkeys(ip_address(node.addr[0].decode()) for node in found.nodes))

    async def close(self) -> None:
        """Drop the lookups in progress."""
        await self._resolver.close()
