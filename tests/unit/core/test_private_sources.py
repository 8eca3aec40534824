"""Which addresses are private sources: the list's entries, and URLs that only look as if."""

from ipaddress import ip_address

import pytest

from core.private_sources import NO_PRIVATE_SOURCES, PrivateSources
from core.webhooks.url_policy import Target, check_address, check_url

SOURCES = PrivateSources.parse(
    [
        "assets.corp",
        "*.renders.corp",
        "10.1.2.3",
        "https://files.corp:8443/shots",
        "http://[fd00::5]/",
    ]
)


@pytest.mark.parametrize(
    "url",
    [
        "http://assets.corp/a.png",
        "https://assets.corp/a.png?token=%2e%2e",
        "https://ASSETS.corp:443/a.png",
        "https://a.b.renders.corp/x",
        "http://10.1.2.3/x.png",
        "https://files.corp:8443/shots/7/a.png",
        "http://[fd00::5]/a.png",
    ],
)
def test_a_url_under_an_entry_is_a_private_source(url: str) -> None:
    assert SOURCES.contain(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://assets.corp:6379/a.png",
        "http://assets.corp:443/a.png",
        "https://assets.corp.example.com/a.png",
        "https://user@assets.corp/a.png",
        "https://assets.corp@example.com/a.png",
        "https://example.com#@assets.corp/",
        "https://assets.corp./a.png",
        "https://renders.corp/x",
        "https://evilrenders.corp/x",
        "http://0x0a.1.2.3/x.png",
        "http://167838211/x.png",
        "http://10.1.2.4/x.png",
        "http://files.corp:8443/shots/a.png",
        "https://files.corp/shots/a.png",
        "https://files.corp:8443/shots-secret/a.png",
        "https://files.corp:8443/shots/../secret.png",
        "https://files.corp:8443/shots/%2e%2e/secret.png",
        "https://files.corp:8443/shots/%2E./secret.png",
        "https://files.corp:8443/shots/..;x=1/secret.png",
        "https://files.corp:8443/shots/..%2fsecret.png",
        "https://files.corp:8443/shots/%252e%252e/secret.png",
        "https://files.corp:8443/shots/..",
        "https://files.corp:8443/shots",
        "ftp://assets.corp/a.png",
        "gateway-file:file_1",
        "data:image/png;base64,AAAA",
        "",
    ],
)
def test_any_other_url_is_none(url: str) -> None:
    assert not SOURCES.contain(url)


def test_without_a_list_nothing_is_a_source() -> None:
    assert not NO_PRIVATE_SOURCES.contain("https://assets.corp/a.png")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "10.0.0.0/8",
        "assets.corp/shots",
        "ftp://assets.corp/",
        "https://*.corp/",
        "https://assets.corp/shots?x=1",
        "https://assets.corp/../",
        "https://user:word@assets.corp/",
        "as sets",
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"(?s).+"):
        PrivateSources.parse([entry])


@pytest.mark.parametrize(
    ("found", "is_allowed"),
    [
        ("10.0.0.1", True),
        ("127.0.0.1", True),
        ("100.64.0.1", True),
        ("93.184.216.34", True),
        ("169.254.169.254", False),
        ("169.254.0.1", False),
        ("224.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fd00:ec2::254", False),
    ],
)
def test_a_listed_host_may_have_a_private_address_but_no_metadata_services(
    found: str, *, is_allowed: bool
) -> None:
    policy = SOURCES.target_policy()
    target = check_url("http://assets.corp/a.png", policy)
    assert isinstance(target, Target)
    assert (check_address(target, ip_address(found), policy) is None) is is_allowed
