"""Outputs over real processes: kept after or before the end, served by link, through failures."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.media import media_path
from simulator.stack import Stack
from tests.support.stack import TenantClient, running_stack, tenant_client

VIDEO: Final = media_path("output.mp4").read_bytes()
LATE: Final = timedelta(seconds=90)
ALLOWED: Final = {"GATEWAY_ARCHIVE__ALLOWED_HOSTS": '["127.0.0.0/8"]'}


@pytest.fixture(scope="module")
def kept_after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {**ALLOWED, "GATEWAY_ARCHIVE__MODE": "after"}
    with running_stack(tmp_path_factory.mktemp("after"), environment) as stack:
        yield stack


@pytest.fixture
def tenant(kept_after: Stack) -> Iterator[TenantClient]:
    with tenant_client(kept_after, "films") as client:
        yield client


def result_of(tenant: TenantClient, request_id: str) -> dict[str, Any]:
    answer = tenant.http.get(f"/v1/requests/{request_id}/result")
    document: dict[str, Any] = answer.json()
    return document


def kept_result(tenant: TenantClient, request_id: str) -> dict[str, Any]:
    """The result once its outputs are kept."""

    def poll() -> dict[str, Any] | None:
        result = result_of(tenant, request_id)
        return result if result.get("archive") == "kept" else None

    return wait_for(poll, LATE, f"the outputs of {request_id}")


def stored(stack: Stack) -> list[Path]:
    return [each for each in (stack.plan.folder / "objects").rglob("*") if each.is_file()]


def test_an_output_is_kept_with_its_checksum_and_served_to_a_browser(
    tenant: TenantClient,
) -> None:
    request_id = tenant.submitted()
    assert tenant.wait_for_end(request_id) == "completed"
    (output,) = kept_result(tenant, request_id)["outputs"]
    assert (output["field"], output["media_type"]) == ("video", "video/mp4")
    assert output["sha256"] == hashlib.sha256(VIDEO).hexdigest()
    answer = httpx.get(output["url"], trust_env=False)
    assert (answer.content, answer.headers["content-type"]) == (VIDEO, "video/mp4")
    part = httpx.get(output["url"], headers={"range": "bytes=10-19"}, trust_env=False)
    assert (part.status_code, part.content) == (206, VIDEO[10:20])
    assert httpx.get(output["url"].partition("?")[0], trust_env=False).status_code == 401
    assert httpx.get(output["url"] + "x", trust_env=False).status_code == 404
    assert tenant.http.delete(f"/v1/requests/{request_id}").status_code == 204
    assert httpx.get(output["url"], trust_env=False).status_code == 404


def test_before_answers_with_the_gateway_s_links_alone(tmp_path: Path) -> None:
    environment = {**ALLOWED, "GATEWAY_ARCHIVE__MODE": "before"}
    with running_stack(tmp_path, environment) as stack, tenant_client(stack, "films") as tenant:
        request_id = tenant.submitted()
        assert tenant.wait_for_end(request_id) == "completed"
        result = result_of(tenant, request_id)
        assert result["archive"] == "kept"
        assert httpx.get(result["output"]["video"], trust_env=False).content == VIDEO


def test_a_worker_that_is_killed_in_an_archive_loses_nothing(tmp_path: Path) -> None:
    """A storage that cannot be written to holds the archive open; then the worker dies."""
    environment = {**ALLOWED, "GATEWAY_ARCHIVE__MODE": "after"}
    with running_stack(tmp_path, environment) as stack, tenant_client(stack, "films") as tenant:
        files = stack.plan.folder / "objects" / "files"
        files.parent.mkdir(parents=True, exist_ok=True)
        files.write_text("in the way of the folder")
        request_id = tenant.submitted()
        assert tenant.wait_for_end(request_id) == "completed"
        waiting = wait_for(
            lambda: result_of(tenant, request_id).get("outputs"), LATE, "a first attempt"
        )
        assert waiting[0]["error"] == "storage_unavailable"
        stack.workers[0].kill()
        files.unlink()
        stack.workers[0].start()
        (output,) = kept_result(tenant, request_id)["outputs"]
        assert "error" not in output
        assert [each.read_bytes() for each in stored(stack)] == [VIDEO]
        assert tenant.paid_submits() == 1
