"""`make demo` prints every step of a job and leaves nothing behind."""

import asyncio
import io
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.store import keys
from core.store.client import RedisClient
from core.store.server_check import parse_info
from simulator.console import Console
from simulator.demo import run_demo
from simulator.stack import ROOT, StackPlan
from tests.support.processes import MarkedProcesses
from tests.support.redis import redis_client

DEMO = [sys.executable, "-m", "simulator.demo"]
SEEN = (
    r"^\[1/9\] ",
    r"sha256 +[0-9a-f]{64} +2921 bytes, image/png",
    r"202 Accepted",
    r"\d s  in_queue",
    r"\d s  in_progress",
    r"\d s  completed",
    r"video +http://127\.0\.0\.1:\d+/media/\S+\.mp4",
    r"cost +1\.26 USD",
    r"ok  downloaded again, with the same checksum",
    r"ok  signature verified",
    r"ok  one paid submission",
    r"All processes stopped\.$",
)


def test_the_demo_prints_every_step_of_a_job_and_leaves_nothing(marked: MarkedProcesses) -> None:
    done = subprocess.run(
        DEMO, env=marked.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    missing = [line for line in SEEN if not re.search(line, done.stdout, re.MULTILINE)]
    assert not missing, done.stdout
    assert "\x1b" not in done.stdout
    assert marked.wait_until_gone(), marked.running()


async def test_the_demo_does_not_touch_the_redis_of_an_operators_shell(
    marked: MarkedProcesses, redis_flushed: str
) -> None:
    """It once ended queued production jobs with simulated videos."""
    async with redis_client(redis_flushed) as admin:
        await admin.execute("HSET", keys.STORE, "account", "real 1111111111111111")
        await admin.execute("SET", keys.job("req_1"), "queued")
        before = await _connections(admin)
        shell = {
            **marked.environment,
            "GATEWAY_REDIS_URL": redis_flushed,
            "GATEWAY_JOURNAL__URL": "s3://production/journal",
            "GATEWAY_RUNCOMFY_TOKEN": "a-real-token",
        }
        done = await asyncio.to_thread(
            subprocess.run, DEMO, env=shell, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert redis_flushed not in done.stdout
        assert await _connections(admin) == before


async def _connections(admin: RedisClient) -> str:
    """How many connections this Redis has had."""
    return parse_info(await admin.execute("INFO", "stats"))["total_connections_received"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_stopped_half_way_it_leaves_nothing(
    marked: MarkedProcesses, number: signal.Signals, code: int
) -> None:
    if number is signal.SIGKILL and sys.platform != "linux":
        pytest.xfail("only Linux kills children whose parent was killed")
    with subprocess.Popen(
        DEMO, env=marked.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert any("in_queue" in line for line in demo.stdout)
        assert len(marked.running()) > 1
        demo.send_signal(number)
        assert demo.wait(30) == code
    assert marked.wait_until_gone(), marked.running()


def test_a_process_that_does_not_come_up_is_named_with_its_last_words(
    marked: MarkedProcesses, tmp_path: Path
) -> None:
    told = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = StackPlan(tmp_path, environment=marked.environment, port=port, keeps_outputs=True)
        code = run_demo(Console(told, colour=False, total_steps=9), plan)
    assert code == 1
    assert re.search(r"^FAILED: service-1 ", told.getvalue(), re.MULTILINE), told.getvalue()
    assert re.search(r"^ +\| .*\b(in use|EADDRINUSE)\b", told.getvalue(), re.MULTILINE)
    assert marked.wait_until_gone(), marked.running()
