"""What settings mean for safety, beyond being valid. Pure."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final

from cli.doctor.check import Check, fail, ok, warn
from service.settings import ServiceSettings, is_loopback

Network = IPv4Network | IPv6Network
MIN_PREFIX: Final = 7
"""A network with a shorter prefix is wider than any private one: these have 8 bits, or 7."""
_ONE_NETWORK_BITS: Final = {4: 8, 6: 64}
"""Bits of an address within one network, by IP version."""


def check_settings(settings: ServiceSettings) -> Sequence[Check]:
    """Return the checks of a service's settings."""
    return (
        *_check_proxies(settings),
        *_check_identity_headers(settings),
        _check_public_url(settings),
        _check_metrics(settings),
        _check_encryption(settings),
    )


def _check_proxies(settings: ServiceSettings) -> Iterator[Check]:
    name, networks = "trusted proxies", trusted_networks(settings.trusted_proxies)
    if any(network.prefixlen < MIN_PREFIX for network in networks):
        fix = "set GATEWAY_TRUSTED_PROXIES to the proxies' own addresses"
        yield fail(name, "every caller is one: any of them can forge its address", fix)
    elif not networks and not is_loopback(settings.host):
        fix = "set GATEWAY_TRUSTED_PROXIES if a proxy or balancer is in front"
        yield warn(name, "none: limits by address count a proxy as one caller", fix)
    else:
        yield ok(name, ", ".join(map(str, networks)) or "none; the service is on loopback")


def trusted_networks(texts: Sequence[str]) -> list[Network]:
    """Return the networks of proxies, adjacent ones joined: two halves are the whole."""
    networks = [ip_network(text.strip()) for text in texts]
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    v6 = [network for network in networks if isinstance(network, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]


def _check_identity_headers(settings: ServiceSettings) -> Iterator[Check]:
    """Yield who may name persons to the console, if a proxy does."""
    policy, name = settings.console_policy().identity, "identity headers"
    if not policy.header:
        return
    wide = [
        network
        for network in trusted_networks(settings.trusted_proxies)
        if network.max_prefixlen - network.prefixlen > _ONE_NETWORK_BITS[network.version]
    ]
    fix = "set GATEWAY_TRUSTED_PROXIES to the addresses of the authenticating proxy"
    listed = ", ".join(map(str, wide))
    if any(not network.is_private for network in wide):
        yield fail(name, f"anybody in {listed} can sign in as any person", fix)
    elif wide:
        yield warn(name, f"every program in {listed} can sign in as any person", fix)
    else:
        headers = f"{policy.header} and {policy.groups_header}"
        yield ok(name, f"{headers} of trusted proxies, which must remove them from callers'")


def _check_public_url(settings: ServiceSettings) -> Check:
    url = settings.public_url
    if url is None:
        if is_loopback(settings.host):
            return ok("public URL", "that of each request; the service is on loopback")
        fix = "set GATEWAY_PUBLIC_URL to the URL that callers use"
        return warn("public URL", "not set: URLs in answers and webhooks may be internal", fix)
    if not url.startswith("https://") and not is_loopback(settings.host):
        fix = "serve callers by https, and set GATEWAY_PUBLIC_URL to it"
        return warn("public URL", f"{url} sends API keys unencrypted", fix)
    return ok("public URL", url)


def _check_metrics(settings: ServiceSettings) -> Check:
    if settings.metrics.token is None and not is_loopback(settings.service_metrics_host):
        fix = "set GATEWAY_METRICS__TOKEN, or let only Prometheus reach the port"
        return warn("metrics", "readable by everybody who reaches the port", fix)
    return ok("metrics", "on loopback, or need a token")


def _check_encryption(settings: ServiceSettings) -> Check:
    if not settings.secret_keys:
        fix = "set GATEWAY_ENCRYPTION_KEYS (`gateway encryption new-key`)"
        return warn("encryption", "webhook secrets are in Redis as they are", fix)
    return ok("encryption", f"{len(settings.secret_keys)} keys")


def check_absent_journal(url: str | None) -> Check:
    """Return what it means that there is no journal."""
    if url is None:
        fix = "set GATEWAY_JOURNAL__URL where `gateway work` runs, the same for all workers"
        return warn("journal", "not set: no worker starts here", fix)
    fix = "set GATEWAY_JOURNAL__URL to a folder or bucket outside Redis"
    return warn("journal", "off: what Redis forgets can be paid for twice", fix)
