"""Operators beside real processes: what a command changes, every process goes by at once."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack, StackPlan, run_stack, without_settings

TOKEN: Final = "operators-token-of-32-characters"
SOON: Final = timedelta(seconds=20)
FAST: Final = ("--queue-seconds", "0..0.1", "--run-seconds", "0.3..0.5", "--balance-usd", "50")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two services, one worker, a simulated RunComfy."""
    environment = {**without_settings(os.environ), "GATEWAY_ADMIN_TOKEN": TOKEN}
    folder = tmp_path_factory.mktemp("stack")
    with run_stack(
        StackPlan(folder, environment=environment, services=2, runcomfy_options=FAST)
    ) as stack:
        yield stack


class TenantCaller:
    """A tenant's caller, at either service."""

    def __init__(self, stack: Stack, name: str, *flags: str) -> None:
        self.name = name
        self._headers = stack.create_tenant(name, *flags).auth_header
        self._urls = [service.url for service in stack.services]

    def submit(self, service: int = 0) -> httpx.Response:
        example = load_kling_example()
        path = f"{self._urls[service]}/v1/models/{example.model_id}"
        alone = {"cache": "off"}
        return httpx.post(
            path, json=example.input, params=alone, headers=self._headers, trust_env=False
        )

    def get(self, path: str) -> Any:  # noqa: ANN401 - any JSON
        return httpx.get(self._urls[1] + path, headers=self._headers, trust_env=False).json()

    def ended(self, request_id: str) -> str:
        def look() -> str | None:
            word = str(self.get(f"/v1/requests/{request_id}/status")["status"])
            return word if word in {"completed", "failed", "cancelled"} else None

        return wait_for(look, SOON, "the end of the job")


def test_a_limit_holds_over_both_services_and_is_raised_by_a_command(stack: Stack) -> None:
    team = TenantCaller(stack, "counted", "--jobs-per-day", "3")
    answers = [team.submit(number % 2) for number in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert answers[-1].json()["violated-policies"] == ["jobs-per-day"]
    stack.run_gateway("tenant", "change", "counted", "--jobs-per-day", "4")
    assert [team.submit(number % 2).status_code for number in range(2)] == [202, 429]


def test_paused_jobs_wait_and_end_when_resumed(stack: Stack) -> None:
    team = TenantCaller(stack, "paused")
    stack.run_gateway("pause", "--tenant", "paused")
    request_id = team.submit().json()["request_id"]
    assert team.get("/v1/usage")["waiting"]["used"] == 1
    stack.run_gateway("resume", "--tenant", "paused")
    assert team.ended(request_id) == "completed"


def test_money_is_reserved_then_settled_at_what_it_cost(stack: Stack) -> None:
    team = TenantCaller(stack, "billed", "--usd-per-day", "1.26")
    request_id = team.submit().json()["request_id"]
    assert team.submit().status_code == 402
    assert team.ended(request_id) == "completed"
    day = team.get("/v1/usage")["windows"][0]
    assert (day["usd"]["settled"], day["usd"]["reserved"]) == (1.26, 0)


def test_the_worker_reads_the_balance_and_a_floor_above_it_refuses(stack: Stack) -> None:
    team = TenantCaller(stack, "poor")

    def read() -> float | None:
        wallet = json.loads(stack.run_gateway("limits", "show", "--json"))["account_balance"]
        balance: float | None = wallet["balance_usd"]
        return balance

    assert wait_for(read, SOON, "the balance") <= 50
    text = httpx.get(f"{stack.url}/metrics", trust_env=False).text
    assert "\ngateway_account_balance_usd 50.0\n" in text
    stack.run_gateway("limits", "set", "--minimum-balance", "50.01")
    try:
        assert team.submit().json()["violated-policies"] == ["wallet"]
    finally:
        stack.run_gateway("limits", "set", "--minimum-balance", "none")
    assert team.submit().status_code == 202


def test_a_doubt_is_listed_with_all_that_is_known_and_resolved(stack: Stack) -> None:
    team = TenantCaller(stack, "doubtful")
    rule = {"call": "submit", "kind": "reset_after", "times": 1}
    httpx.post(f"{stack.runcomfy_url}/_sim/faults", json=rule, trust_env=False)
    request_id = team.submit().json()["request_id"]

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(stack.run_gateway("doubt", "list", "--json"))
        return found

    (doubt,) = wait_for(lambda: listed() or None, SOON, "the doubt")
    assert (doubt["request_id"], doubt["tenant"]) == (request_id, "doubtful")
    assert doubt["what_came_back"].startswith("reset")
    ledger = httpx.get(f"{stack.runcomfy_url}/_sim/ledger", trust_env=False).json()["entries"]
    stack.run_gateway("doubt", "resolve", request_id, "--attach", ledger[-1]["request_id"])
    assert team.ended(request_id) == "completed"
    assert listed() == []


def test_a_tenant_deleted_while_its_job_runs(stack: Stack) -> None:
    team = TenantCaller(stack, "leaving")
    request_id = team.submit().json()["request_id"]
    stack.run_gateway("tenant", "delete", "leaving")
    assert team.submit().status_code == 401
    operator = httpx.Client(
        base_url=stack.url, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False
    )

    def state() -> str | None:
        found = operator.get(f"/admin/v1/requests/{request_id}").json()
        delivered = any(entry["what"] == "delivered" for entry in found["timeline"])
        return str(found["state"]) if delivered else None

    with operator:
        assert wait_for(state, SOON, "the callback of the job") == "succeeded"
