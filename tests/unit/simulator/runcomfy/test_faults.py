import random
from datetime import timedelta
from typing import Any

import httpx
import pytest

from simulator.runcomfy.fault_effects import EFFECTS
from simulator.runcomfy.faults import (
    FAULT_TRAITS,
    FaultRule,
    SimulatedFaultKind,
    SimulatedOperation,
)
from simulator.script import Rule, RuleList, parse_scripts
from tests.support.clock import SelfAdvancingClock

KLING = "/v1/models/kling/kling-3.0/standard/image-to-video"
INPUT = {"prompt": "a cliff", "start_image_url": "https://example.org/input.png"}
STATUS = "/v1/requests/req-1/status"
RESULT = "/v1/requests/req-1/result"


async def script(client: httpx.AsyncClient, **rule: Any) -> None:  # noqa: ANN401 - JSON
    assert (await client.post("/_sim/faults", json=[rule])).json() == {"added": 1}


async def paid(client: httpx.AsyncClient) -> int:
    return int((await client.get("/_sim/ledger/summary")).json()["submissions"])


def test_every_kind_has_a_trait_and_an_effect() -> None:
    assert set(FAULT_TRAITS) == set(EFFECTS) == set(SimulatedFaultKind)


ANSWERED = [
    kind
    for kind, trait in FAULT_TRAITS.items()
    if SimulatedOperation.SUBMIT in trait.operations
    and not kind.value.startswith(("lost", "reset", "hang"))
]


@pytest.mark.parametrize("kind", ANSWERED)
async def test_a_submit_is_booked_exactly_where_the_table_says(
    client: httpx.AsyncClient, kind: SimulatedFaultKind
) -> None:
    await script(client, call="submit", kind=kind.value, times=1, size=10, seconds=1)
    await client.post(KLING, json=INPUT)
    assert await paid(client) == int(FAULT_TRAITS[kind].is_executed)


async def test_breaking_without_a_connection_is_our_own_error(client: httpx.AsyncClient) -> None:
    await script(client, call="submit", kind="lost_before")
    with pytest.raises(RuntimeError, match=r"behind simulator\.server"):
        await client.post(KLING, json=INPUT)


async def test_a_dose_runs_out(client: httpx.AsyncClient) -> None:
    await script(client, call="submit", kind="429", times=2, retry_after=3)
    answers = [await client.post(KLING, json=INPUT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"
    listed = (await client.get("/_sim/faults")).json()["rules"]
    assert (listed[0]["kind"], listed[0]["used"]) == ("429", 2)
    assert (await client.get("/_sim/calls")).json()["faulty"]["submit"] == 2


async def test_rules_match_model_and_request(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post(KLING, json=INPUT)
    await script(client, kind="not_found", request_id="req-1")
    await script(client, call="status", kind="error", status=503, model="fable/fable-1.5")
    assert (await client.get(STATUS)).json()["error_code"] == 404001
    assert (await client.get("/v1/requests/req-2/status")).status_code == 200
    await client.delete("/_sim/faults")
    assert (await client.get(STATUS)).status_code == 200
    kling = "kling/kling-3.0/standard/image-to-video"
    await script(client, call="status", kind="error", status=503, model=kling)
    assert (await client.get(STATUS)).status_code == 503


async def test_bodies_that_are_not_what_was_asked(client: httpx.AsyncClient) -> None:
    await client.post(KLING, json=INPUT)
    await script(client, call="status", kind="html", status=200, times=1)
    await script(client, call="status", kind="error_in_200", times=1)
    await script(client, call="status", kind="garbage", times=1)
    await script(client, call="status", kind="not_json_content_type", times=1)
    await script(client, call="status", kind="redirect", location="http://other/", times=1)
    await script(client, call="status", kind="huge", size=100_000, times=1)
    html, error, garbage, plain, moved, huge = [await client.get(STATUS) for _ in range(6)]
    assert html.headers["content-type"].startswith("text/html")
    assert (error.status_code, error.json()["error_code"]) == (200, 500001)
    with pytest.raises(ValueError, match=r"decode|delimiter|Unterminated|value"):
        garbage.json()
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.json()["status"] == "in_queue"
    assert (moved.status_code, moved.headers["location"]) == (302, "http://other/")
    assert len(huge.content) > 100_000


async def test_an_id_less_acceptance_is_booked(client: httpx.AsyncClient) -> None:
    await script(client, call="submit", kind="missing_id")
    answer = await client.post(KLING, json=INPUT)
    assert (answer.status_code, answer.json()) == (200, {})
    assert await paid(client) == 1


async def test_slow_answers_late_by_the_clock(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    await client.post(KLING, json=INPUT)
    before = clock.now()
    await script(client, call="status", kind="slow", seconds=7)
    assert (await client.get(STATUS)).json()["status"] == "in_queue"
    assert (clock.now() - before).total_seconds() == 7


@pytest.mark.parametrize(
    ("kind", "status", "result", "has_output"),
    [
        ("failed", "completed", "failed", False),
        ("completed_without_output", "completed", "succeeded", False),
        ("status_result_disagree", "completed", "failed", False),
        ("unknown_word", "completed", "succeeded", True),
    ],
)
async def test_an_oddity_at_submit_is_the_requests_own(
    client: httpx.AsyncClient,
    clock: SelfAdvancingClock,
    kind: str,
    status: str,
    result: str,
    has_output: bool,  # noqa: FBT001 - a column
) -> None:
    await script(client, call="submit", kind=kind, times=1)
    await client.post(KLING, json=INPUT)
    assert (await client.get(STATUS)).json()["status"] == "in_queue"
    clock.advance(10)
    running = "warming_up" if kind == "unknown_word" else "in_progress"
    assert (await client.get(STATUS)).json()["status"] == running
    clock.advance(20)
    assert (await client.get(STATUS)).json()["status"] == status
    final = (await client.get(RESULT)).json()
    assert final["status"] == result
    assert (final["output"] is not None) is has_output
    assert (final["error"] is not None) is (result == "failed")


async def test_an_oddity_at_a_read_bends_that_answer_only(client: httpx.AsyncClient) -> None:
    await client.post(KLING, json=INPUT)
    await script(client, call="status", kind="unknown_word", word="thinking", times=1)
    await script(client, call="result", kind="status_result_disagree", times=1)
    assert (await client.get(STATUS)).json()["status"] == "thinking"
    assert (await client.get(RESULT)).json()["status"] == "failed"
    assert (await client.get(STATUS)).json()["status"] == "in_queue"
    assert (await client.get(RESULT)).json()["status"] == "in_queue"


async def test_carried_out_can_be_overruled(client: httpx.AsyncClient) -> None:
    await script(client, call="submit", kind="html", status=502, carried_out=True)
    assert (await client.post(KLING, json=INPUT)).status_code == 502
    assert await paid(client) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "nonsense"},
        {"kind": "429", "call": "nonsense"},
        {"kind": "429", "call": ["submit"]},
        {"kind": "not_found", "call": "submit"},
        {"kind": "429", "rate": 2},
        {"kind": "429", "times": 1.5},
        {"kind": "slow", "seconds": "5"},
        {"kind": "slow", "second": 5},
        "429",
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(rule: object) -> None:
    with pytest.raises(ValueError, match=r"call|kind|rate|times|second|dictionary"):
        parse_scripts(FaultRule, rule)


def test_nought_is_a_value_and_not_an_absence() -> None:
    (rule,) = parse_scripts(
        FaultRule, {"kind": "slow", "seconds": 0, "size": 0, "times": 0, "rate": 0}
    )
    assert (rule.delay, rule.size, rule.times, rule.rate) == (timedelta(0), 0, 0, 0)


def test_any_call_means_the_calls_that_the_kind_can_happen_to() -> None:
    gone = FaultRule(kind=SimulatedFaultKind.NOT_FOUND)
    assert gone.matches(SimulatedOperation.RESULT, None, "r")
    assert not gone.matches(SimulatedOperation.SUBMIT, None, None)


def test_a_rate_repeats_with_its_seed() -> None:
    def run(seed: int) -> list[bool]:
        rules: RuleList[Rule] = RuleList(random.Random(seed))
        rules.extend([Rule(rate=0.3)])
        return [rules.take_match(lambda _: True) is not None for _ in range(1000)]

    assert 200 < sum(run(1)) < 400
    assert run(1) == run(1) != run(2)
