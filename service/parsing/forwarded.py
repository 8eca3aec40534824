"""What trusted proxies report of a request: its caller, and the address that the caller used. Pure.

Read from `X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix`, else from `Forwarded` (RFC 7239). Each
proxy appends to these lists, so that the right end comes from the nearest one. An entry counts only
if every entry on its right, and the peer of the connection, is a trusted proxy: callers can send
these headers too.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

from starlette.datastructures import Headers

HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A host name or address with an optional port, safe to put into a URL."""
_SCHEMES: Final = frozenset({"http", "https"})
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,100}){1,10}")
_FORWARDED: Final = "forwarded"
_X_FORWARDED: Final = "x-forwarded-"
# A comma or semicolon inside quotes does not separate.
_ELEMENTS: Final = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_PAIRS: Final = re.compile(r'([A-Za-z]+)=(?:"((?:\\.|[^"\\])*)"|([^;"\s]+))')
_ESCAPED: Final = re.compile(r"\\(.)")
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+)(?::\d+)?|([0-9A-Fa-f:.]+)")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The addresses of proxies whose headers are believed; empty: those of none."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Parse addresses and networks. Raises `ValueError` with the wrong one."""
        return cls(tuple(ip_network(text.strip()) for text in texts))

    def contains(self, address: str) -> bool:
        """Return whether `address` is a trusted proxy's; any other text than an address is not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """What the trusted proxies report; None: nothing usable.

    `client` is the address of the nearest party that is no trusted proxy.
    """

    client: str | None
    scheme: str | None = None
    host: str | None = None
    prefix: str | None = None


def parse_forwarded(
    headers: Headers, peer: str | None, proxies: TrustedProxies
) -> ForwardedRequest:
    """Return what `peer`, the address of the connection, reports if it is a trusted proxy."""
    if peer is None or not proxies.networks or not proxies.contains(peer):
        return ForwardedRequest(peer)
    fields = _x_forwarded(headers) or _rfc_forwarded(headers)
    clients = [_address_of(node) for node in fields.get("for", ())]
    hops = _trusted_hops(clients, proxies)
    return ForwardedRequest(
        client=_at_hop(clients, hops) or peer,
        scheme=_valid_scheme(_at_hop(fields.get("proto", ()), hops)),
        host=_matching(HOST, _at_hop(fields.get("host", ()), hops)),
        prefix=_matching(_PREFIX, (_at_hop(fields.get("prefix", ()), hops) or "").rstrip("/")),
    )


Fields = dict[str, Sequence[str]]
"""The values that the proxies appended, by the name of the field."""


def _x_forwarded(headers: Headers) -> Fields:
    found = {
        name: _split(headers.getlist(_X_FORWARDED + name))
        for name in ("for", "proto", "host", "prefix")
    }
    return {name: values for name, values in found.items() if values}


def _split(values: Sequence[str]) -> list[str]:
    return [part.strip() for part in ",".join(values).split(",")] if values else []


def _rfc_forwarded(headers: Headers) -> Fields:
    """`Forwarded` has no prefix; an element that lacks a field counts as an empty one."""
    elements = [
        {name.lower(): _ESCAPED.sub(r"\1", quoted) or plain for name, quoted, plain in pairs}
        for element in _ELEMENTS.findall(",".join(headers.getlist(_FORWARDED)))
        if (pairs := _PAIRS.findall(element))
    ]
    return {
        name: [element.get(name, "") for element in elements] for name in ("for", "proto", "host")
    }


def _trusted_hops(clients: Sequence[str], proxies: TrustedProxies) -> int:
    """Return how many entries at the right end are believed: one by the peer, one by each proxy."""
    hops = 1
    for client in reversed(clients):
        if not proxies.contains(client):
            break
        hops += 1
    return hops


def _at_hop(values: Sequence[str], hops: int) -> str | None:
    """Return the leftmost value that is believed: a proxy may set a field that others leave out."""
    return values[-min(hops, len(values))] or None if values else None


def _address_of(node: str) -> str:
    """Return the address of a node without its port; "" if it has none (`unknown`, `_name`)."""
    found = _NODE.fullmatch(node)
    return next((part for part in found.groups() if part), "") if found else ""


def _valid_scheme(text: str | None) -> str | None:
    scheme = (text or "").lower()
    return scheme if scheme in _SCHEMES else None


def _matching(pattern: re.Pattern[str], text: str | None) -> str | None:
    return text if text and pattern.fullmatch(text) else None
