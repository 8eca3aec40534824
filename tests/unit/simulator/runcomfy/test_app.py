import httpx
import pytest

from simulator.runcomfy.state import RunComfyState
from tests.support.clock import SelfAdvancingClock

KLING = "/v1/models/kling/kling-3.0/standard/image-to-video"
INPUT = {"prompt": "a cliff", "start_image_url": "https://example.org/input.png"}


async def test_a_request_lives_and_costs(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    sent = await client.post(KLING, json=INPUT)
    assert sent.status_code == 200
    at = "http://sim.test/v1/requests/req-1"
    assert sent.json() == {
        "request_id": "req-1",
        "status_url": f"{at}/status",
        "result_url": f"{at}/result",
        "cancel_url": f"{at}/cancel",
    }
    waiting = (await client.get(f"{at}/status")).json()
    assert waiting.pop("queue_position") >= 1
    assert waiting == {
        "request_id": "req-1",
        "status": "in_queue",
        "status_url": f"{at}/status",
        "result_url": f"{at}/result",
    }
    clock.advance(10)
    early = (await client.get(f"{at}/result")).json()
    assert early["status"] == "in_progress"
    assert "output" not in early
    clock.advance(20)
    done = (await client.get(f"{at}/result", params={"include_cost": "true"})).json()
    assert done == {
        "request_id": "req-1",
        "model_id": "kling/kling-3.0/standard/image-to-video",
        "status": "succeeded",
        "output": {"video": "http://sim.test/media/req-1/output.mp4"},
        "error": None,
        "created_at": "2026-01-02T03:04:05.000Z",
        "finished_at": "2026-01-02T03:04:35.000Z",
        "cost": 1.26,
    }
    assert "cost" not in (await client.get(f"{at}/result")).json()


async def test_price_follows_audio_and_duration(client: httpx.AsyncClient) -> None:
    for more in ({}, {"generate_audio": False}, {"duration": 3}):
        await client.post(KLING, json=INPUT | more)
    await client.post(
        "/v1/models/lumen/lumen-2/text-to-image", json={"prompt": "x", "num_images": 3}
    )
    ledger = (await client.get("/_sim/ledger")).json()["entries"]
    assert [entry["price"] for entry in ledger] == [1.26, 0.84, 0.378, 0.09]


async def test_several_images_have_several_addresses(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    await client.post(
        "/v1/models/lumen/lumen-2/text-to-image", json={"prompt": "x", "num_images": 2}
    )
    clock.advance(30)
    output = (await client.get("/v1/requests/req-1/result")).json()["output"]
    assert output == {
        "images": [
            "http://sim.test/media/req-1/output.png",
            "http://sim.test/media/req-1/output-2.png",
        ]
    }
    files = [await client.get(url) for url in output["images"]]
    assert all(file.content.startswith(b"\x89PNG") for file in files)


async def test_cost_may_come_late(client: httpx.AsyncClient, clock: SelfAdvancingClock) -> None:
    await client.post("/_sim/pace", json={"cost_delay": 5})
    await client.post(KLING, json=INPUT)
    clock.advance(34)
    url = "/v1/requests/req-1/result?include_cost=true"
    assert "cost" not in (await client.get(url)).json()
    clock.advance(1)
    assert (await client.get(url)).json()["cost"] == 1.26


async def test_cancel_in_queue_and_after(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    await client.post(KLING, json=INPUT)
    await client.post(KLING, json=INPUT)
    first = await client.post("/v1/requests/req-1/cancel")
    assert (first.status_code, first.json()) == (
        202,
        {"request_id": "req-1", "status": "cancelled", "outcome": "cancelled"},
    )
    clock.advance(10)
    second = (await client.post("/v1/requests/req-2/cancel")).json()
    assert second["outcome"] == "not_cancellable"
    assert second["status"] == "in_progress"
    summary = (await client.get("/_sim/ledger/summary")).json()
    assert (summary["submissions"], summary["charged_usd"]) == (2, 1.26)
    assert (await client.get("/prod/v2/balance")).json() == {
        "balance_usd": 98.74,
        "balance_microdollars": 98_740_000,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("documented", ["in_queue", "in_progress", "completed", "succeeded", "cancelled"]),
        ("alternative", ["pending", "processing", "succeeded", "completed", "canceled"]),
    ],
)
async def test_the_words_can_be_chosen(
    client: httpx.AsyncClient, clock: SelfAdvancingClock, words: str, read: list[str]
) -> None:
    assert (await client.post("/_sim/words", json={"words": words})).json() == {"words": words}
    for _ in range(2):
        await client.post(KLING, json=INPUT)
    cancelled = (await client.post("/v1/requests/req-2/cancel")).json()["status"]
    statuses = []
    for seconds in (0, 10, 20):
        clock.advance(seconds)
        statuses.append((await client.get("/v1/requests/req-1/status")).json()["status"])
    result = (await client.get("/v1/requests/req-1/result")).json()["status"]
    assert [*statuses, result, cancelled] == read


async def test_unknown_words_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/_sim/words", json={"words": "klingon"})).status_code == 400


async def test_refusals_carry_codes_and_spend_nothing(
    client: httpx.AsyncClient, world: RunComfyState
) -> None:
    wrong = await client.post(KLING, json={"start_image_url": 5, "duration": 16})
    assert (wrong.status_code, wrong.json()["error_code"]) == (422, 422001)
    assert [(row["loc"][1], row["type"]) for row in wrong.json()["detail"]] == [
        ("prompt", "missing"),
        ("start_image_url", "string_type"),
        ("duration", "too_large"),
    ]
    not_json = await client.post(KLING, content=b"{")
    assert not_json.status_code == 422
    unknown = await client.post("/v1/models/no/such", json={})
    assert (unknown.status_code, unknown.json()["error_code"]) == (400, 400001)
    gone = await client.get("/v1/requests/req-9/status")
    assert (gone.status_code, gone.json()["error_code"]) == (404, 404001)
    malformed = await client.get("/v1/requests/a.b/status")
    assert malformed.json()["error_code"] == 400001
    anonymous = await client.get("/prod/v2/balance", headers={"Authorization": ""})
    assert (anonymous.status_code, anonymous.json()["error_code"]) == (401, 400004)
    assert world.ledger == []


async def test_an_empty_balance_refuses_only_when_told(client: httpx.AsyncClient) -> None:
    await client.post("/_sim/balance", json={"usd": 0})
    assert (await client.post(KLING, json=INPUT)).status_code == 200
    await client.post("/_sim/balance", json={"enforce": True})
    refused = await client.post(KLING, json=INPUT)
    assert (refused.status_code, refused.json()["error_code"]) == (402, 400002)


async def test_catalogue_is_searched_and_paged(client: httpx.AsyncClient) -> None:
    everything = (await client.get("/v1/models")).json()
    assert everything["total"] == 27
    assert "input_schema" not in everything["models"][0]
    page = (await client.get("/v1/models?limit=2&offset=26&include_schema=true")).json()
    assert (len(page["models"]), page["limit"], page["offset"]) == (1, 2, 26)
    assert "input_schema" in page["models"][0]
    assert (await client.get("/v1/models?limit=1000")).json()["limit"] == 500
    assert (await client.get("/v1/models?search=KLING")).json()["total"] == 9
    assert (await client.get("/v1/models?search=one%20sentence")).json()["total"] == 1
    assert (await client.get("/v1/models?kind=inference")).json()["total"] == 1
    assert (await client.get("/v1/models?category=text-to-video")).json()["total"] == 6
    categories = (await client.get("/v1/models/categories")).json()["categories"]
    assert "image-to-video" in categories
    kling = (await client.get(KLING)).json()
    assert kling["input_schema"]["properties"]["cfg_scale"]["type"] == "float"
    assert (kling["base_price_usd"], kling["price_unit"]) == (0.126, "second")
    assert kling["required_inputs"] == ["prompt", "start_image_url"]
    assert set(kling["required_inputs"]) < set(kling["inputs"])
    assert kling["model_url"].endswith(kling["model_id"])
    assert (await client.get("/v1/models/no/such")).status_code == 404


async def test_ledger_tells_markers_and_equal_inputs(client: httpx.AsyncClient) -> None:
    for prompt in ("[mark:a] x", "[mark:a] x", "[mark:b] x"):
        await client.post(KLING, json=INPUT | {"prompt": prompt})
    summary = (await client.get("/_sim/ledger/summary")).json()
    assert summary["markers_paid_twice"] == ["a"]
    assert summary["distinct_fingerprints"] == 2
    assert (await client.get("/_sim/ledger?marker=b")).json()["total"] == 1


async def test_calls_are_counted_and_reset_forgets(client: httpx.AsyncClient) -> None:
    await client.post(KLING, json=INPUT)
    await client.get("/v1/requests/req-1/status")
    calls = (await client.get("/_sim/calls")).json()["calls"]
    assert (calls["submit"], calls["status"], calls["result"]) == (1, 1, 0)
    await client.post("/_sim/reset")
    assert (await client.get("/_sim/ledger")).json()["total"] == 0
    assert (await client.get("/_sim/calls")).json()["calls"]["submit"] == 0
    assert (await client.get("/v1/requests/req-1/status")).status_code == 404


async def test_media_is_served_only_when_done(
    client: httpx.AsyncClient, clock: SelfAdvancingClock
) -> None:
    await client.post(KLING, json=INPUT)
    url = "/media/req-1/output.mp4"
    assert (await client.get(url)).status_code == 404
    clock.advance(30)
    part = await client.get(url, headers={"Range": "bytes=4-11", "Authorization": ""})
    assert (part.status_code, part.content) == (206, b"ftypisom")
    assert part.headers["content-type"] == "video/mp4"
    assert (await client.get("/media/req-1/other.mp4")).status_code == 404
