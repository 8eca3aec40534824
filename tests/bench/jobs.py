"""Jobs through the whole pipeline, many jobs open at once, callbacks, and deaths."""

from __future__ import annotations

import time
from datetime import timedelta
from math import log
from random import Random
from typing import TYPE_CHECKING, Any, Final

import httpx
from redis import Redis

from core.jobs.run_times import KEPT
from core.store import keys
from tests.bench.figures import Target, share
from tests.bench.harness import bearer
from tests.bench.load import cpu_seconds, memory_mb
from tests.bench.seeds import LONGEST_AGO, Seeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.stack import Child
    from tests.bench.figures import Report
    from tests.bench.harness import Bench

PATIENCE: Final = 60.0
LOOK_EVERY: Final = 0.05
MEDIAN_RUN: Final = 300
SEEDED_A_SECOND: Final = 1500
LEASE: Final = 15.0
SOON: Final = Target(most=25)
CHEAP: Final = Target(most=450)
MANY: Final = Target(least=2000)
FASTEST: Final = {"GATEWAY_POLL__MIN_INTERVAL": "0.2", "GATEWAY_POLL__MAX_INTERVAL": "0.2"}
QUICK: Final = {"GATEWAY_POLL__INITIAL_DELAY": "0.1", "GATEWAY_POLL__MIN_INTERVAL": "0.1"}
MANY_SUBMITS: Final = {"GATEWAY_SUBMIT_MAX_CONCURRENCY": "50"}
MOST_AT_ONCE: Final = {"GATEWAY_POLL__MAX_CONCURRENCY": "150"}


def pipeline(bench: Bench, report: Report) -> None:
    """Jobs that RunComfy ends at once: submit, poll, result, callback; one worker's core."""
    for _ in range(1 if not bench.scale.timed else bench.scale.rounds):
        with bench.outside("upstream") as upstream, bench.outside("hooks") as receiver:
            bench.fresh(webhook=f"{receiver.url}/hooks")
            bench.act(lambda wire: Seeds.over(wire).admitted(bench.scale.jobs))
            bench.forget_commands()
            with bench.worker(upstream, QUICK | MANY_SUBMITS) as worker:
                wait_for(lambda: len(figures(receiver)["came"]) >= bench.scale.jobs)
                spent = cpu_seconds(worker.pid or 0)
            _tell_of_pipeline(bench, report, upstream, receiver, spent)


def _tell_of_pipeline(
    bench: Bench, report: Report, upstream: Child, receiver: Child, spent: float
) -> None:
    asked, came = figures(upstream), sorted(figures(receiver)["came"].values())
    took = came[-1] - min(asked["submitted"])
    jobs = bench.scale.jobs
    report.add("pipeline", "jobs a second, one worker", "jobs/s", jobs / took)
    report.add("pipeline", "CPU of the worker, start-up included", "ms a job", spent / jobs * 1000)
    calls = sum(asked["calls"].get(call, 0) for call in ("submit", "status", "result"))
    report.add("pipeline", "calls to RunComfy", "a job", calls / jobs)


def callback_lag(bench: Bench, report: Report) -> None:
    """From the poll that saw an end to the callback's arrival, on an idle machine."""
    jobs = min(100, bench.scale.jobs)
    with (
        bench.outside("upstream", "--run-seconds", "0.3") as upstream,
        bench.outside("hooks") as receiver,
    ):
        bench.fresh(webhook=f"{receiver.url}/hooks")
        with bench.worker(upstream, QUICK):
            for _ in range(jobs // 5):
                bench.act(lambda wire: Seeds.over(wire).admitted(5))
                time.sleep(0.1 if bench.scale.timed else 0)
            wait_for(lambda: len(figures(receiver)["upstream"]) >= jobs)
        seen, came = figures(upstream)["seen"], figures(receiver)["upstream"]
    lags = [came[number] - seen[number] for number in came]
    report.add(
        "pipeline",
        "end seen to callback, p50",
        "ms",
        share(lags, 0.5) * 1000,
        SOON,
    )
    report.add("pipeline", "end seen to callback, p95", "ms", share(lags, 0.95) * 1000)


def open_jobs(bench: Bench, report: Report) -> None:
    """Many jobs open on one worker: what they cost, and how late it is."""
    count, watched = bench.scale.open_jobs, bench.scale.watch_seconds
    with bench.outside("upstream") as upstream:
        _seed_open(bench, count, watched)
        with bench.worker(upstream, MOST_AT_ONCE) as worker:
            time.sleep(watched / 4)
            ask(upstream, "/forget")
            before, began = cpu_seconds(worker.pid or 0), time.monotonic()
            behind = _watch(bench, watched)
            span = time.monotonic() - began
            spent, memory = cpu_seconds(worker.pid or 0) - before, memory_mb(worker.pid or 0)
            seen = figures(upstream)
    polls = max(seen["calls"].get("status", 0), 1)
    name = f"{count:,} open"
    report.add("open", f"{name}: memory", "MB", memory, Target(most=250))
    report.add("open", f"{name}: CPU", "cores", spent / span)
    report.add("open", f"{name}: polls", "polls/s", polls / span)
    report.add("open", f"{name}: CPU of a poll", "us", spent / polls * 1e6, CHEAP)
    report.add("open", f"{name}: longest between two looks at a job", "s", seen["longest_gap"])
    report.add("open", f"{name}: behind plan, p95", "s", share(behind, 0.95), Target(most=1))
    if seen["lags"]:
        report.add(
            "open", f"{name}: detection lag, mean", "s", sum(seen["lags"]) / len(seen["lags"])
        )
        report.add("open", f"{name}: detection lag, p95", "s", share(seen["lags"], 0.95))


def fastest_polls(bench: Bench, report: Report) -> None:
    """As many polls as one core makes: every job is always due."""
    watched = bench.scale.watch_seconds / 2
    with bench.outside("upstream") as upstream:
        _seed_open(bench, bench.scale.open_jobs // 5, 3600)
        with bench.worker(upstream, FASTEST | MOST_AT_ONCE) as worker:
            time.sleep(watched / 4)
            for _ in range(bench.scale.rounds):
                ask(upstream, "/forget")
                before, began = cpu_seconds(worker.pid or 0), time.monotonic()
                time.sleep(watched / bench.scale.rounds)
                polls = max(figures(upstream)["calls"].get("status", 0), 1)
                span = time.monotonic() - began
                spent = cpu_seconds(worker.pid or 0) - before
                report.add(
                    "open",
                    "polls at most, one core",
                    "polls/s",
                    polls / span,
                    MANY,
                )
                report.add(
                    "open",
                    "CPU of a poll at most",
                    "us",
                    spent / polls * 1e6,
                    CHEAP,
                )


def _seed_open(bench: Bench, count: int, within: float) -> None:
    """Jobs of a model whose runs are known: some end within the watch, most do not."""
    bench.fresh()
    rng = Random(1)
    runs = [timedelta(seconds=rng.lognormvariate(log(MEDIAN_RUN), 0.25)) for _ in range(KEPT)]
    bench.act(lambda wire: Seeds.over(wire).history(runs))
    begun = time.time() + count / SEEDED_A_SECOND
    left = [
        max(rng.lognormvariate(log(MEDIAN_RUN), 0.25) - n % LONGEST_AGO, 0) for n in range(count)
    ]
    ends = [begun + (3600 if span == 0 else span) for span in left]
    if within > LONGEST_AGO:
        ends = [begun + within] * count
    bench.act(lambda wire: Seeds.over(wire).running(ends))


def _watch(bench: Bench, seconds: float) -> list[float]:
    """How far the job that is due longest is behind its time, again and again."""
    until, behind = time.monotonic() + seconds, []
    with Redis.from_url(bench.redis.url) as client:
        while time.monotonic() < until:
            rows = client.zrange(keys.DUE, 0, 0, withscores=True)
            behind.append(max(0.0, time.time() - rows[0][1] / 1000) if rows else 0.0)
            time.sleep(LOOK_EVERY)
    return behind


def deliveries(bench: Bench, report: Report) -> None:
    """Callbacks to one live receiver."""
    count = bench.scale.deliveries
    for _ in range(bench.scale.rounds):
        with bench.outside("upstream") as upstream, bench.outside("hooks") as receiver:
            bench.fresh()
            came = _delivered(bench, upstream, receiver)
        report.add(
            "deliveries", "one worker, one receiver", "a second", count / (came[-1] - came[0])
        )


def _delivered(bench: Bench, upstream: Child, receiver: Child) -> list[float]:
    """When each callback came."""
    count, url = bench.scale.deliveries, f"{receiver.url}/hooks"
    bench.act(lambda wire: Seeds.over(wire).callbacks(count, url))
    with bench.worker(upstream):
        wait_for(lambda: len(figures(receiver)["came"]) >= count)
    return sorted(figures(receiver)["came"].values())


def recovery(bench: Bench, report: Report) -> None:
    """A worker is killed while jobs are open; another looks at all of them again."""
    count = min(200, bench.scale.open_jobs)
    with bench.outside("upstream") as upstream:
        bench.fresh()
        ends = [time.time() + 3600] * count
        bench.act(lambda wire: Seeds.over(wire).running(ends))
        with bench.worker(upstream) as victim, bench.worker(upstream):
            wait_for(lambda: len(figures(upstream)["polled"]) >= count)
            victim.kill()
            killed = time.time()
            wait_for(lambda: min(figures(upstream)["polled"].values()) > killed)
            gap = time.time() - killed
    goal = Target(most=LEASE + 3) if bench.scale.timed else None
    report.add("recovery", f"worker killed: {count} jobs all looked at again", "s", gap, goal)


def redis_death(bench: Bench, report: Report) -> None:
    """Redis is killed and comes back: when the service takes jobs again."""
    from tests.bench.accept import SUBMIT  # noqa: PLC0415 - the scenario needs one submit of it

    bench.fresh()
    with bench.service() as service:
        bench.redis.kill()
        bench.redis.start()
        began = time.monotonic()

        def accepts() -> bool:
            headers = {**bearer(), "content-type": "application/json"}
            body = SUBMIT.body
            url = service.url + SUBMIT.path
            answer = httpx.post(url, content=body, headers=headers, trust_env=False)
            return answer.status_code == 202

        wait_for(accepts)
        report.add("recovery", "Redis killed and back: first accept", "s", time.monotonic() - began)


def figures(child: Child) -> dict[str, Any]:
    """What an end outside tells."""
    return ask(child, "/figures")


def ask(child: Child, path: str) -> dict[str, Any]:
    """A GET."""
    answer: dict[str, Any] = httpx.get(child.url + path, trust_env=False).json()
    return answer


def wait_for(done: Callable[[], bool], within: float = PATIENCE) -> None:
    """Return once it is so. Raises `TimeoutError`."""
    until = time.monotonic() + within
    while not done():
        if time.monotonic() > until:
            raise TimeoutError("the bench waited in vain")
        time.sleep(LOOK_EVERY)
