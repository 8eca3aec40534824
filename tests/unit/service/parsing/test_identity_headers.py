from dataclasses import replace

import pytest
from starlette.datastructures import Headers

from core.operators.operator import Role
from service.parsing.forwarded import TrustedProxies
from service.parsing.identity_headers import Grant, Identity, IdentityPolicy

PROXIES = TrustedProxies.parse(["10.0.0.0/8"])
KEY_ID = "0123456789abcdef"
POLICY = IdentityPolicy(
    "X-Forwarded-User",
    "X-Forwarded-Groups",
    {
        "platform": Grant.parse("role:operate"),
        "finance": Grant.parse("role:money"),
        "video": Grant.parse("tenant:video-team"),
        "ads": Grant.parse(f"tenant:ads/{KEY_ID}"),
    },
)
ADA = ("x-forwarded-user", "ada@example.com")


def identity_of(*headers: tuple[str, str], peer: str | None = "10.0.0.1") -> Identity | None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return POLICY.identity_of(Headers(raw=raw), peer, PROXIES)


def test_a_person_may_do_what_the_groups_may() -> None:
    found = identity_of(ADA, ("x-forwarded-groups", "platform, video,finance ,ads,others,"))
    roles = frozenset({Role.OPERATE, Role.MONEY})
    tenants = {
        "video-team": Grant(tenant="video-team"),
        f"ads/{KEY_ID}": Grant(tenant="ads", key_id=KEY_ID),
    }
    assert found == Identity("ada@example.com", roles, tenants)


def test_two_keys_of_one_tenant_are_two_choices() -> None:
    others = {"more": Grant.parse("tenant:ads"), "again": Grant.parse("tenant:ads")}
    policy = replace(POLICY, grants={**POLICY.grants, **others})
    headers = Headers({ADA[0]: ADA[1], "x-forwarded-groups": "ads,more,again"})
    found = policy.identity_of(headers, "10.0.0.1", PROXIES)
    assert found is not None
    assert set(found.tenants) == {"ads", f"ads/{KEY_ID}"}


@pytest.mark.parametrize("groups", ["", "Platform", "platform video", "*", "role:all"])
def test_a_group_that_is_not_in_the_table_may_do_nothing(groups: str) -> None:
    assert identity_of(ADA, ("x-forwarded-groups", groups)) == Identity("ada@example.com")


@pytest.mark.parametrize("peer", [None, "", "192.0.2.1", "::1", "unix", "10.0.0.1, 192.0.2.1"])
def test_no_other_peer_is_believed(peer: str | None) -> None:
    assert identity_of(ADA, ("x-forwarded-groups", "platform"), peer=peer) is None


def test_headers_that_come_twice_name_nobody() -> None:
    groups = ("x-forwarded-groups", "platform")
    assert identity_of(("x-forwarded-user", "eve"), ADA, groups) is None
    assert identity_of(ADA, groups, groups) is None
    assert identity_of(groups) is None


@pytest.mark.parametrize(
    "name", ["", " ", "eve,ada", "eve ada", "eve;ada", "ada\x00", "ad\xe1", "a" * 129, "a\tb"]
)
def test_a_name_is_one_word(name: str) -> None:
    assert identity_of(("x-forwarded-user", name)) is None


def test_without_the_setting_nobody_is_believed() -> None:
    headers = Headers({"x-forwarded-user": "ada", "": "ada"})
    assert IdentityPolicy().identity_of(headers, "10.0.0.1", PROXIES) is None


@pytest.mark.parametrize(
    "text", ["", "all", "role:", "role:root", "tenant:", "tenant:A", "tenant:a/b", "role:all,read"]
)
def test_a_wrong_grant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="role:NAME or tenant:NAME"):
        Grant.parse(text)
