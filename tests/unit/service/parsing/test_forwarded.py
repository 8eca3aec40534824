"""Headers of proxies count from trusted peers alone, and only as far as these reach."""

import pytest
from starlette.datastructures import Headers

from service.parsing.forwarded import ForwardedRequest, TrustedProxies, parse_forwarded

PROXIES = TrustedProxies.parse(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])
PEER = "10.0.0.1"
CALLER = "203.0.113.9"
CDN = "192.0.2.7"


def parse(peer: str | None = PEER, /, **fields: str) -> ForwardedRequest:
    """The report of `peer`, by headers named as arguments."""
    headers = Headers({name.replace("_", "-"): value for name, value in fields.items()})
    return parse_forwarded(headers, peer, PROXIES)


def x_forwarded(**fields: str) -> dict[str, str]:
    """`X-Forwarded-*` headers as arguments of `parse`."""
    return {f"x_forwarded_{name}": value for name, value in fields.items()}


@pytest.mark.parametrize("peer", ["10.0.0.1", "10.255.255.255", "fd12::1", "::ffff:10.0.0.1", CDN])
def test_a_trusted_peer_is_believed(peer: str) -> None:
    fields = {"proto": "https", "host": "gw.example", "prefix": "/ai", "for": CALLER}
    assert parse(peer, **x_forwarded(**fields)) == ForwardedRequest(
        CALLER, "https", "gw.example", "/ai"
    )


@pytest.mark.parametrize("peer", ["192.0.2.8", "11.0.0.1", "::1", "not an address", "", None])
def test_no_other_peer_is(peer: str | None) -> None:
    fields = {"proto": "https", "host": "gw.example", "prefix": "/ai", "for": CALLER}
    assert parse(peer, **x_forwarded(**fields)) == ForwardedRequest(peer)
    assert parse(peer, forwarded="proto=https;host=gw.example") == ForwardedRequest(peer)


def test_without_the_setting_nobody_is() -> None:
    headers = Headers({"x-forwarded-proto": "https"})
    assert parse_forwarded(headers, "127.0.0.1", TrustedProxies()).scheme is None


@pytest.mark.parametrize(
    "text",
    [
        "for=203.0.113.9;proto=https;host=gw.example",
        "For=203.0.113.9; Proto=HTTPS; Host=gw.example",
        'for="203.0.113.9:4711";proto="https";host="gw.example"',
        'for=1.2.3.4, for="203.0.113.9";proto=https;host=gw.example;by=_p',
        'for="a,b;c", for=203.0.113.9;proto=https;host="gw.\\example"',
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(text: str) -> None:
    assert parse(forwarded=text) == ForwardedRequest(CALLER, "https", "gw.example")


def test_the_older_headers_win_since_proxies_pass_on_a_forwarded_of_the_caller() -> None:
    both = parse(**x_forwarded(host="gw.example"), forwarded="host=evil.example;proto=https")
    assert (both.host, both.scheme) == ("gw.example", None)


def test_what_a_caller_prepends_does_not_count() -> None:
    spoofed = parse(**x_forwarded(**{"for": f"10.9.9.9, {CALLER}", "host": "evil.x, gw.example"}))
    assert (spoofed.client, spoofed.host) == (CALLER, "gw.example")


def test_behind_two_trusted_proxies_the_outer_ones_view_counts() -> None:
    fields = {"for": f"{CALLER}, {CDN}", "proto": "https, http", "host": "gw.example, inner:8000"}
    assert parse(**x_forwarded(**fields)) == ForwardedRequest(CALLER, "https", "gw.example")


def test_a_field_that_one_proxy_sets_alone_counts() -> None:
    fields = {"for": f"{CALLER}, {CDN}", "proto": "https"}
    assert parse(**x_forwarded(**fields)).scheme == "https"


def test_if_all_are_proxies_the_farthest_is_the_caller() -> None:
    assert parse(**x_forwarded(**{"for": f"10.1.1.1, {CDN}"})).client == "10.1.1.1"


@pytest.mark.parametrize(
    ("node", "client"),
    [
        ("203.0.113.9:80", CALLER),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", PEER),
        ("_hidden", PEER),
        ("", PEER),
        ("<script>", PEER),
    ],
)
def test_a_node_is_an_address_or_the_peer(node: str, client: str) -> None:
    assert parse(**x_forwarded(**{"for": node})).client == client


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proto", "javascript"),
        ("proto", "https "),
        ("host", "a b"),
        ("host", "gw.example/x"),
        ("host", "gw.example:port"),
        ("host", "user@gw.example"),
        ("host", "x" * 300),
        ("prefix", "ai"),
        ("prefix", "//evil.example"),
        ("prefix", "/a/../b"),
        ("prefix", "/."),
        ("prefix", '/"><script>'),
        ("prefix", "/a?b"),
        ("prefix", "/" + "a" * 200),
        ("prefix", "/"),
    ],
)
def test_what_is_no_part_of_a_url_is_ignored(name: str, value: str) -> None:
    parsed = parse(**x_forwarded(**{name: value}))
    expected = "https" if value == "https " else None
    assert {parsed.scheme, parsed.host, parsed.prefix} <= {None, expected}


@pytest.mark.parametrize("prefix", ["/ai", "/ai/", "/a/b-c/d.e~f"])
def test_a_prefix_ends_without_a_slash(prefix: str) -> None:
    assert parse(**x_forwarded(prefix=prefix)).prefix == prefix.rstrip("/")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "gw.example", "", "*", "10.0.0.0/33"])
def test_a_wrong_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        TrustedProxies.parse([text])
