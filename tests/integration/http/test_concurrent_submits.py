"""200 concurrent submits over 20 connections to two service processes: no limit is exceeded."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import httpx

from simulator.example import load_kling_example
from simulator.stack import Stack

SUBMITS: Final = 200
CONNECTIONS: Final = 20
SECONDS: Final = (3, 5, 7, 10)
PATIENCE: Final = 60
PRICES: Final = (Decimal("0.084"), Decimal("0.126"))
"""The price of a second of video without and with sound, from the model's page."""


@dataclass(frozen=True, slots=True)
class RaceResult:
    """The answers to the submits, and the tenant's usage afterwards."""

    answers: list[httpx.Response]
    usage: dict[str, Any]

    @property
    def codes(self) -> Counter[int]:
        """The number of answers by status code."""
        return Counter(answer.status_code for answer in self.answers)

    @property
    def policies(self) -> set[str]:
        """The limits that refused."""
        refused = [a.json() for a in self.answers if a.status_code != httpx.codes.ACCEPTED]
        return {policy for problem in refused for policy in problem["violated-policies"]}

    def seconds(self, *, admitted: bool) -> list[int]:
        """The video durations of admitted or of refused submits, in the order of sending."""
        return [
            SECONDS[number % len(SECONDS)]
            for number, answer in enumerate(self.answers)
            if (answer.status_code == httpx.codes.ACCEPTED) is admitted
        ]


def _run_race(stack: Stack, name: str, *flags: str) -> RaceResult:
    tenant = stack.create_tenant(name, *flags)
    bases = [service.url for service in stack.services]

    async def all_at_once() -> RaceResult:
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with httpx.AsyncClient(
            headers=tenant.auth_header, limits=limits, timeout=PATIENCE, trust_env=False
        ) as http:
            sent = [_submit(http, bases[number % 2], number) for number in range(SUBMITS)]
            answers = await asyncio.gather(*sent)
            usage = await http.get(f"{bases[0]}/v1/usage")
        return RaceResult(list(answers), usage.json())

    race = asyncio.run(all_at_once())
    print(f"{name}: {' '.join(flags)}: {dict(race.codes)}, refused by {race.policies}")
    return race


async def _submit(http: httpx.AsyncClient, base: str, number: int) -> httpx.Response:
    example = load_kling_example()
    body = {**example.input, "duration": SECONDS[number % len(SECONDS)]}
    path = f"{base}/v1/models/{example.model_id}"
    return await http.post(path, json=body, params={"cache": "off"})


def test_fifty_a_day_are_fifty(idle_stack: Stack) -> None:
    race = _run_race(idle_stack, "fifty", "--jobs-per-day", "50")
    assert race.codes == {202: 50, 429: 150}
    assert race.policies == {"jobs-per-day"}


def test_a_minutes_burst_is_not_passed(idle_stack: Stack) -> None:
    race = _run_race(idle_stack, "burst", "--requests-per-minute", "1", "--running", "200")
    assert race.codes[202] in {1, 2}  # a second minute may begin meanwhile
    assert race.policies == {"requests-per-minute"}


def test_running_and_waiting_are_not_passed(idle_stack: Stack) -> None:
    race = _run_race(idle_stack, "places", "--running", "7", "--waiting", "13")
    assert race.codes == {202: 20, 429: 180}
    assert race.policies == {"waiting"}


def test_a_budget_is_not_passed_by_a_micro_dollar(idle_stack: Stack) -> None:
    """Prices differ by duration; each refused submit would exceed the budget at the end, too."""
    budget = Decimal("60.000001")
    race = _run_race(idle_stack, "purse", "--usd-per-day", str(budget))
    assert race.codes.keys() == {202, 402}
    assert race.policies == {"usd-per-day"}
    used = Decimal(str(_usage_today(race)["usd"]["used"]))
    price = used / sum(race.seconds(admitted=True))
    assert price in PRICES
    assert used <= budget
    assert used + price * min(race.seconds(admitted=False)) > budget


def _usage_today(race: RaceResult) -> dict[str, Any]:
    day: dict[str, Any] = next(w for w in race.usage["windows"] if w["window"] == "day")
    print(day["jobs"], day["usd"])
    return day
