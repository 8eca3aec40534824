"""Processes are killed or stopped; every accepted job ends, and is paid for once."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from simulator.demo import wait_for
from simulator.stack import Stack
from tests.support.stack import TenantClient, runcomfy_pace, running_stack, tenant_client


@pytest.fixture
def slow_stack(tmp_path: Path) -> Iterator[Stack]:
    """Jobs start immediately and run for three seconds."""
    with running_stack(tmp_path, runcomfy_options=runcomfy_pace("0..0", "3..3")) as stack:
        yield stack


@pytest.fixture
def caller(slow_stack: Stack) -> Iterator[TenantClient]:
    """A tenant whose submits are never served from the cache."""
    with tenant_client(slow_stack, "e2e", cache="off") as caller:
        yield caller


def test_a_worker_killed_in_the_middle_of_a_job_does_not_pay_twice(
    slow_stack: Stack, caller: TenantClient
) -> None:
    request_id = caller.submitted()
    caller.wait_for_status(request_id, "in_progress")
    worker = slow_stack.workers[0]
    worker.kill()
    worker.start()
    assert caller.wait_for_end(request_id) == "completed"
    assert caller.paid_submits() == 1


def test_without_redis_submits_are_refused_and_both_processes_recover(
    slow_stack: Stack, caller: TenantClient
) -> None:
    assert slow_stack.redis is not None
    before = caller.submitted()
    caller.wait_for_status(before, "in_progress")
    slow_stack.redis.kill()
    refused = caller.submit()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"] == "application/problem+json"
    time.sleep(3)  # longer than one attempt to reconnect
    slow_stack.redis.start()

    def accepted() -> str | None:
        answer = caller.submit()
        return answer.json()["request_id"] if answer.status_code == 202 else None

    after = wait_for(accepted, timedelta(seconds=30), "a 202 after the outage")
    assert [caller.wait_for_end(before), caller.wait_for_end(after)] == ["completed", "completed"]
    assert caller.paid_submits() == 2


def test_on_sigterm_both_processes_drain_and_exit_with_0(
    slow_stack: Stack, caller: TenantClient
) -> None:
    caller.submit()
    codes = [child.stop() for child in [*slow_stack.workers, *slow_stack.services]]
    assert codes == [0, 0]
