"""A thousand items in one call, and batches that race, against two real service processes."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import httpx
import pytest

from core.store import keys
from core.store.client import RedisClient
from simulator.example import load_kling_example
from simulator.stack import Stack, TenantCredentials
from tests.support.redis import redis_client

SIZE: Final = 1000
BATCHES: Final = 6
ITEMS: Final = 30
DAY: Final = 100
PATIENCE: Final = 60
WEEK: Final = 7 * 86_400
MAX_SCRIPT_MS: Final = 500
"""Of one script, far above what it takes alone: other processes of the machine add to it."""


def items(number: int, mark: str) -> list[dict[str, Any]]:
    example = load_kling_example()
    return [
        {
            "model_id": example.model_id,
            "input": {**example.input, "prompt": f"Shot {index} of {mark}."},
            "reference": f"{mark}-{index}",
        }
        for index in range(number)
    ]


def test_a_thousand_items_are_one_decision_that_holds_redis_briefly(idle_stack: Stack) -> None:
    tenant = idle_stack.create_tenant("thousand", "--running", "5", "--jobs-per-day", str(2 * SIZE))
    body = {"items": items(SIZE, "thousand"), "reference": "thousand"}

    async def take() -> None:
        async with _caller(tenant) as http, redis_client(idle_stack.redis_url) as wire:
            await wire.execute("CONFIG", "SET", "slowlog-log-slower-than", 1000)
            await wire.execute("CONFIG", "SET", "slowlog-max-len", 1000)
            await wire.execute("SLOWLOG", "RESET")
            began = time.monotonic()
            answer = await http.post(f"{idle_stack.url}/v1/batches", json=body)
            took = time.monotonic() - began
            longest = await _longest_script(wire)
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text
            document = answer.json()
            assert len({item["request_id"] for item in document["items"]}) == SIZE
            assert document["counts"]["in_queue"] == SIZE
            began = time.monotonic()
            again = await http.get(document["batch_url"], params={"limit": SIZE})
            read = time.monotonic() - began
            assert again.json() == document
            began = time.monotonic()
            cancelled = (await http.post(document["cancel_url"])).json()
            cancel = time.monotonic() - began
            assert cancelled["outcomes"]["cancelled"] == SIZE
            assert cancelled["status"] == "completed"
            print(
                f"\n{SIZE} items, {len(answer.request.content):,} bytes: answered in {took:.2f} s, "
                f"the longest script took {longest:.0f} ms; "
                f"read in {read:.2f} s, cancelled in {cancel:.2f} s"
            )
            assert longest < MAX_SCRIPT_MS
            lives = [
                await wire.execute("TTL", key)
                for key in (
                    keys.batch(document["batch_id"]),
                    keys.batch_items(document["batch_id"]),
                )
            ]
            assert all(0 < life <= WEEK for life in lives)

    asyncio.run(take())


@pytest.mark.parametrize(("admit", "admitted"), [("all", 90), ("fit", DAY)])
def test_racing_batches_pass_no_limit(idle_stack: Stack, admit: str, admitted: int) -> None:
    tenant = idle_stack.create_tenant(
        f"race-{admit}", "--jobs-per-day", str(DAY), "--running", "10"
    )

    async def race() -> tuple[Sequence[httpx.Response], dict[str, Any]]:
        async with _caller(tenant) as http:
            sent = [
                http.post(
                    f"{idle_stack.services[number % 2].url}/v1/batches",
                    json={"admit": admit, "items": items(ITEMS, f"{admit}-{number}")},
                )
                for number in range(BATCHES)
            ]
            answers = await asyncio.gather(*sent)
            usage = await http.get(f"{idle_stack.url}/v1/usage")
            return answers, usage.json()

    answers, usage = asyncio.run(race())
    taken = [a.json()["counts"] for a in answers if a.status_code == httpx.codes.ACCEPTED]
    codes = [answer.status_code for answer in answers]
    print(f"\n{admit}: {codes}, {[counts['in_queue'] for counts in taken]} taken in")
    assert sum(counts["in_queue"] for counts in taken) == admitted
    assert usage["windows"][0]["jobs"]["used"] == admitted
    assert set(codes) == {202, 429}
    if admit == "all":
        assert {counts["in_queue"] for counts in taken} == {ITEMS}


async def _longest_script(wire: RedisClient) -> float:
    """Milliseconds that the longest script took since the log was reset."""
    rows = await wire.execute("SLOWLOG", "GET", 1000)
    return max((row[2] / 1000 for row in rows if row[3][0].startswith(b"EVAL")), default=0.0)


def _caller(tenant: TenantCredentials) -> httpx.AsyncClient:
    return httpx.AsyncClient(headers=tenant.auth_header, timeout=PATIENCE, trust_env=False)
