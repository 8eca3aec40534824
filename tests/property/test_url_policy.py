from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from core.webhooks.url_policy import (
    AddressKind,
    Refusal,
    Target,
    TargetPolicy,
    check_url,
    classify_address,
)

STRICT = TargetPolicy()


@given(st.ip_addresses())
@example(ip_address("192.0.0.9"))
@example(ip_address("2001:1::1"))
def test_nothing_is_public_that_python_calls_local(address: IPv4Address | IPv6Address) -> None:
    if classify_address(address) is AddressKind.PUBLIC:
        assert address.is_global
        assert not address.is_multicast


@given(st.text(max_size=60))
@example("[")
@example("%")
def test_no_text_makes_the_judge_stumble(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"https://hooks.example{text}"):
        verdict = check_url(url, STRICT)
        assert isinstance(verdict, Refusal | Target)
        if isinstance(verdict, Target):
            assert verdict.scheme == "https"
            assert verdict.port in STRICT.ports
            assert verdict.host.isascii()
