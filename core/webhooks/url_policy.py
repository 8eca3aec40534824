"""The SSRF policy: which URLs, host names and IP addresses webhooks may be sent to.

Knows no DNS and no HTTP client. The addresses of a name are checked by `check_address` when they
are resolved, at each attempt: a name can change its address after it was accepted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AddressKind(StrEnum):
    """The purpose of an IP address."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    SHARED = "shared"
    LINK_LOCAL = "link_local"
    METADATA = "metadata"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    DOCUMENTATION = "documentation"
    BENCHMARKING = "benchmarking"
    TRANSITION = "transition"
    RESERVED = "reserved"


# The kinds that an operator's list can allow. No receiver has an address of another kind, and a
# wide CIDR or pattern must not allow a metadata service by accident.
ALLOWABLE_KINDS: Final = frozenset({AddressKind.LOOPBACK, AddressKind.PRIVATE, AddressKind.SHARED})

# First match wins. Source: IANA special-purpose address registries (RFC 6890 and its updates), and
# the clouds' documentation for the metadata services, some of which are in public ranges.
ADDRESS_RULES: Final[tuple[tuple[Network, AddressKind], ...]] = tuple(
    (ip_network(network), kind)
    for kind, networks in (
        (
            AddressKind.METADATA,
            (
                "169.254.169.254/32",
                "169.254.170.2/32",
                "169.254.170.23/32",
                "100.100.100.200/32",
                "168.63.129.16/32",
                "192.0.0.192/32",
                "fd00:ec2::254/128",
                "fd00:ec2::23/128",
                "fd20:ce::254/128",
            ),
        ),
        (AddressKind.UNSPECIFIED, ("0.0.0.0/8", "::/128")),
        (AddressKind.LOOPBACK, ("127.0.0.0/8", "::1/128")),
        (
            AddressKind.TRANSITION,
            (
                "::ffff:0:0/96",
                "::ffff:0:0:0/96",
                "::/96",
                "64:ff9b::/96",
                "64:ff9b:1::/48",
                "2001::/32",
                "2002::/16",
                "192.88.99.0/24",
            ),
        ),
        (
            AddressKind.PRIVATE,
            ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        ),
        (AddressKind.SHARED, ("100.64.0.0/10",)),
        (AddressKind.LINK_LOCAL, ("169.254.0.0/16", "fe80::/10")),
        (
            AddressKind.DOCUMENTATION,
            (
                "192.0.2.0/24",
                "198.51.100.0/24",
                "203.0.113.0/24",
                "2001:db8::/32",
                "3fff::/20",
            ),
        ),
        (AddressKind.BENCHMARKING, ("198.18.0.0/15", "2001:2::/48")),
        (AddressKind.MULTICAST, ("224.0.0.0/4", "ff00::/8")),
        (AddressKind.RESERVED, ("192.0.0.0/24", "240.0.0.0/4", "2001::/23")),
        (AddressKind.PUBLIC, ("0.0.0.0/0", "2000::/3")),
        (AddressKind.RESERVED, ("::/0",)),
    )
    for network in networks
)

# RFC 6761, 6762, 7686, 8375, and ICANN's `.internal`: never a public receiver's name.
LOCAL_SUFFIXES: Final = frozenset(
    {"localhost", "local", "internal", "home.arpa", "test", "invalid", "onion"}
)


def classify_address(address: Address) -> AddressKind:
    """Return the kind of `address`, by `ADDRESS_RULES`."""
    return next(kind for network, kind in ADDRESS_RULES if address in network)


class RefusalReason(StrEnum):
    """Why a target is refused."""

    TOO_LONG = "too_long"
    NOT_A_URL = "not_a_url"
    SCHEME = "scheme"
    USERINFO = "userinfo"
    HOST = "host"
    NONSTANDARD_ADDRESS = "odd_address"
    LOCAL_NAME = "local_name"
    PORT = "port"
    ADDRESS = "address"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The refusal of a target. `message` is safe to show to a caller: it contains no address.

    `is_allowable`: the operator's list could allow it.
    """

    reason: RefusalReason
    message: str
    is_allowable: bool = False


@dataclass(frozen=True, slots=True)
class AllowedTargets:
    """The operator's list of allowed targets: exact names, suffixes (with their dot), networks."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Parse host names, `*.suffix` patterns, addresses and CIDRs.

        Raises `ValueError` with a message that contains the entry.
        """
        names: set[str] = set()
        suffixes: list[str] = []
        networks: list[Network] = []
        for entry in entries:
            text = entry.strip().lower()
            if (network := _parse_network(text)) is not None:
                networks.append(network)
            elif _is_name(text.removeprefix("*.")):
                suffixes += [text[1:]] if text.startswith("*.") else []
                names |= set() if text.startswith("*.") else {text}
            else:
                message = f"{entry!r} is neither a host name, `*.suffix`, address nor CIDR"
                raise ValueError(message)
        return cls(frozenset(names), tuple(suffixes), tuple(networks))

    def allows_host(self, host: str) -> bool:
        """Return whether the list contains this lower-case name."""
        return host in self.names or host.endswith(self.suffixes)

    def allows_address(self, address: Address) -> bool:
        """Return whether the list contains this address."""
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """The rules for targets. Targets on the operator's list may also use `http` and any port.

    `ports` are those of public targets. There are only two: with more, a tenant could use the
    gateway to scan the ports of other hosts. `max_length` is in characters.
    """

    allowed: AllowedTargets = field(default_factory=AllowedTargets)
    ports: frozenset[int] = frozenset({443, 8443})
    max_length: int = 2048


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL. The request is built from them, so that no second parser can differ.

    `host` is a lower-case name, or an address in canonical form without brackets; `path` includes
    the query. `address` is set if the host is an address. `is_allowed`: the operator's list
    contains the host, so its addresses may be local.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None
    is_allowed: bool = False

    @property
    def authority(self) -> str:
        """The `Host` header, with the port unless it is the scheme's default (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_MAX_PORT: Final = 65_535
_HTTPS_ONLY: Final = "the URL must begin with https://"
_MAX_NAME: Final = 253
# RFC 3986: other characters must be percent-encoded, and a host be written in punycode.
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>(?:/[^?#]*)?(?:\?[^#]*)?)"
)
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A host with a number as its last label is an IPv4 address to `inet_aton` and to browsers (WHATWG
# URL, "ends in a number checker"), regardless of the labels before it.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def check_url(url: str, policy: TargetPolicy) -> Target | Refusal:
    """Check a URL without DNS, when it is submitted.

    A name that passes is checked again by `check_address` when its addresses are resolved.
    """
    target = parse_url(url, policy)
    if isinstance(target, Refusal):
        return target
    if target.address is not None:
        refusal = check_address(target, target.address, policy)
    else:
        refusal = _check_name(target, policy)
    return refusal or target


def parse_url(url: str, policy: TargetPolicy) -> Target | Refusal:
    """Parse a URL; refuse everything that two parsers might read differently."""
    parts = _split(url, policy.max_length)
    if isinstance(parts, Refusal):
        return parts
    scheme = parts["scheme"].lower()
    endpoint = _parse_authority(parts["authority"], DEFAULT_PORTS[scheme])
    if isinstance(endpoint, Refusal):
        return endpoint
    host, port = endpoint
    path = parts["path"] if parts["path"].startswith("/") else f"/{parts['path']}"
    if isinstance(host, str):
        return Target(scheme, host, port, path, None, policy.allowed.allows_host(host))
    return Target(scheme, str(host), port, path, host, policy.allowed.allows_address(host))


def parse_host(text: str) -> Address | str | Refusal:
    """Parse a host without brackets: an address, or a lower-case name.

    Addresses in an unusual notation (octal, hexadecimal, short), names with a trailing dot and
    names that are not ASCII are refused.
    """
    host = text.lower()
    if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            return ip_address(host)
        except ValueError:
            message = "an IP address must be written in its standard notation"
            return Refusal(RefusalReason.NONSTANDARD_ADDRESS, message)
    if not _is_name(host):
        return Refusal(
            RefusalReason.HOST, "the host must be a name in ASCII without a trailing dot"
        )
    return host


def is_local_name(host: str) -> bool:
    """Return whether this lower-case name has a meaning only inside a network."""
    labels = host.split(".")
    tails = {".".join(labels[-count:]) for count in (1, 2)}
    return len(labels) == 1 or not tails.isdisjoint(LOCAL_SUFFIXES)


def check_address(target: Target, address: Address, policy: TargetPolicy) -> Refusal | None:
    """Check one address of the target's host; return None if it may be called."""
    kind = classify_address(address)
    allowed = target.is_allowed or policy.allowed.allows_address(address)
    if kind is not AddressKind.PUBLIC and not (allowed and kind in ALLOWABLE_KINDS):
        message = f"the host's address is {kind_phrase(kind)}"
        return Refusal(RefusalReason.ADDRESS, message, is_allowable=kind in ALLOWABLE_KINDS)
    return None if allowed else _check_scheme_and_port(target, policy)


def check_public_name(target: Target, policy: TargetPolicy) -> Refusal | None:
    """Check a name that is not on the operator's list by its form; return None if it is public."""
    if is_local_name(target.host):
        message = "the host's name is not a public one"
        return Refusal(RefusalReason.LOCAL_NAME, message, is_allowable=True)
    return _check_scheme_and_port(target, policy)


def kind_phrase(kind: AddressKind) -> str:
    """Return the kind as part of a sentence: "link-local"."""
    return kind.replace("_", "-")


def _split(url: str, max_length: int) -> re.Match[str] | Refusal:
    if len(url) > max_length:
        return Refusal(RefusalReason.TOO_LONG, f"the URL is longer than {max_length} characters")
    parts = _URL.fullmatch(url) if _CHARACTERS.fullmatch(url) else None
    if parts is None:
        message = "not an absolute URL in ASCII without fragment (RFC 3986)"
        return Refusal(RefusalReason.NOT_A_URL, message)
    if parts["scheme"].lower() not in DEFAULT_PORTS:
        return Refusal(RefusalReason.SCHEME, _HTTPS_ONLY)
    return parts


def _parse_authority(text: str, default_port: int) -> tuple[Address | str, int] | Refusal:
    if "@" in text:
        return Refusal(RefusalReason.USERINFO, "the URL must not hold a user name or a password")
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        return Refusal(RefusalReason.HOST, "the URL's host is missing or malformed")
    port = int(parts["port"] or default_port)
    if not 0 < port <= _MAX_PORT:
        return Refusal(RefusalReason.PORT, f"the port must be between 1 and {_MAX_PORT}")
    host = parse_host(parts["v6"] or parts["name"])
    return host if isinstance(host, Refusal) else (host, port)


def _check_name(target: Target, policy: TargetPolicy) -> Refusal | None:
    # If the list has networks, the target may be allowed by its address, which is resolved later.
    if target.is_allowed or policy.allowed.networks:
        return None
    return check_public_name(target, policy)


def _check_scheme_and_port(target: Target, policy: TargetPolicy) -> Refusal | None:
    if target.scheme != "https":
        return Refusal(RefusalReason.SCHEME, _HTTPS_ONLY, is_allowable=True)
    if target.port not in policy.ports:
        ports = ", ".join(str(port) for port in sorted(policy.ports))
        return Refusal(RefusalReason.PORT, f"the port must be one of {ports}", is_allowable=True)
    return None


def _parse_network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _is_name(text: str) -> bool:
    labels = text.split(".")
    return (
        len(text) <= _MAX_NAME
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )
