import json
import random
from collections import Counter

import httpx
import pytest

from simulator.example import load_kling_example
from simulator.stack import TenantCredentials
from simulator.traffic import (
    ENABLE_VARIABLE,
    PATTERNS,
    TrafficGenerator,
    TrafficPattern,
    build_input,
    choose_pattern,
    main,
)

TENANT = TenantCredentials("shop-1", "key-of-shop", "whsec_x")
PLAIN, CANCELLED = PATTERNS[0], next(kind for kind in PATTERNS if kind.cancels)


class StubGateway:
    """Answers submits with a status and records every call."""

    def __init__(self, status: int = 202) -> None:
        self.status = status
        self.calls: list[httpx.Request] = []
        self.printed: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        return httpx.Response(self.status, json={"request_id": "req_1"})

    def generator(self) -> TrafficGenerator:
        http = httpx.Client(transport=httpx.MockTransport(self))
        return TrafficGenerator(
            "http://gw", "http://hooks", http, random.Random(1), self.printed.append
        )


@pytest.mark.parametrize("value", [None, "", "off", "ON", "true"])
def test_without_the_switch_nothing_is_sent_and_the_process_ends_well(
    value: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], {} if value is None else {ENABLE_VARIABLE: value}) == 0
    assert "nothing is sent" in capsys.readouterr().out


def test_most_requests_are_plain_and_every_kind_comes() -> None:
    chance = random.Random(7)
    drawn = Counter(choose_pattern(chance).name for _ in range(4000))
    assert set(drawn) == {kind.name for kind in PATTERNS}
    assert drawn["plain"] > 2000


@pytest.mark.parametrize("kind", PATTERNS, ids=lambda kind: kind.name)
def test_a_request_is_the_example_with_its_mark(kind: TrafficPattern) -> None:
    given = build_input(kind, load_kling_example(), 3)
    assert given["start_image_url"] == load_kling_example().input["start_image_url"]
    assert str(given["prompt"]).endswith(f"Take 3. {kind.prompt_suffix}".rstrip())


def test_a_request_is_sent_as_its_tenant_and_told() -> None:
    gateway = StubGateway()
    gateway.generator().send(TENANT, PLAIN)
    (call,) = gateway.calls
    assert call.url.path == f"/v1/models/{load_kling_example().model_id}"
    assert call.headers["authorization"] == "Bearer key-of-shop"
    assert json.loads(call.content)["start_image_url"]
    assert gateway.printed == ["shop-1 plain 202 req_1"]


def test_a_cancelled_one_is_cancelled_once_it_was_taken() -> None:
    taken, refused = StubGateway(), StubGateway(422)
    taken.generator().send(TENANT, CANCELLED)
    refused.generator().send(TENANT, CANCELLED)
    assert [c.url.path for c in taken.calls][1:] == ["/v1/requests/req_1/cancel"]
    assert len(refused.calls) == 1
    assert refused.printed == ["shop-1 cancelled 422 -"]


def test_it_is_ready_when_all_whom_it_needs_are() -> None:
    assert StubGateway(200).generator().is_ready()
    assert not StubGateway(503).generator().is_ready()
