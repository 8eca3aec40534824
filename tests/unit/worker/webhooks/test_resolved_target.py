"""From a URL to one checked address: rebinding, mixed answers, rotation, SNI."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from core.webhooks.url_policy import Address, AllowedTargets, Refusal, RefusalReason, TargetPolicy
from worker.webhooks.resolved_target import PinnedTarget, resolve

STRICT = TargetPolicy()
URL = "https://hooks.example/x?y"


class FakeResolver:
    """Answers from a script, one row for each query; the last row repeats."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str) -> tuple[Address, ...]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return tuple(ip_address(text) for text in answer)


async def resolve_target(
    url: str, policy: TargetPolicy, *answers: str, turn: int = 0
) -> PinnedTarget:
    verdict = await resolve(url, policy, FakeResolver(answers), rotation=turn)
    assert isinstance(verdict, PinnedTarget)
    return verdict


async def test_the_checked_address_is_the_one_to_call() -> None:
    verdict = await resolve_target(URL, STRICT, "8.8.8.8")
    assert verdict.url == "https://8.8.8.8:443/x?y"
    assert verdict.server_name == "hooks.example"
    assert verdict.target.authority == "hooks.example"


@pytest.mark.parametrize(
    "answers",
    [
        ("127.0.0.1",),
        ("10.0.0.1",),
        ("169.254.169.254",),
        ("100.64.0.1",),
        ("0.0.0.0",),  # noqa: S104 - an answer that must be refused, not bound to
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::",),
        ("fe80::1%1",),
        ("fd00::1",),
        ("8.8.8.8", "127.0.0.1"),
        ("127.0.0.1", "8.8.8.8"),
        ("2606:4700::1111", "::1"),
        ("8.8.8.8", "1.1.1.1", "168.63.129.16"),
    ],
    ids=str,
)
@pytest.mark.parametrize("turn", range(3))
async def test_one_bad_address_condemns_the_name(answers: tuple[str, ...], turn: int) -> None:
    verdict = await resolve(URL, STRICT, FakeResolver(answers), rotation=turn)
    assert isinstance(verdict, Refusal)
    assert verdict.reason is RefusalReason.ADDRESS


async def test_rebinding_name_is_caught_at_the_attempt_that_it_turns() -> None:
    rebinding = FakeResolver(("8.8.8.8",), ("127.0.0.1",), ("8.8.8.8",))
    first = await resolve(URL, STRICT, rebinding)
    assert isinstance(first, PinnedTarget)
    assert first.address == IPv4Address("8.8.8.8")
    assert isinstance(await resolve(URL, STRICT, rebinding), Refusal)
    assert isinstance(await resolve(URL, STRICT, rebinding), PinnedTarget)
    assert rebinding.asked == ["hooks.example"] * 3


async def test_name_is_resolved_once_and_only_when_the_url_is_fit() -> None:
    resolver = FakeResolver(("8.8.8.8",))
    assert isinstance(await resolve("https://hooks.example:22/", STRICT, resolver), Refusal)
    assert isinstance(await resolve("https://8.8.8.8/", STRICT, resolver), PinnedTarget)
    assert resolver.asked == []
    await resolve(URL, STRICT, resolver)
    assert resolver.asked == ["hooks.example"]


async def test_unknown_name_has_a_reason_of_its_own() -> None:
    verdict = await resolve(URL, STRICT, FakeResolver(()))
    assert isinstance(verdict, Refusal)
    assert verdict.reason is RefusalReason.UNRESOLVED


async def test_turns_walk_the_addresses_ipv4_first() -> None:
    answers = ("2606:4700::1111", "8.8.8.8", "1.1.1.1")
    found = [(await resolve_target(URL, STRICT, *answers, turn=turn)).address for turn in range(4)]
    assert found == [
        IPv4Address("8.8.8.8"),
        IPv4Address("1.1.1.1"),
        IPv6Address("2606:4700::1111"),
        IPv4Address("8.8.8.8"),
    ]


async def test_ipv6_goes_into_brackets() -> None:
    assert (
        await resolve_target(URL, STRICT, "2606:4700::1111")
    ).url == "https://[2606:4700::1111]:443/x?y"


async def test_literal_address_has_no_server_name() -> None:
    verdict = await resolve_target("https://8.8.8.8/", STRICT, "1.1.1.1")
    assert verdict.address == IPv4Address("8.8.8.8")
    assert verdict.server_name is None


async def test_operators_list_is_asked_about_names_and_addresses() -> None:
    by_name = TargetPolicy(allowed=AllowedTargets.parse(["*.internal.example"]))
    by_network = TargetPolicy(allowed=AllowedTargets.parse(["10.0.0.0/8"]))
    url = "http://a.internal.example:9000/"
    for policy in (by_name, by_network):
        verdict = await resolve_target(url, policy, "10.0.0.7")
        assert verdict.url == "http://10.0.0.7:9000/"
        assert verdict.server_name is None
        assert verdict.target.authority == "a.internal.example:9000"
    assert isinstance(await resolve(url, STRICT, FakeResolver(("10.0.0.7",))), Refusal)
    for answer in ("192.168.0.1", "8.8.8.8"):
        assert isinstance(await resolve(url, by_network, FakeResolver((answer,))), Refusal)
    assert isinstance(await resolve(url, by_name, FakeResolver(("169.254.169.254",))), Refusal)
