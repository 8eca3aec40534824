"""What may be called: the table of hostile URLs, the address rules, the operator's list."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from core.webhooks.url_policy import (
    ADDRESS_RULES,
    OPENABLE,
    AddressKind,
    AllowedTargets,
    Reason,
    Refusal,
    Target,
    TargetPolicy,
    check_address,
    check_url,
    is_local_name,
    read_host,
)

STRICT = TargetPolicy()

HOSTILE = {
    # loopback and its disguises
    "https://127.0.0.1/": Reason.ADDRESS,
    "https://127.0.0.1:8443/": Reason.ADDRESS,
    "https://127.255.255.254/": Reason.ADDRESS,
    "https://[::1]/": Reason.ADDRESS,
    "https://[0:0:0:0:0:0:0:1]/": Reason.ADDRESS,
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]/": Reason.ADDRESS,
    "https://[::ffff:127.0.0.1]/": Reason.ADDRESS,
    "https://[::ffff:7f00:1]/": Reason.ADDRESS,
    "https://[::ffff:8.8.8.8]/": Reason.ADDRESS,
    "https://[0:0:0:0:0:ffff:127.0.0.1]/": Reason.ADDRESS,
    "https://[::127.0.0.1]/": Reason.ADDRESS,
    "https://[::ffff:0:127.0.0.1]/": Reason.ADDRESS,
    "https://2130706433/": Reason.ODD_ADDRESS,
    "https://0x7f000001/": Reason.ODD_ADDRESS,
    "https://0X7F000001/": Reason.ODD_ADDRESS,
    "https://017700000001/": Reason.ODD_ADDRESS,
    "https://0177.0.0.1/": Reason.ODD_ADDRESS,
    "https://0x7f.0.0.1/": Reason.ODD_ADDRESS,
    "https://0x7f.0x0.0x0.0x1/": Reason.ODD_ADDRESS,
    "https://127.0.0.01/": Reason.ODD_ADDRESS,
    "https://127.1/": Reason.ODD_ADDRESS,
    "https://127.0.1/": Reason.ODD_ADDRESS,
    "https://0/": Reason.ODD_ADDRESS,
    "https://0x/": Reason.ODD_ADDRESS,
    "https://00000000127.0.0.1/": Reason.ODD_ADDRESS,
    "https://127.0.0.1.1/": Reason.ODD_ADDRESS,
    "https://127.0.0.256/": Reason.ODD_ADDRESS,
    "https://4294967296/": Reason.ODD_ADDRESS,
    "https://hooks.example.1/": Reason.ODD_ADDRESS,
    "https://127.0.0.1./": Reason.ODD_ADDRESS,
    "https://2130706433./": Reason.ODD_ADDRESS,
    "https://127.0.0.1../": Reason.ODD_ADDRESS,
    "https://[::1%25lo]/": Reason.HOST,
    "https://[fe80::1%25eth0]/": Reason.HOST,
    "https://[127.0.0.1]/": Reason.HOST,
    "https://[::g]/": Reason.HOST,
    "https://[:::1]/": Reason.ODD_ADDRESS,
    "https://[::1/": Reason.HOST,
    "https://::1/": Reason.HOST,
    # metadata services
    "https://169.254.169.254/latest/meta-data/": Reason.ADDRESS,
    "http://169.254.169.254/latest/meta-data/": Reason.ADDRESS,
    "https://[::ffff:169.254.169.254]/": Reason.ADDRESS,
    "https://[64:ff9b::169.254.169.254]/": Reason.ADDRESS,
    "https://[64:ff9b:1::a9fe:a9fe]/": Reason.ADDRESS,
    "https://[2002:a9fe:a9fe::]/": Reason.ADDRESS,
    "https://[2002:7f00:1::1]/": Reason.ADDRESS,
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/": Reason.ADDRESS,
    "https://[fd00:ec2::254]/": Reason.ADDRESS,
    "https://[fd20:ce::254]/": Reason.ADDRESS,
    "https://100.100.100.200/": Reason.ADDRESS,
    "https://168.63.129.16/": Reason.ADDRESS,
    "https://2852039166/": Reason.ODD_ADDRESS,
    "https://0xa9fea9fe/": Reason.ODD_ADDRESS,
    "https://0xa9.0xfe.0xa9.0xfe/": Reason.ODD_ADDRESS,
    "https://0251.0376.0251.0376/": Reason.ODD_ADDRESS,
    "https://metadata.google.internal/computeMetadata/v1/": Reason.LOCAL_NAME,
    "https://metadata/": Reason.LOCAL_NAME,
    # private, shared, link-local, reserved and the rest
    "https://10.0.0.1/": Reason.ADDRESS,
    "https://172.16.0.1/": Reason.ADDRESS,
    "https://172.31.255.255/": Reason.ADDRESS,
    "https://192.168.1.1/": Reason.ADDRESS,
    "https://100.64.0.1/": Reason.ADDRESS,
    "https://169.254.1.1/": Reason.ADDRESS,
    "https://0.0.0.0/": Reason.ADDRESS,
    "https://0.1.2.3/": Reason.ADDRESS,
    "https://[::]/": Reason.ADDRESS,
    "https://224.0.0.1/": Reason.ADDRESS,
    "https://239.255.255.250/": Reason.ADDRESS,
    "https://255.255.255.255/": Reason.ADDRESS,
    "https://240.0.0.1/": Reason.ADDRESS,
    "https://192.0.0.1/": Reason.ADDRESS,
    "https://192.0.2.1/": Reason.ADDRESS,
    "https://198.51.100.1/": Reason.ADDRESS,
    "https://203.0.113.1/": Reason.ADDRESS,
    "https://198.18.0.1/": Reason.ADDRESS,
    "https://192.88.99.1/": Reason.ADDRESS,
    "https://[fc00::1]/": Reason.ADDRESS,
    "https://[fd12:3456:789a::1]/": Reason.ADDRESS,
    "https://[fe80::1]/": Reason.ADDRESS,
    "https://[fec0::1]/": Reason.ADDRESS,
    "https://[ff02::1]/": Reason.ADDRESS,
    "https://[2001:db8::1]/": Reason.ADDRESS,
    "https://[3fff::1]/": Reason.ADDRESS,
    "https://[2001:2::1]/": Reason.ADDRESS,
    "https://[100::1]/": Reason.ADDRESS,
    "https://[5f00::1]/": Reason.ADDRESS,
    "https://[4000::1]/": Reason.ADDRESS,
    # names that mean something inside only
    "https://localhost/": Reason.LOCAL_NAME,
    "https://LOCALHOST/": Reason.LOCAL_NAME,
    "https://a.localhost/": Reason.LOCAL_NAME,
    "https://redis/": Reason.LOCAL_NAME,
    "https://printer.local/": Reason.LOCAL_NAME,
    "https://db.corp.internal/": Reason.LOCAL_NAME,
    "https://nas.home.arpa/": Reason.LOCAL_NAME,
    "https://localhost./": Reason.HOST,
    "https://hooks.example./": Reason.HOST,
    "https://.hooks.example/": Reason.HOST,
    "https://hooks..example/": Reason.HOST,
    # IDNA and Unicode: nothing outside of ASCII reaches a second parser
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/": Reason.NOT_A_URL,
    "https://127。0。0。1/": Reason.NOT_A_URL,
    "https://ⓛocalhost/": Reason.NOT_A_URL,
    "https://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/": Reason.NOT_A_URL,
    "https://loc\u00adalhost/": Reason.NOT_A_URL,
    "https://bücher.example/": Reason.NOT_A_URL,
    "https://hooks.example\u2024internal/": Reason.NOT_A_URL,
    "https://169.254.169.254\u2044/": Reason.NOT_A_URL,
    # two parsers, two readings
    "https://hooks.example@127.0.0.1/": Reason.USERINFO,
    "https://127.0.0.1@hooks.example/": Reason.USERINFO,
    "https://user:pass@hooks.example/": Reason.USERINFO,
    "https://@hooks.example/": Reason.USERINFO,
    "https://hooks.example:443@127.0.0.1/": Reason.USERINFO,
    "https://127.0.0.1#@hooks.example/": Reason.NOT_A_URL,
    "https://hooks.example/#fragment": Reason.NOT_A_URL,
    "https://hooks.example\\@127.0.0.1/": Reason.NOT_A_URL,
    "https://127.0.0.1\\.hooks.example/": Reason.NOT_A_URL,
    "https:\\\\127.0.0.1/": Reason.NOT_A_URL,
    "https://127%2e0%2e0%2e1/": Reason.HOST,
    "https://%31%32%37.0.0.1/": Reason.HOST,
    "https://hooks.example%00.evil.example/": Reason.HOST,
    "https://hooks.example/\r\nHost: 127.0.0.1": Reason.NOT_A_URL,
    "https://hooks.example/a b": Reason.NOT_A_URL,
    " https://hooks.example/": Reason.NOT_A_URL,
    "https://hooks.example/\n": Reason.NOT_A_URL,
    "https://hooks.example\t/": Reason.NOT_A_URL,
    "https://hooks.example/\x00": Reason.NOT_A_URL,
    "https:/127.0.0.1/": Reason.NOT_A_URL,
    "https:127.0.0.1": Reason.NOT_A_URL,
    "//127.0.0.1/": Reason.NOT_A_URL,
    "/hook": Reason.NOT_A_URL,
    "": Reason.NOT_A_URL,
    "https://": Reason.HOST,
    "https:///hook": Reason.HOST,
    "https://?hook": Reason.HOST,
    "https://:443/": Reason.HOST,
    # schemes and ports
    "http://hooks.example/": Reason.SCHEME,
    "HTTP://hooks.example/": Reason.SCHEME,
    "http://8.8.8.8/": Reason.SCHEME,
    "ftp://hooks.example/": Reason.SCHEME,
    "file:///etc/passwd": Reason.SCHEME,
    "gopher://127.0.0.1:6379/_FLUSHALL": Reason.SCHEME,
    "redis://127.0.0.1:6379/": Reason.SCHEME,
    "unix://var/run/docker.sock": Reason.SCHEME,
    "javascript:alert(1)": Reason.NOT_A_URL,
    "https://hooks.example:80/": Reason.PORT,
    "https://hooks.example:22/": Reason.PORT,
    "https://hooks.example:6379/": Reason.PORT,
    "https://8.8.8.8:6379/": Reason.PORT,
    "https://hooks.example:0/": Reason.PORT,
    "https://hooks.example:65536/": Reason.PORT,
    "https://hooks.example:99999/": Reason.PORT,
    "https://hooks.example:-443/": Reason.HOST,
    "https://hooks.example:+443/": Reason.HOST,
    "https://hooks.example:443443/": Reason.HOST,
    "https://hooks.example:/": Reason.HOST,
    "https://hooks.example:443:443/": Reason.HOST,
    "https://hooks.example:٤٤٣/": Reason.NOT_A_URL,
    # lengths
    "https://hooks.example/" + "a" * 2027: Reason.TOO_LONG,
    "https://" + "a" * 64 + ".example/": Reason.HOST,
    "https://" + ".".join(["a" * 63] * 4) + ".example/": Reason.HOST,
}


@pytest.mark.parametrize(("url", "reason"), HOSTILE.items(), ids=ascii)
def test_hostile_url_is_refused(url: str, reason: Reason) -> None:
    verdict = check_url(url, STRICT)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason
    assert verdict.message


def test_table_is_long_enough() -> None:
    assert len(HOSTILE) >= 60
    assert set(Reason) - set(HOSTILE.values()) == {Reason.UNRESOLVED}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example/a?b=1", Target("https", "hooks.example", 443, "/a?b=1")),
        ("https://hooks.example", Target("https", "hooks.example", 443, "/")),
        ("https://hooks.example?b", Target("https", "hooks.example", 443, "/?b")),
        ("HTTPS://Hooks.EXAMPLE:8443/A", Target("https", "hooks.example", 8443, "/A")),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
        ("https://1and1.example/", Target("https", "1and1.example", 443, "/")),
        ("https://0xhooks.example/", Target("https", "0xhooks.example", 443, "/")),
        ("https://my_hook.example/", Target("https", "my_hook.example", 443, "/")),
        (
            "https://8.8.8.8/x",
            Target("https", "8.8.8.8", 443, "/x", IPv4Address("8.8.8.8")),
        ),
        (
            "https://[2606:4700:0::1111]/",
            Target("https", "2606:4700::1111", 443, "/", IPv6Address("2606:4700::1111")),
        ),
        ("https://hooks.example/a@b:c", Target("https", "hooks.example", 443, "/a@b:c")),
    ],
)
def test_honest_url_is_taken_apart(url: str, target: Target) -> None:
    assert check_url(url, STRICT) == target


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://hooks.example/", "hooks.example"),
        ("https://hooks.example:443/", "hooks.example"),
        ("https://hooks.example:8443/", "hooks.example:8443"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8443/", "[2606:4700::1111]:8443"),
    ],
)
def test_authority_names_only_an_unusual_port(url: str, authority: str) -> None:
    target = check_url(url, STRICT)
    assert isinstance(target, Target)
    assert target.authority == authority


def test_no_rule_hides_another() -> None:
    reached = {_first_rule(address) for address in _samples()}
    assert set(ADDRESS_RULES) - reached == set()


def _samples() -> list[IPv4Address | IPv6Address]:
    firsts = [network[0] for network, _ in ADDRESS_RULES]
    lasts = [network[-1] for network, _ in ADDRESS_RULES]
    return [*firsts, *lasts, ip_address("8.8.8.8"), ip_address("2606:4700::1"), ip_address("4::")]


def _first_rule(address: IPv4Address | IPv6Address) -> tuple[object, AddressKind]:
    return next(rule for rule in ADDRESS_RULES if address in rule[0])


# --- what the operator opens

OPENED = TargetPolicy(
    allowed=AllowedTargets.parse(
        ["*.internal.example", "Receiver", "localhost", "10.1.0.0/16", "127.0.0.1", "fd00:1::/64"]
    )
)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.internal.example/",
        "http://a.b.internal.example:9000/",
        "http://receiver:9000/",
        "http://localhost:9000/",
        "http://127.0.0.1:9000/",
        "http://10.1.2.3/",
        "https://10.1.2.3:22/",
        "http://[fd00:1::5]:8080/",
        "https://hooks.example/",
    ],
)
def test_listed_targets_pass(url: str) -> None:
    assert isinstance(check_url(url, OPENED), Target)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://8.8.8.8/", Reason.SCHEME),
        ("http://127.0.0.2/", Reason.ADDRESS),
        ("http://10.2.0.1/", Reason.ADDRESS),
        ("http://169.254.169.254/", Reason.ADDRESS),
        ("http://2130706433/", Reason.ODD_ADDRESS),
        ("http://user@receiver/", Reason.USERINFO),
        ("http://receiver./", Reason.HOST),
        ("ftp://receiver/", Reason.SCHEME),
    ],
)
def test_a_list_opens_nothing_else(url: str, reason: Reason) -> None:
    verdict = check_url(url, OPENED)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason


def test_a_suffix_needs_its_dot() -> None:
    only_names = TargetPolicy(allowed=AllowedTargets.parse(["*.corp.example"]))
    for host in ("corp.example", "evilcorp.example", "corp.example.evil.example"):
        assert isinstance(check_url(f"http://{host}/", only_names), Refusal)


@pytest.mark.parametrize("kind", sorted(set(AddressKind) - OPENABLE - {AddressKind.PUBLIC}))
def test_no_list_opens_what_is_no_place_for_a_receiver(kind: AddressKind) -> None:
    everything = TargetPolicy(allowed=AllowedTargets.parse(["0.0.0.0/0", "::/0", "*.example"]))
    target = Target("https", "hooks.example", 443, "/", None, opened=True)
    address = next(network[0] for network, found in ADDRESS_RULES if found is kind)
    assert isinstance(check_address(target, address, everything), Refusal)


def test_without_networks_on_the_list_http_is_refused_before_dns() -> None:
    names_only = TargetPolicy(allowed=AllowedTargets.parse(["receiver"]))
    assert isinstance(check_url("http://hooks.example/", names_only), Refusal)


def test_with_networks_on_the_list_the_address_decides() -> None:
    target = check_url("http://service:8080/", OPENED)
    assert isinstance(target, Target)
    assert check_address(target, ip_address("10.1.0.9"), OPENED) is None
    for address in ("10.2.0.9", "8.8.8.8"):
        assert isinstance(check_address(target, ip_address(address), OPENED), Refusal)


@pytest.mark.parametrize(
    "entry",
    ["*", "", "*.", "*.*.example", "a.*.example", "10.0.0.1/8", "10.0.0/8", "a b", "ex.", "1.2.3"],
)
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host name") as caught:
        AllowedTargets.parse(["good.example", entry])
    assert repr(entry) in str(caught.value)


def test_refusals_name_no_address() -> None:
    verdict = check_url("https://10.0.0.1/", STRICT)
    assert isinstance(verdict, Refusal)
    assert "10.0.0.1" not in verdict.message
    assert "private" in verdict.message


def test_hosts_alone_can_be_judged() -> None:
    assert read_host("Hooks.Example") == "hooks.example"
    assert read_host("::1") == IPv6Address("::1")
    assert isinstance(read_host("127.1"), Refusal)
    assert is_local_name("x.home.arpa")
    assert not is_local_name("arpa.example")
