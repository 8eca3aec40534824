"""Which URLs may be called: a table of hostile URLs, address rules, the operator's list."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from core.webhooks.url_policy import (
    ADDRESS_RULES,
    ALLOWABLE_KINDS,
    AddressKind,
    AllowedTargets,
    Refusal,
    RefusalReason,
    Target,
    TargetPolicy,
    check_address,
    check_url,
    is_local_name,
    parse_host,
)

STRICT = TargetPolicy()

HOSTILE = {
    # loopback and its disguises
    "https://127.0.0.1/": RefusalReason.ADDRESS,
    "https://127.0.0.1:8443/": RefusalReason.ADDRESS,
    "https://127.255.255.254/": RefusalReason.ADDRESS,
    "https://[::1]/": RefusalReason.ADDRESS,
    "https://[0:0:0:0:0:0:0:1]/": RefusalReason.ADDRESS,
    "https://[0000:0000:0000:0000:0000:0000:0000:0001]/": RefusalReason.ADDRESS,
    "https://[::ffff:127.0.0.1]/": RefusalReason.ADDRESS,
    "https://[::ffff:7f00:1]/": RefusalReason.ADDRESS,
    "https://[::ffff:8.8.8.8]/": RefusalReason.ADDRESS,
    "https://[0:0:0:0:0:ffff:127.0.0.1]/": RefusalReason.ADDRESS,
    "https://[::127.0.0.1]/": RefusalReason.ADDRESS,
    "https://[::ffff:0:127.0.0.1]/": RefusalReason.ADDRESS,
    "https://2130706433/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0x7f000001/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0X7F000001/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://017700000001/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0177.0.0.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0x7f.0.0.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0x7f.0x0.0x0.0x1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.0.01/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0x/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://00000000127.0.0.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.0.1.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.0.256/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://4294967296/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://hooks.example.1/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.0.1./": RefusalReason.NONSTANDARD_ADDRESS,
    "https://2130706433./": RefusalReason.NONSTANDARD_ADDRESS,
    "https://127.0.0.1../": RefusalReason.NONSTANDARD_ADDRESS,
    "https://[::1%25lo]/": RefusalReason.HOST,
    "https://[fe80::1%25eth0]/": RefusalReason.HOST,
    "https://[127.0.0.1]/": RefusalReason.HOST,
    "https://[::g]/": RefusalReason.HOST,
    "https://[:::1]/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://[::1/": RefusalReason.HOST,
    "https://::1/": RefusalReason.HOST,
    # metadata services
    "https://169.254.169.254/latest/meta-data/": RefusalReason.ADDRESS,
    "http://169.254.169.254/latest/meta-data/": RefusalReason.ADDRESS,
    "https://[::ffff:169.254.169.254]/": RefusalReason.ADDRESS,
    "https://[64:ff9b::169.254.169.254]/": RefusalReason.ADDRESS,
    "https://[64:ff9b:1::a9fe:a9fe]/": RefusalReason.ADDRESS,
    "https://[2002:a9fe:a9fe::]/": RefusalReason.ADDRESS,
    "https://[2002:7f00:1::1]/": RefusalReason.ADDRESS,
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/": RefusalReason.ADDRESS,
    "https://[fd00:ec2::254]/": RefusalReason.ADDRESS,
    "https://[fd20:ce::254]/": RefusalReason.ADDRESS,
    "https://100.100.100.200/": RefusalReason.ADDRESS,
    "https://168.63.129.16/": RefusalReason.ADDRESS,
    "https://2852039166/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0xa9fea9fe/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0xa9.0xfe.0xa9.0xfe/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://0251.0376.0251.0376/": RefusalReason.NONSTANDARD_ADDRESS,
    "https://metadata.google.internal/computeMetadata/v1/": RefusalReason.LOCAL_NAME,
    "https://metadata/": RefusalReason.LOCAL_NAME,
    # private, shared, link-local, reserved and the rest
    "https://10.0.0.1/": RefusalReason.ADDRESS,
    "https://172.16.0.1/": RefusalReason.ADDRESS,
    "https://172.31.255.255/": RefusalReason.ADDRESS,
    "https://192.168.1.1/": RefusalReason.ADDRESS,
    "https://100.64.0.1/": RefusalReason.ADDRESS,
    "https://169.254.1.1/": RefusalReason.ADDRESS,
    "https://0.0.0.0/": RefusalReason.ADDRESS,
    "https://0.1.2.3/": RefusalReason.ADDRESS,
    "https://[::]/": RefusalReason.ADDRESS,
    "https://224.0.0.1/": RefusalReason.ADDRESS,
    "https://239.255.255.250/": RefusalReason.ADDRESS,
    "https://255.255.255.255/": RefusalReason.ADDRESS,
    "https://240.0.0.1/": RefusalReason.ADDRESS,
    "https://192.0.0.1/": RefusalReason.ADDRESS,
    "https://192.0.2.1/": RefusalReason.ADDRESS,
    "https://198.51.100.1/": RefusalReason.ADDRESS,
    "https://203.0.113.1/": RefusalReason.ADDRESS,
    "https://198.18.0.1/": RefusalReason.ADDRESS,
    "https://192.88.99.1/": RefusalReason.ADDRESS,
    "https://[fc00::1]/": RefusalReason.ADDRESS,
    "https://[fd12:3456:789a::1]/": RefusalReason.ADDRESS,
    "https://[fe80::1]/": RefusalReason.ADDRESS,
    "https://[fec0::1]/": RefusalReason.ADDRESS,
    "https://[ff02::1]/": RefusalReason.ADDRESS,
    "https://[2001:db8::1]/": RefusalReason.ADDRESS,
    "https://[3fff::1]/": RefusalReason.ADDRESS,
    "https://[2001:2::1]/": RefusalReason.ADDRESS,
    "https://[100::1]/": RefusalReason.ADDRESS,
    "https://[5f00::1]/": RefusalReason.ADDRESS,
    "https://[4000::1]/": RefusalReason.ADDRESS,
    # names that mean something inside only
    "https://localhost/": RefusalReason.LOCAL_NAME,
    "https://LOCALHOST/": RefusalReason.LOCAL_NAME,
    "https://a.localhost/": RefusalReason.LOCAL_NAME,
    "https://redis/": RefusalReason.LOCAL_NAME,
    "https://printer.local/": RefusalReason.LOCAL_NAME,
    "https://db.corp.internal/": RefusalReason.LOCAL_NAME,
    "https://nas.home.arpa/": RefusalReason.LOCAL_NAME,
    "https://localhost./": RefusalReason.HOST,
    "https://hooks.example./": RefusalReason.HOST,
    "https://.hooks.example/": RefusalReason.HOST,
    "https://hooks..example/": RefusalReason.HOST,
    # IDNA and Unicode: nothing outside of ASCII reaches a second parser
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/": RefusalReason.NOT_A_URL,
    "https://127。0。0。1/": RefusalReason.NOT_A_URL,
    "https://ⓛocalhost/": RefusalReason.NOT_A_URL,
    "https://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/": RefusalReason.NOT_A_URL,
    "https://loc\u00adalhost/": RefusalReason.NOT_A_URL,
    "https://bücher.example/": RefusalReason.NOT_A_URL,
    "https://hooks.example\u2024internal/": RefusalReason.NOT_A_URL,
    "https://169.254.169.254\u2044/": RefusalReason.NOT_A_URL,
    # two parsers, two readings
    "https://hooks.example@127.0.0.1/": RefusalReason.USERINFO,
    "https://127.0.0.1@hooks.example/": RefusalReason.USERINFO,
    "https://user:pass@hooks.example/": RefusalReason.USERINFO,
    "https://@hooks.example/": RefusalReason.USERINFO,
    "https://hooks.example:443@127.0.0.1/": RefusalReason.USERINFO,
    "https://127.0.0.1#@hooks.example/": RefusalReason.NOT_A_URL,
    "https://hooks.example/#fragment": RefusalReason.NOT_A_URL,
    "https://hooks.example\\@127.0.0.1/": RefusalReason.NOT_A_URL,
    "https://127.0.0.1\\.hooks.example/": RefusalReason.NOT_A_URL,
    "https:\\\\127.0.0.1/": RefusalReason.NOT_A_URL,
    "https://127%2e0%2e0%2e1/": RefusalReason.HOST,
    "https://%31%32%37.0.0.1/": RefusalReason.HOST,
    "https://hooks.example%00.evil.example/": RefusalReason.HOST,
    "https://hooks.example/\r\nHost: 127.0.0.1": RefusalReason.NOT_A_URL,
    "https://hooks.example/a b": RefusalReason.NOT_A_URL,
    " https://hooks.example/": RefusalReason.NOT_A_URL,
    "https://hooks.example/\n": RefusalReason.NOT_A_URL,
    "https://hooks.example\t/": RefusalReason.NOT_A_URL,
    "https://hooks.example/\x00": RefusalReason.NOT_A_URL,
    "https:/127.0.0.1/": RefusalReason.NOT_A_URL,
    "https:127.0.0.1": RefusalReason.NOT_A_URL,
    "//127.0.0.1/": RefusalReason.NOT_A_URL,
    "/hook": RefusalReason.NOT_A_URL,
    "": RefusalReason.NOT_A_URL,
    "https://": RefusalReason.HOST,
    "https:///hook": RefusalReason.HOST,
    "https://?hook": RefusalReason.HOST,
    "https://:443/": RefusalReason.HOST,
    # schemes and ports
    "http://hooks.example/": RefusalReason.SCHEME,
    "HTTP://hooks.example/": RefusalReason.SCHEME,
    "http://8.8.8.8/": RefusalReason.SCHEME,
    "ftp://hooks.example/": RefusalReason.SCHEME,
    "file:///etc/passwd": RefusalReason.SCHEME,
    "gopher://127.0.0.1:6379/_FLUSHALL": RefusalReason.SCHEME,
    "redis://127.0.0.1:6379/": RefusalReason.SCHEME,
    "unix://var/run/docker.sock": RefusalReason.SCHEME,
    "javascript:alert(1)": RefusalReason.NOT_A_URL,
    "https://hooks.example:80/": RefusalReason.PORT,
    "https://hooks.example:22/": RefusalReason.PORT,
    "https://hooks.example:6379/": RefusalReason.PORT,
    "https://8.8.8.8:6379/": RefusalReason.PORT,
    "https://hooks.example:0/": RefusalReason.PORT,
    "https://hooks.example:65536/": RefusalReason.PORT,
    "https://hooks.example:99999/": RefusalReason.PORT,
    "https://hooks.example:-443/": RefusalReason.HOST,
    "https://hooks.example:+443/": RefusalReason.HOST,
    "https://hooks.example:443443/": RefusalReason.HOST,
    "https://hooks.example:/": RefusalReason.HOST,
    "https://hooks.example:443:443/": RefusalReason.HOST,
    "https://hooks.example:٤٤٣/": RefusalReason.NOT_A_URL,
    # lengths
    "https://hooks.example/" + "a" * 2027: RefusalReason.TOO_LONG,
    "https://" + "a" * 64 + ".example/": RefusalReason.HOST,
    "https://" + ".".join(["a" * 63] * 4) + ".example/": RefusalReason.HOST,
}


@pytest.mark.parametrize(("url", "reason"), HOSTILE.items(), ids=ascii)
def test_hostile_url_is_refused(url: str, reason: RefusalReason) -> None:
    verdict = check_url(url, STRICT)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason
    assert verdict.message


def test_table_is_long_enough() -> None:
    assert len(HOSTILE) >= 60
    assert set(RefusalReason) - set(HOSTILE.values()) == {RefusalReason.UNRESOLVED}


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
        ("http://8.8.8.8/", RefusalReason.SCHEME),
        ("http://127.0.0.2/", RefusalReason.ADDRESS),
        ("http://10.2.0.1/", RefusalReason.ADDRESS),
        ("http://169.254.169.254/", RefusalReason.ADDRESS),
        ("http://2130706433/", RefusalReason.NONSTANDARD_ADDRESS),
        ("http://user@receiver/", RefusalReason.USERINFO),
        ("http://receiver./", RefusalReason.HOST),
        ("ftp://receiver/", RefusalReason.SCHEME),
    ],
)
def test_a_list_opens_nothing_else(url: str, reason: RefusalReason) -> None:
    verdict = check_url(url, OPENED)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is reason


def test_a_suffix_needs_its_dot() -> None:
    only_names = TargetPolicy(allowed=AllowedTargets.parse(["*.corp.example"]))
    for host in ("corp.example", "evilcorp.example", "corp.example.evil.example"):
        assert isinstance(check_url(f"http://{host}/", only_names), Refusal)


@pytest.mark.parametrize("kind", sorted(set(AddressKind) - ALLOWABLE_KINDS - {AddressKind.PUBLIC}))
def test_no_list_opens_what_is_no_place_for_a_receiver(kind: AddressKind) -> None:
    everything = TargetPolicy(allowed=AllowedTargets.parse(["0.0.0.0/0", "::/0", "*.example"]))
    target = Target("https", "hooks.example", 443, "/", None, is_allowed=True)
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
    assert parse_host("Hooks.Example") == "hooks.example"
    assert parse_host("::1") == IPv6Address("::1")
    assert isinstance(parse_host("127.1"), Refusal)
    assert is_local_name("x.home.arpa")
    assert not is_local_name("arpa.example")
