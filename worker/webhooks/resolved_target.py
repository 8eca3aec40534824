"""Resolves a URL to one allowed address, at each attempt, by `core.webhooks.url_policy`."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final, Protocol

from core.webhooks.url_policy import (
    Address,
    Refusal,
    RefusalReason,
    Target,
    TargetPolicy,
    check_address,
    check_url,
)


class Resolver(Protocol):
    """Who knows the addresses of a name."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """All addresses of `host`; none when there are none or nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class PinnedTarget:
    """A target and the one checked address to connect to: nobody resolves its name again."""

    target: Target
    address: Address

    @property
    def url(self) -> str:
        """The URL to connect to, by address."""
        v6 = isinstance(self.address, IPv6Address)
        host = f"[{self.address}]" if v6 else str(self.address)
        return f"{self.target.scheme}://{host}:{self.target.port}{self.target.path}"

    @property
    def server_name(self) -> str | None:
        """The name that the certificate must hold and that SNI says; None to go by address."""
        by_name = self.target.scheme == "https" and self.target.address is None
        return self.target.host if by_name else None


async def resolve(
    url: str, policy: TargetPolicy, resolver: Resolver, *, rotation: int = 0
) -> PinnedTarget | Refusal:
    """Check a URL, resolve its name once, check every address, pick one.

    Each `turn` picks the next address, so that one dead address does not cost all attempts.
    """
    target = check_url(url, policy)
    if isinstance(target, Refusal):
        return target
    if target.address is not None:
        return PinnedTarget(target, target.address)
    return pin(target, await resolver.resolve(target.host), policy, rotation)


def pin(
    target: Target, addresses: Sequence[Address], policy: TargetPolicy, rotation: int
) -> PinnedTarget | Refusal:
    """One of `addresses`, or why none: a single bad one among them condemns the name.

    IPv4 goes first: a container without an IPv6 route still gets IPv6 answers from DNS.
    """
    if not addresses:
        return Refusal(RefusalReason.UNRESOLVED, "the host's name does not resolve")
    for address in addresses:
        if refusal := check_address(target, address, policy):
            return refusal
    ordered = sorted(addresses, key=lambda address: address.version)
    return PinnedTarget(target, ordered[rotation % len(ordered)])


# The event loop's default pool has a handful of threads for everything: names that never resolve
# would stop all lookups. These are for names alone.
_MAX_THREADS: Final = 32


class SystemResolver:
    """The machine's own resolver (`getaddrinfo`), in threads of its own."""

    def __init__(self, timeout: timedelta) -> None:
        """Give up on a name after `timeout`; its thread is busy for as long as the system is."""
        self._timeout = timeout
        self._executor = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="webhook-dns")

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """See `Resolver.addresses`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                return await loop.run_in_executor(self._executor, _resolve_host, host)
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            return ()

    def close(self) -> None:
        """Drop what waits; a lookup under way ends in its thread, unheard."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _resolve_host(host: str) -> tuple[Address, ...]:
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(ip_address(answer[4][0]) for answer in answers)
