"""`gateway serve` and `gateway tenant` as processes: signals, hostile bytes, one-line errors."""

import json
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.shutdown import SAME_STOP
from simulator.private_redis import free_port
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import (
    GATEWAY,
    ROOT,
    environment,
    is_answering,
    run_gateway,
    running_service,
)


@pytest.fixture
def tenant(redis_flushed: str) -> dict[str, Any]:
    """Create a tenant and return the document that the command printed."""
    document: dict[str, Any] = json.loads(
        run_gateway(redis_flushed, "tenant", "create", "demo", "--json").stdout
    )
    return document


def test_a_tenant_is_created_once(redis_flushed: str) -> None:
    hook = "https://hooks.example.com/"
    made = run_gateway(redis_flushed, "tenant", "create", "demo", "--webhook", hook, "--json")
    document = json.loads(made.stdout)
    assert (document["tenant"], document["webhook"]) == ("demo", hook)
    assert document["key"].startswith("rcg_demo_")
    assert document["webhook_secret"].startswith("whsec_")

    again = run_gateway(redis_flushed, "tenant", "create", "demo")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "gateway: The tenant demo exists already.\n"

    shown = run_gateway(redis_flushed, "tenant", "show", "demo", "--json")
    assert json.loads(shown.stdout)["webhook"] == hook
    assert "whsec_" not in shown.stdout
    listed = json.loads(run_gateway(redis_flushed, "tenant", "list", "--json").stdout)
    assert listed == [json.loads(shown.stdout)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "Not A Name"),
        ("create", "demo", "--webhook", "http://169.254.169.254/"),
        ("show", "nobody"),
    ],
)
def test_what_cannot_be_done_is_one_line(redis_flushed: str, arguments: tuple[str, ...]) -> None:
    ran = run_gateway(redis_flushed, "tenant", *arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("gateway: ")
    assert ran.stderr.count("\n") == 1


def test_without_redis_a_command_fails_with_one_line() -> None:
    ran = run_gateway(f"redis://127.0.0.1:{free_port()}", "tenant", "list")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("serve",), ("work",), ("tenant", "list")])
def test_a_wrong_setting_stops_every_command_with_its_name(
    redis_url: str, command: tuple[str, ...]
) -> None:
    ran = run_gateway(redis_url, *command, GATEWAY_REDIS_TIMEOUT="soon")
    assert ran.returncode == 2
    assert ran.stderr.startswith("gateway: GATEWAY_REDIS_TIMEOUT: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(
    redis_flushed: str, tmp_path: Path, number: signal.Signals
) -> None:
    with running_service(redis_flushed, tmp_path / "log") as (process, _):
        process.send_signal(number)
        assert process.wait(timeout=60) == 0


def test_after_sigterm_it_serves_on_for_the_delay_and_is_not_ready(
    redis_flushed: str, tenant: dict[str, Any], tmp_path: Path
) -> None:
    more = {"GATEWAY_SHUTDOWN_DELAY": "600", "GATEWAY_WORKER_TIMEOUT": "900"}
    with running_service(redis_flushed, tmp_path / "log", **more) as (process, port):
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {tenant['key']}"},
            trust_env=False,
            timeout=60,
        ) as caller:
            assert caller.get("/readyz").status_code == 200
            process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 60
            while (ready := caller.get("/readyz")).status_code == 200:
                assert time.monotonic() < until
            assert ready.json()["checks"]["service"] == "stopping"
            assert caller.get("/v1/requests").status_code == 200
        time.sleep(SAME_STOP.total_seconds())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_a_port_that_is_taken_is_no_success(redis_flushed: str, tmp_path: Path) -> None:
    with running_service(redis_flushed, tmp_path / "log") as (_, port):
        second = subprocess.run(
            [*GATEWAY, "serve"],
            cwd=ROOT,
            env=environment(redis_flushed, port),
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert second.returncode not in {0, 2}
    assert b"Traceback" not in second.stderr


def send_raw(port: int, sent: bytes) -> bytes:
    """Send raw bytes and return the beginning of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        with suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it may close before it has read everything
            wire.sendall(sent)
        return wire.recv(4096)


def test_hostile_bytes_are_answered_or_cut_and_the_log_keeps_no_key(
    redis_flushed: str, tenant: dict[str, Any], tmp_path: Path
) -> None:
    log, key = tmp_path / "log", tenant["key"]
    head = f"POST {KLING_PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n".encode()
    with running_service(redis_flushed, log, GATEWAY_MAX_BODY_BYTES="1048576") as (process, port):
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {key}"}
        ) as caller:
            large = caller.post(KLING_PATH, json={**KLING_INPUT, "prompt": "x" * 10_000_000})
            good = caller.post(KLING_PATH, json=KLING_INPUT)
            long_id = caller.get(f"/v1/requests/{'a' * 10_240}/status")
        chunked = send_raw(
            port,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + b"200000\r\n" + b"x" * 0x200000,
        )
        both = send_raw(
            port, head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        twice = send_raw(port, head + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}")
        endless = send_raw(port, head + b"X-Pad: " + b"x" * 2_000_000)
        endless_path = send_raw(port, b"GET /" + b"x" * 2_000_000)
        garbage = send_raw(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        assert process.poll() is None
        assert is_answering(f"http://127.0.0.1:{port}")

    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    assert good.status_code == 202
    assert (long_id.status_code, long_id.json()["code"]) == (400, "malformed_id")
    assert chunked.startswith(b"HTTP/1.1 413")
    for answer in (both, twice, endless, endless_path, garbage):
        assert answer.startswith(b"HTTP/1.1 4")
    assert key not in log.read_text()
    assert all(json.loads(line) for line in log.read_text().splitlines())
