"""Files over real processes: what RunComfy gets, and what a killed process leaves behind."""

import hashlib
import json
import socket
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.media import png
from tests.support.stack import SUBMIT_PATH, TenantClient, running_stack, tenant_client

PICTURE: Final = png(1280, 720, padding=300_000)
MEBIBYTE: Final = bytes(2**20)
PATIENCE: Final = timedelta(seconds=150)


@pytest.fixture
def tenant(stack: Stack) -> Iterator[TenantClient]:
    with tenant_client(stack, "films") as client:
        yield client


def kling_input(picture: str) -> dict[str, Any]:
    return {**load_kling_example().input, "start_image_url": picture}


def submit(tenant: TenantClient, picture: str) -> str:
    answer = tenant.http.post(SUBMIT_PATH, json=kling_input(picture))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["request_id"])


def received_pictures(stack: Stack) -> list[str]:
    ledger = httpx.get(f"{stack.runcomfy_url}/_sim/ledger", trust_env=False).json()
    return [str(entry["input"]["start_image_url"]) for entry in ledger["entries"]]


def objects_in(stack: Stack) -> list[Path]:
    return [each for each in (stack.plan.folder / "objects").rglob("*") if each.is_file()]


def test_an_upload_may_take_longer_than_other_bodies(tmp_path: Path) -> None:
    """It was cut without an answer after `GATEWAY_BODY_TIMEOUT` and five seconds."""
    pieces, pause = 20, 0.4

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(PICTURE), len(PICTURE) // pieces):
            time.sleep(pause)
            yield PICTURE[start : start + len(PICTURE) // pieces]

    environment = {"GATEWAY_BODY_TIMEOUT": "1"}
    with running_stack(tmp_path, environment) as stack, tenant_client(stack, "films") as tenant:
        answer = tenant.http.post("/v1/files", content=slowly())
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(PICTURE).hexdigest()


def test_what_callers_upload_or_send_reaches_runcomfy_unchanged(
    stack: Stack, tenant: TenantClient
) -> None:
    file: dict[str, Any] = tenant.http.post("/v1/files", content=PICTURE).json()
    assert file["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert httpx.get(file["url"], trust_env=False).content == PICTURE
    assert tenant.wait_for_end(submit(tenant, file["uri"])) == "completed"
    head, _, payload = received_pictures(stack)[0].partition(",")
    assert (head, b64decode(payload)) == ("data:image/png;base64", PICTURE)

    other = f"data:image/png;base64,{b64encode(PICTURE[:-1]).decode()}"
    assert tenant.wait_for_end(submit(tenant, other)) == "completed"
    assert received_pictures(stack)[1] == other
    quotes = 2
    sizes = {each.stat().st_size for each in objects_in(stack)}
    assert sizes == {len(PICTURE), len(other) + quotes}


def test_a_worker_that_is_killed_costs_no_file_and_no_second_payment(
    stack: Stack, tenant: TenantClient
) -> None:
    file = tenant.http.post("/v1/files", content=PICTURE).json()
    stack.workers[0].kill()
    requests = [submit(tenant, file["uri"]) for _ in range(3)]
    stack.workers[0].start()
    assert {tenant.wait_for_end(each) for each in requests} == {"completed"}
    assert tenant.paid_submits() == len(requests)


def test_a_service_that_is_killed_in_an_upload_shows_nothing_half(
    stack: Stack, tenant: TenantClient
) -> None:
    port = int(stack.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        key = tenant.http.headers["authorization"]
        head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n"
        caller.sendall(f"{head}content-length: 50000000\r\n\r\n".encode() + png())
        caller.sendall(3 * MEBIBYTE)
        wait_for(lambda: objects_in(stack) or None, PATIENCE, "an upload in progress")
        stack.services[0].kill()
    stack.services[0].start()
    stack.services[0].wait_until_ready()
    assert tenant.http.get("/v1/files").json() == {"files": []}
    assert tenant.http.get("/v1/usage").json()["files"]["stored_bytes"]["used"] == 0
    assert all("#" in each.name for each in objects_in(stack)), "no object, but a staged file"


# --- private sources


class _Source(ThreadingHTTPServer):
    """An internal server of pictures; while `is_held` it sends the half of one, and waits."""

    daemon_threads = True
    is_held: bool = False
    reads: int = 0


class _SourceHandler(BaseHTTPRequestHandler):
    server: _Source

    def do_GET(self) -> None:
        self.server.reads += 1
        self.send_response(200)
        self.send_header("content-length", str(len(PICTURE)))
        self.end_headers()
        half = len(PICTURE) // 2
        with suppress(OSError):
            self.wfile.write(PICTURE[:half])
            while self.server.is_held:
                time.sleep(0.05)
            self.wfile.write(PICTURE[half:])

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def source() -> Iterator[_Source]:
    with _Source(("127.0.0.1", 0), _SourceHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.is_held = False
        server.shutdown()
        thread.join()


def test_a_worker_that_is_killed_while_it_fetches_a_source_loses_nothing(
    tmp_path: Path, source: _Source
) -> None:
    folder = f"http://127.0.0.1:{source.server_port}/shots/"
    settings = {"GATEWAY_FILES__FETCH_FROM": json.dumps([folder])}
    with (
        running_stack(tmp_path, settings) as stack,
        tenant_client(stack, "films") as tenant,
    ):
        refused = tenant.http.post(SUBMIT_PATH, json=kling_input(folder.replace("shots", "x")))
        assert refused.status_code == 422
        source.is_held = True
        request = submit(tenant, f"{folder}a.png")
        wait_for(lambda: source.reads or None, PATIENCE, "a fetch in progress")
        stack.workers[0].kill()
        assert tenant.http.get("/v1/files").json() == {"files": []}
        source.is_held = False
        stack.workers[0].start()
        assert tenant.wait_for_end(request) == "completed"
        assert source.reads == 2
        assert tenant.paid_submits() == 1
        (file,) = tenant.http.get("/v1/files").json()["files"]
        assert file["sha256"] == hashlib.sha256(PICTURE).hexdigest()
        (received,) = received_pictures(stack)
        assert b64decode(received.partition(",")[2]) == PICTURE
