"""A tenant that does little: it submits, reads, streams and is sent webhooks at a steady rate."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import httpx
import orjson

from simulator.example import load_kling_example
from simulator.stack import Stack, TenantCredentials
from tests.attack.http_client import Connection, head, request
from tests.attack.target import BYSTANDER_ADDRESS, SUBMIT_PATH
from tests.bench.results import percentile

CALLERS: Final = 4
CALLS_PER_SECOND: Final = 40
"""Of all callers together; each fourth call is a submit."""
WEBHOOK_PATIENCE_SECONDS: Final = 60
_WATCH_SECONDS: Final = 0.01


@dataclass(slots=True)
class Answers:
    """What a bystander got in a time: seconds of each call, and what was no success."""

    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    webhooks_sent: int = 0
    webhooks_received: int = 0
    webhook_seconds: list[float] = field(default_factory=list)
    own_seconds: list[float] = field(default_factory=list)
    """By how much this process itself was late, whatever the gateway did."""

    def add(self, other: "Answers") -> None:
        """Add the answers of another time."""
        self.seconds += other.seconds
        self.failed += other.failed
        self.webhooks_sent += other.webhooks_sent
        self.webhooks_received += other.webhooks_received
        self.webhook_seconds += other.webhook_seconds
        self.own_seconds += other.own_seconds

    def percentile_ms(self, share: float) -> float:
        """A percentile of the calls, in milliseconds."""
        return percentile(self.seconds, share) * 1000

    @property
    def own_ms(self) -> float:
        """The 99th percentile of this process's own delay, in milliseconds."""
        return percentile(self.own_seconds, 0.99) * 1000

    @property
    def all_answered(self) -> bool:
        """Whether every call succeeded and every test event arrived."""
        return not self.failed and self.webhooks_sent == self.webhooks_received


class Bystander:
    """Calls the first service of a stack with a tenant's key."""

    def __init__(self, stack: Stack, tenant: TenantCredentials) -> None:
        self._stack = stack
        self._tenant = tenant
        self._port = int(stack.url.rpartition(":")[2])
        self._numbers = count(1)
        self._receiver_name = f"{tenant.name}-tests"
        self._endpoint_id = ""

    async def prepare(self) -> None:
        """Create the endpoint of its test events; no other event goes there."""
        endpoint = {
            "url": self._stack.webhook_url(self._receiver_name),
            "events": ["batch.completed"],
        }
        async with await Connection.open(self._port, BYSTANDER_ADDRESS) as connection:
            data = request("POST", "/v1/webhooks/endpoints", self._tenant.key, endpoint)
            self._endpoint_id = orjson.loads((await connection.exchange(data)).body)["id"]
        secret = {"name": self._receiver_name, "secret": self._tenant.webhook_secret}
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{self._stack.receiver.url}/_recv/secret", json=secret)

    async def run(self, seconds: float) -> Answers:
        """Call at the steady rate for some seconds, and wait until all is answered."""
        answers = Answers()
        watch = asyncio.create_task(_measure_own_delay(answers))
        try:
            await self._run_callers(seconds, answers)
        finally:
            watch.cancel()
        return answers

    async def _run_callers(self, seconds: float, answers: Answers) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._call(seconds, number, answers))
            group.create_task(self._read_stream(answers))
            group.create_task(self._receive_webhook(answers))

    async def _call(self, seconds: float, number: int, answers: Answers) -> None:
        """One caller. Its calls start by the clock, so that a slow answer is measured whole."""
        async with await Connection.open(self._port, BYSTANDER_ADDRESS) as connection:
            request_id = await self._submitted(connection)
            async for started in _ticks(seconds, CALLS_PER_SECOND / CALLERS, number / CALLERS):
                is_submit = next(self._numbers) % 4 == 0
                data = self._submit() if is_submit else self._read(request_id)
                answer = await connection.exchange(data)
                answers.seconds.append(time.perf_counter() - started)
                if answer.status != (202 if is_submit else 200):
                    answers.failed[f"{answer.status}"] += 1

    async def _submitted(self, connection: Connection) -> str:
        answer = await connection.exchange(self._submit())
        if answer.status != 202:
            raise RuntimeError(f"the bystander's submit got {answer.status}: {answer.body!r}")
        return str(orjson.loads(answer.body)["request_id"])

    def _submit(self) -> bytes:
        text = f"bystander {next(self._numbers)} {time.time_ns()}"
        return request(
            "POST", SUBMIT_PATH, self._tenant.key, {**load_kling_example().input, "prompt": text}
        )

    def _read(self, request_id: str) -> bytes:
        return request("GET", f"/v1/requests/{request_id}/status", self._tenant.key)

    async def _read_stream(self, answers: Answers) -> None:
        async with await Connection.open(self._port, BYSTANDER_ADDRESS) as connection:
            path = f"/v1/requests/{await self._submitted(connection)}/events"
            await connection.send(head("GET", path, self._tenant.key))
            line = await asyncio.wait_for(connection.reader.readline(), WEBHOOK_PATIENCE_SECONDS)
            if b" 200 " not in line:
                answers.failed[f"stream {line.split()[1].decode()}"] += 1

    async def _receive_webhook(self, answers: Answers) -> None:
        async with (
            await Connection.open(self._port, BYSTANDER_ADDRESS) as connection,
            httpx.AsyncClient(trust_env=False, timeout=60) as http,
        ):
            started = time.perf_counter()
            data = request(
                "POST", "/v1/webhooks/test", self._tenant.key, {"endpoint_id": self._endpoint_id}
            )
            sent = await connection.exchange(data)
            if sent.status != 202:
                answers.failed[f"test event {sent.status}"] += 1
                return
            answers.webhooks_sent += 1
            delivery_id = orjson.loads(sent.body)["deliveries"][0]["id"]
            while time.perf_counter() - started < WEBHOOK_PATIENCE_SECONDS:
                if await self._has_arrived(http, delivery_id):
                    answers.webhooks_received += 1
                    answers.webhook_seconds.append(time.perf_counter() - started)
                    return
                await asyncio.sleep(0.1)

    async def _has_arrived(self, http: httpx.AsyncClient, delivery_id: str) -> bool:
        url = f"{self._stack.receiver.url}/_recv/calls"
        calls = (await http.get(url, params={"name": self._receiver_name})).json()["calls"]
        return any(call["headers"].get("webhook-id") == delivery_id for call in calls)


async def _measure_own_delay(answers: Answers) -> None:
    while True:
        due = time.perf_counter() + _WATCH_SECONDS
        await asyncio.sleep(_WATCH_SECONDS)
        answers.own_seconds.append(max(0.0, time.perf_counter() - due))


async def _ticks(seconds: float, per_second: float, offset: float) -> AsyncIterator[float]:
    """Yield each instant at which a call is to start, as `time.perf_counter` measures it."""
    began = time.perf_counter()
    for number in range(int(seconds * per_second)):
        instant = began + (number + offset) / per_second
        await asyncio.sleep(max(0.0, instant - time.perf_counter()))
        yield instant
