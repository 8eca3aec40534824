"""When submits are refused because nobody could work on them."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from core.upstream.circuit_breaker import BreakerReason, BreakerState, CircuitBreaker
from service.jobs.submit_availability import SubmitOutage, find_outage
from tests.support.app import KLING_INPUT, KLING_PATH, AppHarness
from tests.support.records import MINUTE, NOW, SECOND

TIMEOUT = 30 * SECOND
CLOSED = CircuitBreaker()
OPEN = replace(CLOSED, state=BreakerState.OPEN, opened_at=NOW - MINUTE)
REFUSED = replace(OPEN, reason=BreakerReason.ACCOUNT_REFUSED)
FAILING = replace(OPEN, reason=BreakerReason.FAILING)
NO_WORKER = "No worker runs."
ACCOUNT = "RunComfy refuses the gateway's account."


@pytest.mark.parametrize(
    ("seen", "account", "expected"),
    [
        (NOW, CLOSED, None),
        (NOW - TIMEOUT, CLOSED, None),
        (NOW - MINUTE, CLOSED, SubmitOutage(NOW - MINUTE, NO_WORKER)),
        (None, CLOSED, SubmitOutage(NOW - SECOND, NO_WORKER)),
        (NOW, REFUSED, SubmitOutage(NOW - MINUTE, ACCOUNT)),
        (NOW, FAILING, None),
        (None, REFUSED, SubmitOutage(NOW - SECOND, NO_WORKER)),
    ],
)
def test_an_outage_has_a_beginning(
    seen: object, account: CircuitBreaker, expected: SubmitOutage | None
) -> None:
    assert find_outage(seen, account, NOW - SECOND, TIMEOUT, NOW) == expected  # type: ignore[arg-type]  # instants


async def test_submits_without_a_worker_are_refused_after_a_while(
    app: AppHarness, caller: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)
    assert first.status_code == 202
    app.clock.move(timedelta(minutes=5))
    answer = await caller.post(f"{KLING_PATH}?cache=off", json=KLING_INPUT)
    assert (answer.status_code, answer.json()["code"]) == (503, "submits_stopped")
    assert (answer.headers["retry-after"], answer.json()["billed"]) == ("30", "no")
    assert NO_WORKER in answer.json()["detail"]
    # What is not paid for again is answered all the same.
    again = await caller.post(KLING_PATH, json=KLING_INPUT, headers=headers)
    assert (again.status_code, again.json()["request_id"]) == (202, first.json()["request_id"])
    await app.stores.heartbeats.record("w1")
    app.clock.move(6 * SECOND)
    assert (await caller.post(f"{KLING_PATH}?cache=off", json=KLING_INPUT)).status_code == 202


async def test_a_wrong_key_is_401_during_an_outage_too(app: AppHarness) -> None:
    async with app.client() as caller:
        await caller.post(KLING_PATH, json=KLING_INPUT)
        app.clock.move(timedelta(minutes=9))
        answer = await caller.post(KLING_PATH, json=KLING_INPUT)
    assert answer.status_code == 401
