"""Long polls and streams in a real process: its stop answers them all immediately."""

import asyncio
import json
import signal
import time
from pathlib import Path

import httpx

from simulator.private_redis import free_port
from tests.support.app import KLING_INPUT, KLING_PATH
from tests.support.processes import run_gateway, running_service

STOP_TIMEOUT = 30.0
"""Seconds; the time for a graceful stop is 10."""


async def test_a_stop_ends_streams_and_answers_long_polls(
    redis_flushed: str, tmp_path: Path
) -> None:
    made = await asyncio.to_thread(run_gateway, redis_flushed, "tenant", "create", "demo", "--json")
    headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    metrics = free_port()
    log, own = tmp_path / "serve.log", {"GATEWAY_SERVICE_METRICS_PORT": str(metrics)}
    with running_service(redis_flushed, log, **own) as (process, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20
        ) as caller:
            job = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()
            waiting = asyncio.create_task(
                caller.post(KLING_PATH, json=KLING_INPUT, headers={"prefer": "wait=60"})
            )
            async with caller.stream("GET", f"/v1/requests/{job['request_id']}/events") as stream:
                pieces = stream.aiter_text()
                text = await anext(pieces)
                while await subscription_count(caller, metrics) < 2:  # noqa: ASYNC110 - another process is looked at
                    await asyncio.sleep(0.05)
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                text += "".join([piece async for piece in pieces])  # raises if it were cut off
            answer = await waiting
        code = await asyncio.to_thread(process.wait, 60)
        took = time.monotonic() - began

    assert "event: request.in_queue" in text
    assert answer.status_code == 202
    assert code == 0, (tmp_path / "serve.log").read_text()
    assert took < STOP_TIMEOUT


async def test_a_submit_that_waits_returns_when_another_call_cancels(
    redis_flushed: str, tmp_path: Path
) -> None:
    made = await asyncio.to_thread(run_gateway, redis_flushed, "tenant", "create", "demo", "--json")
    headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    metrics = free_port()
    log, own = tmp_path / "serve.log", {"GATEWAY_SERVICE_METRICS_PORT": str(metrics)}
    with running_service(redis_flushed, log, **own) as (_, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20
        ) as caller:
            job = (await caller.post(KLING_PATH, json=KLING_INPUT)).json()
            root = f"/v1/requests/{job['request_id']}"
            waiting = asyncio.create_task(
                caller.get(f"{root}/result", headers={"prefer": "wait=60"})
            )
            while await subscription_count(caller, metrics) < 1:  # noqa: ASYNC110 - another process is looked at
                await asyncio.sleep(0.05)
            began = time.monotonic()
            await caller.post(f"{root}/cancel")
            answer = await waiting
            took = time.monotonic() - began
            events = await caller.get(f"{root}/events", headers={"last-event-id": "0"})

    assert answer.json()["status"] == "cancelled"
    assert took < STOP_TIMEOUT
    assert "event: request.cancelled" in events.text


async def subscription_count(caller: httpx.AsyncClient, port: int) -> int:
    """The number of waiters in the process's metrics."""
    text = (await caller.get(f"http://127.0.0.1:{port}/metrics")).text
    line = next(row for row in text.splitlines() if row.startswith("gateway_job_subscriptions "))
    return int(float(line.split()[1]))
