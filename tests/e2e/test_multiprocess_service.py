"""`gateway serve --processes N`: one port, one set of metrics, no child outlives its parent."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.private_redis import free_port
from tests.support import marks
from tests.support.processes import MarkedProcesses, is_answering, marked_processes

ROOT: Final = Path(__file__).parents[2]
CHILDREN: Final = 3
SOON: Final = timedelta(seconds=150)
CALLS: Final = 60
CALLERS: Final = 6
WAITERS: Final = re.compile(r"^gateway_job_subscriptions (\S+)", re.MULTILINE)
COUNT: Final = re.compile(
    r'gateway_http_requests_total\{method="GET",route="unmatched",status="404"\} (\S+)'
)


class MultiprocessService:
    """The parent process and its children."""

    def __init__(
        self,
        parent: subprocess.Popen[bytes],
        port: int,
        metrics_port: int,
        marked: MarkedProcesses,
        place: Path,
    ) -> None:
        self.parent = parent
        self.metrics_folder = place
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._marked = marked

    def child_pids(self) -> set[int]:
        """The process ids of the children."""
        alive = self._marked.running().items()
        return {pid for pid, command in alive if "-m service" in command}

    def has_all_children(self, *, without: int = 0) -> set[int]:
        """The children, once all run and none is `without`."""

        def look() -> set[int] | None:
            members = self.child_pids()
            return members if len(members) == CHILDREN and without not in members else None

        return wait_for(look, SOON, "all children")

    def get(self, path: str) -> httpx.Response:
        """Send a request, which any child may answer."""
        return httpx.get(self.url + path, trust_env=False, timeout=60)

    def scrape(self) -> httpx.Response:
        """Read the metrics, of which any child may answer with all."""
        return httpx.get(self.metrics_url, trust_env=False, timeout=60)

    def metrics(self) -> Path:
        """The folder of the children's metrics."""
        (folder,) = self.metrics_folder.iterdir()
        return folder

    def counted(self) -> float:
        """The number of unmatched requests in the metrics."""
        found = COUNT.search(self.scrape().text)
        return float(found[1]) if found else 0.0


@contextmanager
def running_multiprocess_service(
    redis_url: str, marked: MarkedProcesses, log: Path
) -> Iterator[MultiprocessService]:
    """A service that answers, with all children running."""
    port, metrics_port = free_port(), free_port()
    place = log.with_name("place")
    place.mkdir()
    own = {
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_PORT": str(port),
        "GATEWAY_SERVICE_METRICS_PORT": str(metrics_port),
        "TMPDIR": str(place),
    }
    with log.open("wb") as lines:
        parent = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "serve", "--processes", str(CHILDREN)],
            cwd=ROOT,
            env={**marked.environment, **own},
            stderr=lines,
        )
    service = MultiprocessService(parent, port, metrics_port, marked, place)
    try:
        wait_for(lambda: is_answering(service.url) or None, SOON, "an answer")
        service.has_all_children()
        yield service
    finally:
        parent.kill()
        parent.wait()


@pytest.fixture
def service(
    redis_flushed: str, marked: MarkedProcesses, tmp_path: Path
) -> Iterator[MultiprocessService]:
    """A service of three processes."""
    with running_multiprocess_service(redis_flushed, marked, tmp_path / "log") as service:
        yield service


@pytest.fixture(scope="module")
def lasting_service(
    redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MultiprocessService]:
    """One for all tests that only read from it."""
    log = tmp_path_factory.mktemp("lasting") / "log"
    with (
        marked_processes() as marked,
        running_multiprocess_service(redis_url, marked, log) as service,
    ):
        yield service


def test_counts_add_up_in_the_answer_of_any_child(lasting_service: MultiprocessService) -> None:
    before = lasting_service.counted()
    for _ in range(CALLS):
        assert lasting_service.get("/nowhere").status_code == 404
    assert {lasting_service.counted() - before for _ in range(3 * CHILDREN)} == {CALLS}


def test_gauges_are_not_doubled_and_each_child_has_its_process_metrics(
    lasting_service: MultiprocessService,
) -> None:
    def all_seats() -> str | None:
        text = lasting_service.scrape().text
        return text if text.count("process_open_fds{") == CHILDREN else None

    shown = wait_for(all_seats, SOON, "the metrics of every child")
    assert "pid=" not in shown
    assert re.findall(r"^gateway_redis_up (.*)", shown, re.MULTILINE) == ["1.0"]
    assert re.findall(r"^gateway_build_info.* (.*)", shown, re.MULTILINE) == ["1.0"]
    assert re.findall(r"^gateway_job_subscriptions (.*)", shown, re.MULTILINE) == ["0.0"]
    seats = re.findall(
        r'^process_resident_memory_bytes\{process_index="(.)"\} [1-9]', shown, re.MULTILINE
    )
    assert seats == ["0", "1", "2"]


@marks.PROMTOOL
def test_promtool_accepts_the_metrics_of_several_processes(
    lasting_service: MultiprocessService,
) -> None:
    done = subprocess.run(
        [str(shutil.which("promtool")), "check", "metrics"],
        input=lasting_service.scrape().content,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_waiters_of_all_children_are_counted_in_the_answer_of_any(
    service: MultiprocessService, marked: MarkedProcesses, redis_flushed: str
) -> None:
    create = [sys.executable, "-m", "cli.main", "tenant", "create", "demo", "--json"]
    environment = {**marked.environment, "GATEWAY_REDIS_URL": redis_flushed}
    made = subprocess.run(create, cwd=ROOT, env=environment, capture_output=True, check=True)
    key, example = json.loads(made.stdout)["key"], load_kling_example()
    headers = {"authorization": f"Bearer {key}", "prefer": "wait=30"}

    def wait() -> int:
        url = f"{service.url}/v1/models/{example.model_id}"
        call = httpx.post(url, json=example.input, headers=headers, trust_env=False, timeout=40)
        return call.status_code

    def counted() -> bool:
        shown = [WAITERS.search(service.scrape().text) for _ in range(2 * CHILDREN)]
        return {found and float(found[1]) for found in shown} == {CALLERS}

    with ThreadPoolExecutor(CALLERS) as callers:
        waiting = [callers.submit(wait) for _ in range(CALLERS)]
        wait_for(lambda: counted() or None, SOON, "all who wait in everybody's figures")
        service.parent.terminate()
        assert {each.result() for each in waiting} == {202}
    assert service.parent.wait(timeout=60) == 0


def test_a_member_that_dies_is_replaced_and_its_counts_stay(
    service: MultiprocessService, tmp_path: Path
) -> None:
    for _ in range(CALLS):
        service.get("/nowhere")
    dead = min(service.child_pids())
    os.kill(dead, signal.SIGKILL)
    assert service.get("/healthz").is_success
    service.has_all_children(without=dead)
    wait_for(lambda: service.get("/nowhere").status_code == 404 or None, SOON, "an answer")
    assert service.counted() == CALLS + 1
    assert "child_process_died" in (tmp_path / "log").read_text()
    files = [path.name for path in service.metrics().glob("counter_*.db")]
    assert sorted(files) == [f"counter_{seat}.db" for seat in range(CHILDREN)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_0(
    service: MultiprocessService, marked: MarkedProcesses, number: signal.Signals
) -> None:
    with httpx.Client(base_url=service.url, trust_env=False) as idle:
        idle.get("/healthz")
        service.parent.send_signal(number)
        assert service.parent.wait(timeout=60) == 0
    assert marked.wait_until_gone()
    assert not list(service.metrics_folder.iterdir())


def test_a_call_that_hangs_does_not_hold_the_end_up(
    redis_flushed: str, marked: MarkedProcesses, tmp_path: Path
) -> None:
    marked.environment["GATEWAY_SHUTDOWN_TIMEOUT"] = "1"
    with running_multiprocess_service(redis_flushed, marked, tmp_path / "log") as service:
        address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        with socket.create_connection(address) as wire:
            head = "POST /v1/models/a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
            wire.sendall(f"{head}Authorization: Bearer x\r\n\r\n".encode())
            service.parent.terminate()
            assert service.parent.wait(timeout=60) == 0
    assert marked.wait_until_gone()


def test_no_member_outlives_a_parent_that_is_killed(
    service: MultiprocessService, marked: MarkedProcesses
) -> None:
    service.parent.kill()
    service.parent.wait()
    assert marked.wait_until_gone(within_seconds=60)


LISTENERS: Final = {
    "GATEWAY_PORT": ("serve", "--processes", "2"),
    "GATEWAY_SERVICE_METRICS_PORT": ("serve",),
    "GATEWAY_ADMIN_PORT": ("serve",),
    "GATEWAY_WORKER_METRICS_PORT": ("work",),
}


@pytest.mark.parametrize(
    ("name", "words"), [("GATEWAY_PORT", ("serve",)), *LISTENERS.items()], ids=str
)
def test_a_port_that_is_taken_is_one_line_with_its_setting(
    marked: MarkedProcesses, name: str, words: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=ROOT,
            env={
                **marked.environment,
                "GATEWAY_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
                "GATEWAY_RUNCOMFY_TOKEN": "token",
                "GATEWAY_JOURNAL__URL": "off",
                **dict.fromkeys(LISTENERS, "0"),
                name: port,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 3
    assert ran.stderr == (
        f"gateway: cannot listen on 127.0.0.1:{port}: Address already in use; set {name}\n"
    )
