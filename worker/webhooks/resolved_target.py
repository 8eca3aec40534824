"""Resolves a URL to one allowed address, for each attempt again.

The attempt then connects to that address: a name that is resolved a second time could by then point
to a private address (DNS rebinding). The rules are those of `core.webhooks.url_policy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from core.webhooks.url_policy import (
    Address,
    Refusal,
    RefusalReason,
    Target,
    TargetPolicy,
    check_address,
    check_public_name,
    check_url,
)


class ResolverUnavailable(Exception):
    """No name could be looked up: the gateway's own name servers cannot be reached."""


class Resolver(Protocol):
    """Looks up the addresses of a host name."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """Return all addresses of `host`; none if it has none or its name servers do not answer.

        Raises `ResolverUnavailable`.
        """
        ...


@dataclass(frozen=True, slots=True)
class PinnedTarget:
    """A target and the one checked address to connect to.

    `address` None: the proxy resolves the name. `is_allowed`: by the operator's list, so that it is
    called directly where there is a proxy.
    """

    target: Target
    address: Address | None
    is_allowed: bool = False

    @property
    def url(self) -> str:
        """The URL with the address in place of the host name."""
        v6 = isinstance(self.address, IPv6Address)
        host = f"[{self.address}]" if v6 else str(self.address or self.target.host)
        return f"{self.target.scheme}://{host}:{self.target.port}{self.target.path}"

    @property
    def server_name(self) -> str | None:
        """The name for SNI and for the check of the certificate; None to use the address."""
        by_name = self.target.scheme == "https" and self.target.address is None
        return self.target.host if by_name else None


async def resolve(
    url: str,
    policy: TargetPolicy,
    resolver: Resolver,
    *,
    rotation: int = 0,
    proxy_resolves: bool = False,
) -> PinnedTarget | Refusal:
    """Check a URL, resolve its name once, check every address, and pick one.

    Each `rotation` picks the next address, so that one dead address does not fail all attempts.
    `proxy_resolves`: only names on the operator's list are resolved; any other must be public by
    its form, and the proxy gets it.
    """
    target = check_url(url, policy)
    if isinstance(target, Refusal):
        return target
    if target.address is not None:
        return PinnedTarget(target, target.address, is_allowed=target.is_allowed)
    if proxy_resolves and not target.is_allowed:
        return check_public_name(target, policy) or PinnedTarget(target, None)
    return pin(target, await resolver.resolve(target.host), policy, rotation)


def pin(
    target: Target, addresses: Sequence[Address], policy: TargetPolicy, rotation: int
) -> PinnedTarget | Refusal:
    """Return one of `addresses`, or a refusal if a single one of them is forbidden.

    IPv4 comes first: a container without an IPv6 route still gets IPv6 addresses from DNS.
    """
    if not addresses:
        return Refusal(RefusalReason.UNRESOLVED, "the host's name does not resolve")
    for address in addresses:
        if refusal := check_address(target, address, policy):
            return refusal
    ordered = sorted(addresses, key=lambda address: address.version)
    chosen = ordered[rotation % len(ordered)]
    allowed = target.is_allowed or policy.allowed.allows_address(chosen)
    return PinnedTarget(target, chosen, is_allowed=allowed)
