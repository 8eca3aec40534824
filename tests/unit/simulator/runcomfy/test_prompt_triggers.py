from datetime import timedelta

import httpx
import pytest

from simulator.runcomfy.faults import SimulatedFaultKind
from simulator.runcomfy.prompt_triggers import NO_TRIGGERS, parse_triggers
from tests.support.clock import SelfAdvancingClock

KLING = "/v1/models/kling/kling-3.0/standard/image-to-video"


def body(prompt: str) -> dict[str, str]:
    return {"prompt": prompt, "start_image_url": "https://example.org/input.png"}


@pytest.mark.parametrize(
    "prompt", ["", "a cliff", "[cliff]", "[sim:nonsense]", "[sim:gone]", "[sim:slow=x]", None, 5]
)
def test_what_is_no_mark_does_nothing(prompt: object) -> None:
    assert parse_triggers({"prompt": prompt}) == NO_TRIGGERS


def test_marks_are_read() -> None:
    found = parse_triggers(
        {"prompt": "[mark:k-1] x [sim:run=3][sim:queue=0.5] [sim:slow=5*2] [sim:fail]"}
    )
    assert found.rule is not None
    assert (found.rule.kind, found.rule.delay) == (SimulatedFaultKind.SLOW, timedelta(seconds=5))
    assert (found.max_times, found.marker) == (2, "k-1")
    assert (found.run, found.queue) == (timedelta(seconds=3), timedelta(seconds=0.5))


@pytest.mark.parametrize("kind", list(SimulatedFaultKind))
def test_every_kind_has_a_mark_unless_it_cannot_happen_at_a_submit(
    kind: SimulatedFaultKind,
) -> None:
    rule = parse_triggers({"prompt": f"[sim:{kind.value}]"}).rule
    assert (rule is None) is (kind is SimulatedFaultKind.NOT_FOUND)
    assert rule is None or rule.kind is kind


async def test_a_mark_scripts_one_request(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    await client.post(KLING, json=body("[sim:fail][sim:queue=0][sim:run=1]"))
    await client.post(KLING, json=body("plain"))
    clock.advance(1)
    assert (await client.get("/v1/requests/req-1/result")).json()["status"] == "failed"
    clock.advance(60)
    assert (await client.get("/v1/requests/req-2/result")).json()["status"] == "succeeded"


async def test_a_counted_mark_runs_out(client: httpx.AsyncClient) -> None:
    sent = [await client.post(KLING, json=body("[sim:429=2*2]")) for _ in range(3)]
    assert [answer.status_code for answer in sent] == [429, 429, 200]
    assert sent[0].headers["retry-after"] == "2"
