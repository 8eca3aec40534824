"""Models as RunComfy lists them, by real processes: ids with spaces, unlisted ids, the sync."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pytest

from simulator.demo import wait_for
from tests.support.stack import FAST, TenantClient, running_stack, tenant_client

LIVE: Final = "minimax/Hailuo Video 01 Live"
SYNCED: Final = timedelta(seconds=150)
PATHS: Final = (
    "minimax/Hailuo%20Video%2001%20Live",
    "minimax/Hailuo+Video+01+Live",
    "minimax/Hailuo%20Video%2001%20Live/",
)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantClient]:
    """A stack whose catalogue was synced."""
    with (
        running_stack(tmp_path_factory.mktemp("stack"), runcomfy_options=FAST) as stack,
        tenant_client(stack, "models", "--models", "minimax/Hailuo Video *") as client,
    ):

        def listed() -> bool | None:
            return client.http.get(f"/v1/models/{PATHS[0]}").status_code == 200 or None

        wait_for(listed, SYNCED, "the sync")
        yield client


def test_an_id_with_spaces_works_from_the_path_to_the_bill(caller: TenantClient) -> None:
    http, before = caller.http, caller.paid_submits()
    caller.stack.run_gateway("limits", "set", "--model", f"{LIVE}=2")
    prompts = [f"A cat yawns {number} times." for number in range(len(PATHS))]
    answers = [
        http.post(f"/v1/models/{path}", json={"prompt": prompt}, params={"max_cost": "0.5"})
        for path, prompt in zip(PATHS, prompts, strict=True)
    ]
    requests = [answer.json()["request_id"] for answer in answers]
    assert [caller.wait_for_end(each) for each in requests] == ["completed"] * len(PATHS)
    assert caller.paid_submits() == before + len(PATHS)
    results = [http.get(f"/v1/requests/{each}/result?include_cost=yes").json() for each in requests]
    assert {(result["model_id"], result["cost"]) for result in results} == {(LIVE, 0.5)}
    found = http.get("/v1/requests", params={"model_id": LIVE}).json()["requests"]
    assert {row["request_id"] for row in found} == set(requests)
    day, *_ = http.get("/v1/usage").json()["windows"]
    assert day["models"][LIVE]["jobs"] == len(PATHS)
    assert http.get("/prod/v2/balance").json()["currency"] == "USD"


def test_an_id_that_nobody_lists_is_refused_before_money(caller: TenantClient) -> None:
    before = caller.paid_submits()
    answer = caller.http.post("/v1/models/minimax/Hailuo Video 01 Life", json={"prompt": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
    assert f"Did you mean {LIVE}?" in answer.json()["detail"]
    assert caller.paid_submits() == before
