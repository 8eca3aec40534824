"""Two gateways with a Redis each share one RunComfy account: its limits are split by settings."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from simulator.demo import wait_for
from simulator.stack import Stack
from tests.support.stack import (
    FINAL_STATUSES,
    TenantClient,
    runcomfy_pace,
    running_stack,
    tenant_client,
)

RUNNING: Final = {"east": 3, "west": 2}
"""How many jobs each may have at RunComfy: together, what the account allows."""
USD_PER_DAY: Final = {"east": 8.0, "west": 6.0}
SUBMITS: Final = 12
LONG: Final = timedelta(seconds=240)


@contextmanager
def second_gateway(folder: Path, first: Stack) -> Iterator[Stack]:
    """A gateway with a Redis of its own, and the account of the first."""
    with running_stack(folder, workers=0) as stack:
        assert stack.runcomfy is not None
        stack.runcomfy.stop()
        stack.runcomfy.url = first.runcomfy_url
        stack.add_worker().wait_until_ready()
        yield stack


def test_each_gateway_keeps_its_share_and_both_back_off(tmp_path: Path) -> None:
    pace = runcomfy_pace("0..0.1", "0.4..0.8")
    with (
        running_stack(tmp_path / "east", runcomfy_options=pace) as east,
        second_gateway(tmp_path / "west", east) as west,
        share_of(east, "east") as at_east,
        share_of(west, "west") as at_west,
    ):
        throttle = {"kind": "429", "call": "submit", "retry_after": 1, "times": 6}
        httpx.post(f"{east.runcomfy_url}/_sim/faults", json=throttle, trust_env=False)
        with ThreadPoolExecutor() as pool:
            outcomes = list(pool.map(use_up, (at_east, at_west), ("east", "west")))
        summary = ask(east, "ledger/summary")
        faulty = ask(east, "calls")["faulty"]["submit"]

    assert faulty == 6
    assert summary["submissions"] == sum(accepted for accepted, _ in outcomes)
    assert summary["priced_usd"] <= sum(USD_PER_DAY.values())
    assert [peak <= RUNNING[name] for name, (_, peak) in zip(RUNNING, outcomes, strict=True)] == [
        True,
        True,
    ]


@contextmanager
def share_of(stack: Stack, name: str) -> Iterator[TenantClient]:
    """A tenant of a gateway that has its share of the account's limits."""
    stack.run_gateway("limits", "set", "--running", str(RUNNING[name]))
    with tenant_client(stack, name, "--usd-per-day", str(USD_PER_DAY[name])) as tenant:
        yield tenant


def use_up(tenant: TenantClient, name: str) -> tuple[int, int]:
    """Submit more than the budget allows; return how many were taken, and how many ran at most."""
    answers = [tenant.submit() for _ in range(SUBMITS)]
    accepted = [answer for answer in answers if answer.status_code < 300]
    assert {answer.status_code for answer in answers if answer not in accepted} == {402}, name
    assert len(accepted) > RUNNING[name]
    peak = 0

    def all_ended() -> bool | None:
        nonlocal peak
        listed = tenant.http.get("/v1/requests?limit=50").json()["requests"]
        states = [one["status"] for one in listed]
        peak = max(peak, states.count("in_progress"))
        return all(one in FINAL_STATUSES for one in states) or None

    wait_for(all_ended, LONG, f"the end of every request of {name}")
    listed = tenant.http.get("/v1/requests?limit=50").json()["requests"]
    assert {one["status"] for one in listed} == {"completed"}
    return len(accepted), peak


def ask(stack: Stack, path: str) -> Any:  # noqa: ANN401 - a document of the simulator
    """What the simulated RunComfy has counted."""
    return httpx.get(f"{stack.runcomfy_url}/_sim/{path}", trust_env=False).json()
