"""The attack: three tenants submit while processes are killed and RunComfy misbehaves.

Uses HTTP and signals only. `tests.chaos.audit` checks the outcome.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final

import httpx

from simulator.stack import ManagedProcess, Stack, TenantCredentials

MODEL: Final = "kling/kling-3.0/standard/image-to-video"
IMAGE: Final = "https://images.example.com/start.png"
ACCEPTED: Final = 202

RUNCOMFY_FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"call": "submit", "kind": "lost_before", "rate": 0.02},
    {"call": "submit", "kind": "lost_after", "rate": 0.02},
    {"call": "submit", "kind": "reset_after", "rate": 0.01},
    {"call": "submit", "kind": "5xx_after", "rate": 0.01},
    {"call": "submit", "kind": "html", "status": 502, "rate": 0.01},
    {"call": "submit", "kind": "429", "rate": 0.03, "retry_after": 1},
    {"call": "submit", "kind": "slow", "seconds": 2, "rate": 0.05},
    {"call": "status", "kind": "error", "status": 500, "rate": 0.03},
    {"call": "status", "kind": "unknown_word", "rate": 0.03},
    {"call": "status", "kind": "hang", "rate": 0.005},
    {"call": "result", "kind": "error_in_200", "rate": 0.05},
    {"call": "result", "kind": "lost_after", "rate": 0.05},
)


@dataclass(frozen=True, slots=True)
class AttackProfile:
    """The size of an attack.

    `over`: how long processes are killed; submits are spread over half of it.
    """

    jobs: int
    worker_kills: int
    redis_kills: int
    over: timedelta
    seed: int
    workers: int = 2


SHORT: Final = AttackProfile(
    jobs=150, worker_kills=8, redis_kills=1, over=timedelta(seconds=30), seed=1
)
STANDARD: Final = AttackProfile(
    jobs=1000, worker_kills=30, redis_kills=3, over=timedelta(seconds=100), seed=1
)
LONG: Final = AttackProfile(
    jobs=5000, worker_kills=60, redis_kills=5, over=timedelta(seconds=360), seed=1
)


@dataclass(slots=True)
class AttackRecord:
    """Accepted ids with their tenants, refusals by status, instants of the kills."""

    accepted: dict[str, str] = field(default_factory=dict)
    """Request id -> tenant."""
    refused: dict[str, int] = field(default_factory=dict)
    worker_kills: list[float] = field(default_factory=list)
    redis_kills: list[float] = field(default_factory=list)


class Attack:
    """Runs one profile against a running stack."""

    def __init__(
        self, stack: Stack, tenants: list[TenantCredentials], form: AttackProfile, rng: Random
    ) -> None:
        self._stack = stack
        self._tenants = tenants
        self._form = form
        self._rng = rng
        self.campaign = AttackRecord()

    async def run(self) -> AttackRecord:
        """Submit, kill and inject faults until the profile is done; then end all faults."""
        await self._inject_faults()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit_all())
            group.create_task(self._kill_workers())
            group.create_task(self._kill_redis())
        await self._clear_faults()
        return self.campaign

    async def _submit_all(self) -> None:
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
        pause = self._form.over.total_seconds() / 2 / self._form.jobs
        async with httpx.AsyncClient(trust_env=False, timeout=10, limits=limits) as http:
            number = 0
            while len(self.campaign.accepted) < self._form.jobs:
                number += 1
                await self._submit(http, number)
                await asyncio.sleep(pause)

    async def _submit(self, http: httpx.AsyncClient, number: int) -> None:
        tenant = self._tenants[number % len(self._tenants)]
        body = {"prompt": f"job {number} [mark:{number}]", "start_image_url": IMAGE, "duration": 5}
        try:
            answer = await http.post(
                f"{self._stack.url}/v1/models/{MODEL}",
                params={"reference": str(number)},
                json=body,
                headers=tenant.auth_header,
            )
        except httpx.TransportError as error:
            self._count(type(error).__name__)
            return
        if answer.status_code == ACCEPTED:
            self.campaign.accepted[answer.json()["request_id"]] = tenant.name
        else:
            self._count(str(answer.status_code))
            await asyncio.sleep(0.2)

    def _count(self, what: str) -> None:
        self.campaign.refused[what] = self.campaign.refused.get(what, 0) + 1

    async def _kill_workers(self) -> None:
        mean = self._form.over.total_seconds() / self._form.worker_kills
        for number in range(self._form.worker_kills):
            await asyncio.sleep(mean * self._rng.uniform(0.4, 1.2))
            worker = self._stack.workers[number % len(self._stack.workers)]
            await self._kill_worker(worker, self._rng.uniform(0.2, 1.5))

    async def _kill_worker(self, worker: ManagedProcess, pause: float) -> None:
        self.campaign.worker_kills.append(time.time())
        worker.kill()
        await asyncio.sleep(pause)
        worker.start()
        await asyncio.to_thread(worker.wait_until_ready)

    async def _kill_redis(self) -> None:
        redis = self._stack.redis
        if redis is None:
            raise RuntimeError("the attack kills a Redis of its own only")
        mean = self._form.over.total_seconds() / (self._form.redis_kills + 1)
        for _ in range(self._form.redis_kills):
            await asyncio.sleep(mean * self._rng.uniform(0.8, 1.1))
            self.campaign.redis_kills.append(time.time())
            redis.kill()
            await asyncio.sleep(self._rng.uniform(0.5, 3))
            redis.start()

    async def _inject_faults(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            faults = f"{self._stack.runcomfy_url}/_sim/faults"
            (await http.post(faults, json=list(RUNCOMFY_FAULTS))).raise_for_status()
            behaviour = {"manner": "answer", "status": 500, "rate": 0.5}
            url = f"{self._stack.receiver.url}/_recv/behaviour"
            (await http.post(url, json=behaviour)).raise_for_status()

    async def _clear_faults(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.delete(f"{self._stack.runcomfy_url}/_sim/faults")
            await http.delete(f"{self._stack.receiver.url}/_recv/behaviour")
