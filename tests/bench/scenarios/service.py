"""Reads, cache hits, admission with a long queue, start-up: the smaller scenarios."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, Final

import httpx
from redis import Redis

from core.clock import SystemClock
from core.jobs.job import BillingStatus, Job, JobState
from core.store import keys
from core.store.admin import AdminStore
from core.store.client import RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.tenants.limits import GlobalLimits
from core.transactions.job_update import Change
from simulator.stack import ManagedProcess
from tests.bench.harness import Bench, bearer
from tests.bench.load import LoadRequest, LoadResult, memory_mb
from tests.bench.results import BenchReport, PerformanceTarget
from tests.bench.scenarios.jobs import wait_until
from tests.bench.scenarios.submit import CONNECTIONS, INPUT, MAX_SCRIPT_US, SUBMIT
from tests.bench.seeds import StoreSeeder

OUTPUT: Final = b'{"video":"https://media.example.com/out.mp4"}'
_CACHEABLE: Final = {**INPUT, "prompt": "The same each time."}


def reads(bench: Bench, report: BenchReport) -> None:
    """Status and result of a job, beside a GET that does nothing and one that reads Redis."""
    bench.reset()
    job: Job = bench.with_store(_finished)
    with ExitStack() as running:
        gateway = running.enter_context(bench.service())
        names = ("fastapi_only", "single_redis_call")
        plain, one = (running.enter_context(bench.baseline(name)) for name in names)
        path = f"/v1/requests/{job.id}"
        asked = {
            "status": (gateway, LoadRequest(f"{path}/status", headers=bearer())),
            "result": (gateway, LoadRequest(f"{path}/result", headers=bearer())),
            "plain GET": (plain, LoadRequest(f"{path}/status")),
            "GET with one Redis call": (one, LoadRequest(f"{path}/status")),
        }
        found = interleaved(bench, asked)
    for name, loads in found.items():
        report.add(
            "reads", f"{name} c={CONNECTIONS}", "requests/s", [one.per_second for one in loads]
        )
        report.add("reads", f"{name} c={CONNECTIONS} p99", "ms", [one.p99_ms for one in loads])
        if name in ("status", "result"):
            floor = zip(loads, found["GET with one Redis call"], strict=True)
            ratios = [a.per_second / b.per_second for a, b in floor]
            report.add("reads", f"{name} / GET with one Redis call", "x", ratios)


async def _finished(wire: RedisClient) -> Job:
    """A job with a result."""
    seeds = StoreSeeder.open(wire)
    (job,) = await seeds.admit(1)
    now = SystemClock().now()
    after = job.evolve(
        now,
        state=JobState.SUCCEEDED,
        finished_at=now,
        next_run_at=None,
        billed=BillingStatus.YES,
        cost=1,
    )
    await seeds.jobs.store(Change(job, after, output=OUTPUT))
    return after


def interleaved(
    bench: Bench, asked: dict[str, tuple[ManagedProcess, LoadRequest]]
) -> dict[str, list[LoadResult]]:
    """Measure each of these in turn, round by round."""
    found: dict[str, list[LoadResult]] = {name: [] for name in asked}
    for child, ask in asked.values():
        bench.load(child, ask, CONNECTIONS, 0.2)
    for _ in range(bench.scale.rounds):
        for name, (child, ask) in asked.items():
            found[name].append(bench.load(child, ask, CONNECTIONS, bench.scale.seconds))
    return found


def cache(bench: Bench, report: BenchReport) -> None:
    """A submit that a cached result answers."""
    bench.reset()
    ask = LoadRequest(f"{SUBMIT.path}?cache=use", "POST", bearer(), json.dumps(_CACHEABLE))
    with bench.external_server("upstream") as upstream:
        with bench.service() as service:
            with bench.worker(upstream, {"GATEWAY_POLL__INITIAL_DELAY": "0.1"}):
                status = _until_hit(service, ask)
            if status != httpx.codes.OK:
                report.note(f"cache: not measured; a submit with cache=use was answered {status}")
                return
            loads = [
                bench.load(service, ask, CONNECTIONS, bench.scale.seconds)
                for _ in range(bench.scale.rounds)
            ]
        errands = _follow_ups_per_second(bench, upstream)
    report.add("cache", f"hits c={CONNECTIONS}", "requests/s", [one.per_second for one in loads])
    report.add("cache", f"hits c={CONNECTIONS} p99", "ms", [one.p99_ms for one in loads])
    report.add("cache", "hits told of, one worker", "a second", errands)


def _follow_ups_per_second(bench: Bench, upstream: ManagedProcess) -> float:
    """The rate at which a worker does the follow-ups of cache hits."""
    with bench.worker(upstream), Redis.from_url(bench.redis.url) as client:
        left, began = int(client.zcard(keys.DUE)), time.monotonic()
        wait_until(lambda: client.zcard(keys.DUE) == 0)
        return left / (time.monotonic() - began)


def _until_hit(service: ManagedProcess, ask: LoadRequest) -> int:
    """The last status of the same submit: 200 once its result is cached."""
    headers = {**ask.headers, "content-type": "application/json"}
    status = 0
    for _ in range(50):
        url = service.url + ask.path
        status = httpx.post(url, content=ask.body, headers=headers, trust_env=False).status_code
        if status != httpx.codes.ACCEPTED:
            return status
        time.sleep(0.1)
    return status


def backlog(bench: Bench, report: BenchReport) -> None:
    """Admission while a hundred thousand jobs wait, beside the same with a few."""
    with bench.service() as service:
        rates: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(bench.scale.rounds):
            for name, waiting in (("few", 1), ("many", bench.scale.waiting)):
                bench.reset()
                bench.with_store(partial(_delay_queue, waiting=waiting))
                bench.load(service, SUBMIT, CONNECTIONS, 0.2)
                bench.reset_commands()
                loaded = bench.load(service, SUBMIT, CONNECTIONS, bench.scale.seconds)
                rates[name].append(loaded.per_second)
                calls, spent = bench.commands()["evalsha"]
                what = f"script in Redis, {name} waiting"
                report.add(
                    "backlog", what, "us", spent / calls, PerformanceTarget(maximum=MAX_SCRIPT_US)
                )
    for name, found in rates.items():
        report.add("backlog", f"{name} waiting c={CONNECTIONS}", "requests/s", found)
    ratios = [many / few for many, few in zip(rates["many"], rates["few"], strict=True)]
    report.add("backlog", f"{bench.scale.waiting:,} waiting / one", "x", ratios)


async def _delay_queue(wire: RedisClient, waiting: int) -> None:
    admin = AdminStore(wire, LuaScripts(wire, load_scripts()), SystemClock())
    await admin.set_limits(GlobalLimits(running=1))
    seeds = StoreSeeder.open(wire)
    await seeds.admit(2)
    await seeds.waiting(waiting)


def start(bench: Bench, report: BenchReport) -> None:
    """Time from the command to the first answer, and the memory of an idle process."""
    bench.reset()
    taken: dict[str, list[Any]] = {}
    with bench.external_server("upstream") as upstream:
        for _ in range(bench.scale.starts):
            opening: dict[str, Callable[[], AbstractContextManager[ManagedProcess]]] = {
                "gateway serve": bench.service,
                "gateway work": lambda: bench.worker(upstream),
                "plain FastAPI": lambda: bench.baseline("fastapi_only"),
            }
            for name, opened in opening.items():
                began = time.monotonic()
                with opened() as child:
                    took = time.monotonic() - began
                    time.sleep(0.5 if bench.scale.timed else 0)
                    taken.setdefault(name, []).append((took, memory_mb(child.pid or 0)))
    for name, found in taken.items():
        report.add("start", f"{name} to its first answer", "s", [took for took, _ in found])
        report.add("start", f"{name}, idle", "MB", [memory for _, memory in found])
