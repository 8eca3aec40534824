"""RunComfy's balance: exact or unknown, by GET from the configured host."""

import httpx
import pytest

from core.money import MicroUsd
from tests.support.upstream_client import TOKEN, HarnessFactory, UpstreamClientHarness
from worker.ports import BalanceSource, Unreachable
from worker.upstream.balance import RunComfyBalance


def source(harness: UpstreamClientHarness) -> BalanceSource:
    return RunComfyBalance(harness.line().with_base_url("https://account.test/"), harness.limits)


@pytest.mark.parametrize(
    ("document", "balance"),
    [
        ({"balance_usd": 12.5, "balance_microdollars": 12_500_001}, 12_500_001),
        ({"balance_microdollars": 0}, 0),
        ({"balance_microdollars": -5}, -5),
        ({"balance_usd": 12.5}, 12_500_000),
        ({"balance_usd": "12.500001"}, 12_500_001),
        ({"balance_usd": -0.5}, -500_000),
        ({"balance_usd": 1, "balance_microdollars": "many"}, 1_000_000),
        ({"balance_usd": 1, "balance_microdollars": True}, 1_000_000),
        ({"balance_usd": 1, "balance_microdollars": 10**16}, 1_000_000),
    ],
)
async def test_a_balance_is_read(
    harness_for: HarnessFactory, document: dict[str, object], balance: int
) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json=document))
    assert await source(desk).get_balance() == MicroUsd(balance)


async def test_it_is_a_get_of_the_account_s_host_with_the_token(
    harness_for: HarnessFactory,
) -> None:
    desk = harness_for(lambda _: httpx.Response(200, json={"balance_microdollars": 1}))
    await source(desk).get_balance()
    (request,) = desk.reads
    assert str(request.url) == "https://account.test/prod/v2/balance"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert desk.posts == []
    assert [(call.call, call.outcome) for call in desk.calls] == [("balance", "ok")]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={}),
        httpx.Response(200, json={"balance_usd": None}),
        httpx.Response(200, json={"balance_usd": "NaN"}),
        httpx.Response(200, json={"balance_usd": 1e30}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"error_code": 400004, "error_message": "revoked"}),
        httpx.Response(401, json={}),
        httpx.Response(404, json={}),
        httpx.Response(500, text="no"),
        httpx.Response(302, headers={"location": "https://evil.test/"}),
    ],
)
async def test_what_is_no_balance_is_no_balance(
    harness_for: HarnessFactory, answer: httpx.Response
) -> None:
    desk = harness_for(lambda _: answer)
    assert isinstance(await source(desk).get_balance(), Unreachable)
    assert len(desk.reads) == 1


async def test_a_connection_that_fails_is_told_of(harness_for: HarnessFactory) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    assert isinstance(await source(harness_for(fail)).get_balance(), Unreachable)


@pytest.mark.parametrize("url", ["ftp://x", "https://user:pw@x", "https://", "https://x/?a=1"])
def test_what_is_no_base_url_is_refused(harness_for: HarnessFactory, url: str) -> None:
    desk = harness_for(lambda _: httpx.Response(200))
    with pytest.raises(ValueError, match="base URL"):
        desk.line().with_base_url(url)
