"""Addresses and networks as texts of bits, which a script compares by their beginnings. Pure."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network


@lru_cache(maxsize=4096)
def address_bits(address: str) -> str:
    """Return `4:` or `6:` and the address's bits; '' for what is no address.

    An IPv4 address in IPv6 form is the IPv4 address.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return f"{parsed.version}:{int(parsed):0{parsed.max_prefixlen}b}"


def network_bits(network: str) -> str:
    """Return the beginning that the bits of all addresses of a network share.

    `network` is an address or a CIDR block. Raises `ValueError` for anything else.
    """
    parsed = ip_network(network)
    bits = f"{int(parsed.network_address):0{parsed.max_prefixlen}b}"
    return f"{parsed.version}:{bits[: parsed.prefixlen]}"
