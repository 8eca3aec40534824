"""Outputs while the storage fails, over real processes: requests complete, and all are kept after.

The bucket is on a real S3 server.
"""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.demo import wait_for
from simulator.media import media_path
from simulator.stack import Stack
from tests.support.s3_server import S3Faults, S3Server
from tests.support.stack import TenantClient, running_stack, tenant_client

VIDEO: Final = media_path("output.mp4").read_bytes()
LATE: Final = timedelta(seconds=240)
REQUESTS: Final = 5
QUIET: Final = {"GATEWAY_LOG_LEVEL": "WARNING"}
FULL_AT_BYTES: Final = len(VIDEO) - 1_000
"""Smaller than the video, and larger than all else that a quiet worker writes to one file."""


@contextmanager
def on_bucket(folder: Path, s3: S3Server, bucket: str) -> Iterator[tuple[Stack, TenantClient]]:
    """A stack that keeps outputs in the bucket, and gives up a call to it after two seconds."""
    environment = {
        **s3.environment,
        "GATEWAY_OBJECTS__URL": f"{bucket}/gateway",
        "GATEWAY_OBJECTS__TIMEOUT": "2",
    }
    with (
        running_stack(folder, environment, keeps_outputs=True) as stack,
        tenant_client(stack, "films") as tenant,
    ):
        yield stack, tenant


def result_of(tenant: TenantClient, request_id: str) -> dict[str, Any]:
    document: dict[str, Any] = tenant.http.get(f"/v1/requests/{request_id}/result").json()
    return document


def completed(tenant: TenantClient, number: int = REQUESTS) -> list[str]:
    """The ids of new requests that have completed, with RunComfy's links."""
    requests = [tenant.submitted() for _ in range(number)]
    assert {tenant.wait_for_end(each) for each in requests} == {"completed"}
    assert all(result_of(tenant, each)["output"]["video"] for each in requests)
    return requests


def assert_kept(tenant: TenantClient, request_id: str) -> None:
    """Wait until the output is kept; it is then served whole."""

    def poll() -> str | None:
        result = result_of(tenant, request_id)
        return str(result["outputs"][0]["url"]) if result.get("archive") == "kept" else None

    url = wait_for(poll, LATE, f"the output of {request_id}")

    def read() -> bytes | None:
        answer = httpx.get(url, trust_env=False, follow_redirects=True)
        return answer.content if answer.is_success else None

    # The link leads to the bucket itself, which may fail the call.
    assert wait_for(read, LATE, f"the file of {request_id}") == VIDEO


def wait_for_error(tenant: TenantClient, request_id: str) -> str:
    """The reason why a first attempt did not keep the output."""

    def poll() -> str | None:
        outputs = result_of(tenant, request_id).get("outputs")
        return str(outputs[0]["error"]) if outputs else None

    return wait_for(poll, LATE, f"a first attempt for {request_id}")


def metric(process_url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 without any."""
    text = httpx.get(f"{process_url}/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def failure_lines(stack: Stack) -> list[dict[str, Any]]:
    """The worker's log events of outputs that were not kept; each is one line of JSON."""
    lines = stack.workers[0].log.read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [each for each in events if each["event"] == "output_not_archived"]


def check(stack: Stack) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(stack.run_gateway("archive", "check", "--json"))
    return printed


@pytest.mark.parametrize(
    "faults",
    [S3Faults(rate=1, status=403), S3Faults(delay_seconds=5)],
    ids=["wrong credentials", "slower than the timeout"],
)
def test_requests_complete_while_the_bucket_is_away_and_are_kept_after(
    tmp_path: Path, s3: S3Server, s3_bucket: str, faults: S3Faults
) -> None:
    with on_bucket(tmp_path, s3, s3_bucket) as (stack, tenant):
        s3.fail(faults)
        requests = completed(tenant)
        assert {wait_for_error(tenant, each) for each in requests} == {"storage_unavailable"}
        worker = stack.workers[0].url
        failed = "gateway_output_failures_total"
        assert metric(worker, failed, reason="storage_unavailable") >= len(requests)
        lines = failure_lines(stack)
        assert {each["reason"] for each in lines} == {"storage_unavailable"}
        assert all(each["detail"] and "\n" not in each["detail"] for each in lines)
        # While some calls fail and all are slow, everything is kept.
        s3.fail(S3Faults(rate=0.05, delay_seconds=0.05))
        for each in requests:
            assert_kept(tenant, each)
        s3.fail(S3Faults())
        compared = check(stack)
        assert (compared["ok"], compared["files"]) == (True, 1), "equal contents are one file"
        assert tenant.paid_submits() == len(requests)


def test_a_worker_that_is_killed_while_it_writes_to_a_bucket_leaves_nothing_half(
    tmp_path: Path, s3: S3Server, s3_bucket: str
) -> None:
    with on_bucket(tmp_path, s3, s3_bucket) as (stack, tenant):
        s3.fail(S3Faults(delay_seconds=1.5))
        (request_id,) = completed(tenant, 1)
        worker = stack.workers[0]
        busy = "gateway_worker_tasks_in_progress"
        wait_for(lambda: metric(worker.url, busy, loop="archives") or None, LATE, "a transfer")
        worker.kill()
        assert "outputs" not in result_of(tenant, request_id)
        s3.fail(S3Faults())
        worker.start()
        assert_kept(tenant, request_id)
        compared = check(stack)
        assert (compared["ok"], compared["files"]) == (True, 1)
        assert tenant.paid_submits() == 1


def test_requests_complete_while_the_disk_is_full_and_are_kept_after(tmp_path: Path) -> None:
    """No file of the worker grows beyond a bound, as on a disk that is full."""
    with (
        running_stack(tmp_path, QUIET, keeps_outputs=True) as stack,
        tenant_client(stack, "films") as tenant,
    ):
        pid = stack.workers[0].pid
        assert pid is not None
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, hard))
        requests = completed(tenant, 2)
        assert {wait_for_error(tenant, each) for each in requests} == {"storage_unavailable"}
        assert [each for each in (tmp_path / "objects").rglob("*") if each.is_file()] == []
        failed = metric(
            stack.workers[0].url, "gateway_output_failures_total", reason="storage_unavailable"
        )
        assert failed >= len(requests)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        for each in requests:
            assert_kept(tenant, each)
        assert check(stack)["ok"]
