"""Parts of the stack die or leave; every job that was accepted ends, and is paid for once."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack, StackPlan, run_stack
from tests.support.processes import MarkedProcesses

FINAL: Final = {"completed", "failed", "cancelled"}
RUN_SECONDS: Final = 3


class CrashTestCaller:
    """A tenant with an HTTP client."""

    def __init__(self, stack: Stack, http: httpx.Client) -> None:
        self._http = http
        self._ledger = f"{stack.runcomfy_url}/_sim/ledger/summary"

    def submit(self) -> httpx.Response:
        example = load_kling_example()
        alone = {"cache": "off"}
        return self._http.post(f"/v1/models/{example.model_id}", json=example.input, params=alone)

    def status(self, request_id: str) -> str:
        return str(self._http.get(f"/v1/requests/{request_id}/status").json()["status"])

    def ended(self, request_id: str, within: timedelta = timedelta(seconds=40)) -> str:
        def look() -> str | None:
            status = self.status(request_id)
            return status if status in FINAL else None

        return wait_for(look, within, "the end of the job")

    def running(self, request_id: str) -> None:
        wait_for(
            lambda: self.status(request_id) == "in_progress" or None,
            timedelta(seconds=20),
            "the start of the job",
        )

    def paid(self) -> int:
        return int(self._http.get(self._ledger).json()["submissions"])


@pytest.fixture
def slow_stack(marked: MarkedProcesses, tmp_path: Path) -> Iterator[Stack]:
    """Jobs start at once and run for three seconds."""
    pace = ("--queue-seconds", "0..0", "--run-seconds", f"{RUN_SECONDS}..{RUN_SECONDS}")
    with run_stack(
        StackPlan(tmp_path, environment=marked.environment, runcomfy_options=pace)
    ) as stack:
        yield stack


@pytest.fixture
def caller(slow_stack: Stack) -> Iterator[CrashTestCaller]:
    headers = slow_stack.create_tenant("e2e").auth_header
    url = slow_stack.url
    with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as http:
        yield CrashTestCaller(slow_stack, http)


def test_a_worker_killed_in_the_middle_of_a_job_does_not_pay_twice(
    slow_stack: Stack, caller: CrashTestCaller
) -> None:
    request_id = caller.submit().json()["request_id"]
    caller.running(request_id)
    worker = slow_stack.workers[0]
    worker.kill()
    worker.start()
    assert caller.ended(request_id) == "completed"
    assert caller.paid() == 1


@pytest.mark.timeout(120)
def test_without_redis_submits_are_refused_and_both_processes_recover(
    slow_stack: Stack, caller: CrashTestCaller
) -> None:
    assert slow_stack.redis is not None
    before = caller.submit().json()["request_id"]
    caller.running(before)
    slow_stack.redis.kill()
    refused = caller.submit()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"] == "application/problem+json"
    time.sleep(3)  # longer than one round of reconnecting
    slow_stack.redis.start()

    def accepted() -> str | None:
        answer = caller.submit()
        return answer.json()["request_id"] if answer.status_code == 202 else None

    after = wait_for(accepted, timedelta(seconds=30), "a 202 after the outage")
    assert [caller.ended(before), caller.ended(after)] == ["completed", "completed"]
    assert caller.paid() == 2


def test_told_to_stop_both_processes_drain_and_exit_with_0(
    slow_stack: Stack, caller: CrashTestCaller
) -> None:
    caller.submit()
    began = time.monotonic()
    codes = [child.stop() for child in [*slow_stack.workers, *slow_stack.services]]
    assert codes == [0, 0]
    assert time.monotonic() - began < 15
