"""Operators' commands beside real processes: every process applies a change immediately."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.stack import Stack
from tests.support.stack import TenantClient, runcomfy_pace, running_stack, tenant_client

TenantFactory = Callable[..., TenantClient]

TOKEN: Final = "operators-token-of-32-characters"
SOON: Final = timedelta(seconds=150)
PACE: Final = (*runcomfy_pace("0..0.1", "0.3..0.5"), "--balance-usd", "50")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two services, one worker, a simulated RunComfy with 50 USD in the account."""
    environment = {"GATEWAY_ADMIN_TOKEN": TOKEN}
    folder = tmp_path_factory.mktemp("stack")
    with running_stack(folder, environment, services=2, runcomfy_options=PACE) as stack:
        yield stack


@pytest.fixture
def tenant_of(stack: Stack) -> Iterator[TenantFactory]:
    """Creates tenants whose submits are never served from the cache."""
    with ExitStack() as clients:
        yield lambda name, *flags: clients.enter_context(
            tenant_client(stack, name, *flags, cache="off")
        )


def test_a_limit_holds_over_both_services_and_is_raised_by_a_command(
    stack: Stack, tenant_of: TenantFactory
) -> None:
    team = tenant_of("counted", "--jobs-per-day", "3")
    answers = [team.submit(number % 2) for number in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    assert answers[-1].json()["violated-policies"] == ["jobs-per-day"]
    stack.run_gateway("tenant", "change", "counted", "--jobs-per-day", "4")
    assert [team.submit(number % 2).status_code for number in range(2)] == [202, 429]


def test_paused_jobs_wait_and_end_when_resumed(stack: Stack, tenant_of: TenantFactory) -> None:
    team = tenant_of("paused")
    stack.run_gateway("pause", "--tenant", "paused")
    request_id = team.submitted()
    assert team.http.get("/v1/usage").json()["waiting"]["used"] == 1
    stack.run_gateway("resume", "--tenant", "paused")
    assert team.wait_for_end(request_id) == "completed"


def test_money_is_reserved_then_settled_at_what_it_cost(
    tenant_of: TenantFactory,
) -> None:
    team = tenant_of("billed", "--usd-per-day", "1.26")
    request_id = team.submitted()
    assert team.submit().status_code == 402
    assert team.wait_for_end(request_id) == "completed"
    day = team.http.get("/v1/usage").json()["windows"][0]
    assert (day["usd"]["settled"], day["usd"]["reserved"]) == (1.26, 0)


def test_the_worker_reads_the_balance_and_a_minimum_above_it_refuses(
    stack: Stack, tenant_of: TenantFactory
) -> None:
    team = tenant_of("poor")

    def read() -> float | None:
        wallet = json.loads(stack.run_gateway("limits", "show", "--json"))["account_balance"]
        balance: float | None = wallet["balance_usd"]
        return balance

    def is_exported() -> bool:
        text = httpx.get(stack.service_metrics_urls[0], trust_env=False).text
        # Jobs of other tests may have been paid for before it was read.
        return re.search(r"^gateway_account_balance_usd [1-9]", text, re.MULTILINE) is not None

    assert wait_for(read, SOON, "the balance") <= 50
    wait_for(lambda: is_exported() or None, SOON, "the gauge of the balance")
    stack.run_gateway("limits", "set", "--minimum-balance-usd", "50.01")
    try:
        assert team.submit().json()["violated-policies"] == ["wallet"]
    finally:
        stack.run_gateway("limits", "set", "--minimum-balance-usd", "none")
    assert team.submit().status_code == 202


def test_a_job_in_doubt_is_listed_with_all_that_is_known_and_resolved(
    stack: Stack, tenant_of: TenantFactory
) -> None:
    team = tenant_of("doubtful")
    rule = {"call": "submit", "kind": "reset_after", "times": 1}
    httpx.post(f"{stack.runcomfy_url}/_sim/faults", json=rule, trust_env=False)
    request_id = team.submitted()

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(stack.run_gateway("doubt", "list", "--json"))
        return found

    (doubt,) = wait_for(lambda: listed() or None, SOON, "the doubt")
    assert (doubt["request_id"], doubt["tenant"]) == (request_id, "doubtful")
    assert doubt["what_came_back"].startswith("reset")
    ledger = httpx.get(f"{stack.runcomfy_url}/_sim/ledger", trust_env=False).json()["entries"]
    stack.run_gateway("doubt", "resolve", request_id, "--attach", ledger[-1]["request_id"])
    assert team.wait_for_end(request_id) == "completed"
    assert listed() == []


def test_a_tenant_deleted_while_its_job_runs(stack: Stack, tenant_of: TenantFactory) -> None:
    team = tenant_of("leaving")
    request_id = team.submitted()
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
