"""Callers who notice nothing while every service and worker is replaced.

Submits, event streams and waits go through a balancer. A call that fails is counted, and not
repeated. A stream that breaks goes on with `Last-Event-ID`, and must have lost no event.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, cycle
from random import Random
from typing import Any, Final

import aiohttp

from simulator.stack import ManagedProcess, Stack, TenantCredentials
from tests.chaos.attack import ACCEPTED, IMAGE, MODEL, AttackRecord
from tests.chaos.balancer import Balancer
from tests.support.pid_one import wrapped

WAIT_SECONDS: Final = 20
_PAUSE: Final = 0.05
_RECENT: Final = 400
PROBLEM: Final = "application/problem+json"
CALLS: Final = ("submit", "stream", "wait")


@dataclass(frozen=True, slots=True)
class RestartProfile:
    """How much load there is, and how often each process is replaced."""

    submits_per_second: float
    streams: int
    waits: int
    rounds: int = 2
    services: int = 2
    workers: int = 2
    as_process_1: bool = False


RESTART: Final = RestartProfile(submits_per_second=50, streams=200, waits=200)
SHORT_RESTART: Final = RestartProfile(submits_per_second=5, streams=10, waits=10, rounds=1)


@dataclass(slots=True)
class RestartRecord:
    """What callers saw."""

    calls: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    broken_streams: int = 0
    seen_events: dict[str, list[int]] = field(default_factory=dict)
    """Request id -> ids of the events of its finished stream."""
    slowest_submit: float = 0.0
    exits: list[int | None] = field(default_factory=list)
    """Exit codes of the processes that were replaced."""
    jobs: AttackRecord = field(default_factory=AttackRecord)

    def fail(self, call: str, reason: object) -> None:
        """Count a call that failed."""
        self.failures[f"{call}: {reason}"] += 1


class RestartRun:
    """Puts load on the balancer until every process has been replaced so often."""

    def __init__(
        self,
        stack: Stack,
        balancer: Balancer,
        tenants: list[TenantCredentials],
        profile: RestartProfile,
        rng: Random,
    ) -> None:
        self._stack = stack
        self._balancer = balancer
        self._profile = profile
        self._rng = rng
        self._tenants = cycle(tenants)
        self._bearers = {tenant.name: tenant.auth_header for tenant in tenants}
        self._recent: deque[tuple[str, str]] = deque(maxlen=_RECENT)
        self._followed: set[str] = set()
        self._is_over = False
        self.record = RestartRecord()

    async def run(self) -> RestartRecord:
        """Put the load on, replace all processes, end the load, and return what was seen."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=90)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            async with asyncio.TaskGroup() as callers:
                callers.create_task(self._submit_steadily(http, callers))
                for _ in range(self._profile.streams):
                    callers.create_task(self._follow_jobs(http))
                for _ in range(self._profile.waits):
                    callers.create_task(self._wait_for_jobs(http))
                await asyncio.to_thread(self._replace_all)
                self._is_over = True
            await self._check_streams(http)
        return self.record

    def _replace_all(self) -> None:
        """Replace each process in turn; the next only when the balancer has found it ready."""
        settle = 2 * self._profile.services
        time.sleep(settle)
        for _ in range(self._profile.rounds):
            for process in [*self._stack.services, *self._stack.workers]:
                self._replace(process)
            time.sleep(settle)

    def _replace(self, process: ManagedProcess) -> None:
        self.record.exits.append(process.stop())
        if self._profile.as_process_1 and process.command[1:2] != ("-m",):
            process.command = wrapped(process.command)
        process.start()
        process.wait_until_ready()
        self._balancer.wait_until_up(len(self._stack.services))

    async def _submit_steadily(
        self, http: aiohttp.ClientSession, callers: asyncio.TaskGroup
    ) -> None:
        began = asyncio.get_running_loop().time()
        for number in count():
            if self._is_over:
                return
            callers.create_task(self._submit(http, number, next(self._tenants)))
            due = began + (number + 1) / self._profile.submits_per_second
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))

    async def _submit(
        self, http: aiohttp.ClientSession, number: int, tenant: TenantCredentials
    ) -> None:
        body = {"prompt": f"job {number} [mark:{number}]", "start_image_url": IMAGE, "duration": 5}
        self.record.calls["submit"] += 1
        began = time.monotonic()
        try:
            async with http.post(
                f"{self._balancer.url}/v1/models/{MODEL}",
                params={"reference": str(number)},
                json=body,
                headers=tenant.auth_header,
            ) as answer:
                if answer.status != ACCEPTED:
                    self.record.fail("submit", await _refusal(answer))
                    return
                request_id = str((await answer.json())["request_id"])
        except aiohttp.ClientError as error:
            self.record.fail("submit", type(error).__name__)
            return
        self.record.slowest_submit = max(self.record.slowest_submit, time.monotonic() - began)
        self.record.jobs.accepted[request_id] = tenant.name
        self._recent.append((request_id, tenant.name))

    async def _recent_job(self) -> tuple[str, Mapping[str, str]] | None:
        """One of the last jobs, and the header of its tenant; None when the load ends."""
        while not self._recent:
            if self._is_over:
                return None
            await asyncio.sleep(_PAUSE)
        request_id, tenant = self._rng.choice(self._recent)
        return request_id, self._bearers[tenant]

    async def _wait_for_jobs(self, http: aiohttp.ClientSession) -> None:
        while not self._is_over and (job := await self._recent_job()) is not None:
            request_id, bearer = job
            self.record.calls["wait"] += 1
            headers = {**bearer, "Prefer": f"wait={WAIT_SECONDS}"}
            url = f"{self._balancer.url}/v1/requests/{request_id}/result"
            try:
                async with http.get(url, headers=headers) as answer:
                    await answer.read()
                    if not answer.ok:
                        self.record.fail("wait", await _refusal(answer))
            except aiohttp.ClientError as error:
                self.record.fail("wait", type(error).__name__)
            await asyncio.sleep(_PAUSE)

    async def _follow_jobs(self, http: aiohttp.ClientSession) -> None:
        while not self._is_over and (job := await self._recent_job()) is not None:
            request_id, bearer = job
            if request_id in self._followed:
                await asyncio.sleep(_PAUSE)
                continue
            self._followed.add(request_id)
            self.record.seen_events[request_id] = await self._follow(http, request_id, bearer)

    async def _follow(
        self, http: aiohttp.ClientSession, request_id: str, bearer: Mapping[str, str]
    ) -> list[int]:
        """Read a stream to its end, over as many connections as it takes; return the event ids."""
        seen: list[int] = []
        for number in count():
            headers = {**bearer, "Last-Event-ID": str(seen[-1])} if seen else bearer
            self.record.calls["stream"] += 1
            self.record.broken_streams += number > 0
            url = f"{self._balancer.url}/v1/requests/{request_id}/events"
            try:
                async with http.get(url, headers=headers) as answer:
                    if answer.status == 204:
                        self.record.broken_streams -= 1
                        return seen
                    if not answer.ok:
                        self.record.fail("stream", await _refusal(answer))
                    async for line in answer.content:
                        seen.extend(_event_ids(line))
            except aiohttp.ClientPayloadError:
                pass  # it broke after its head: a stream may, and goes on
            except aiohttp.ClientError as error:
                self.record.fail("stream", type(error).__name__)
            await asyncio.sleep(_PAUSE)
        return seen

    async def _check_streams(self, http: aiohttp.ClientSession) -> None:
        """Compare what each stream had with a whole one, read now."""
        for request_id, seen in self.record.seen_events.items():
            bearer = self._bearers[self.record.jobs.accepted[request_id]]
            whole: list[int] = []
            url = f"{self._balancer.url}/v1/requests/{request_id}/events"
            async with http.get(url, headers=bearer) as answer:
                async for line in answer.content:
                    whole.extend(_event_ids(line))
            if seen != whole:
                self.record.fail("stream", f"events {seen} of {whole}")


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    """The status, and the gateway's code; an answer without one is the balancer's own."""
    if answer.content_type == PROBLEM:
        return f"{answer.status} {(await answer.json(content_type=PROBLEM))['code']}"
    return f"{answer.status} of the balancer"


def _event_ids(line: bytes) -> Iterator[int]:
    if line.startswith(b"id:"):
        yield int(line[3:])


def figures_of(record: RestartRecord) -> dict[str, Any]:
    """What callers saw, for the report."""
    return {
        "calls": {call: record.calls[call] for call in CALLS},
        "failed calls": dict(record.failures),
        "processes replaced": len(record.exits),
        "exit codes": dict(Counter(record.exits)),
        "streams that went on after a break": record.broken_streams,
        "streams compared with a whole one": len(record.seen_events),
        "slowest submit, s": round(record.slowest_submit, 2),
    }
