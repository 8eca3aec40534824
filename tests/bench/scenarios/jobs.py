"""Jobs through the whole pipeline, many open jobs, deliveries, and crashes."""

import time
from collections.abc import Callable
from datetime import timedelta
from math import log
from random import Random
from typing import Any, Final

import httpx
from redis import Redis

from core.jobs.run_times import MAX_RUNS
from core.store import keys
from simulator.stack import ManagedProcess
from tests.bench.harness import Bench, bearer
from tests.bench.load import cpu_seconds, memory_mb
from tests.bench.results import BenchReport, PerformanceTarget, percentile
from tests.bench.seeds import MAX_AGE_SECONDS, StoreSeeder

END_TIMEOUT: Final = 60.0
POLL_INTERVAL: Final = 0.05
MEDIAN_RUN: Final = 300
SEEDED_A_SECOND: Final = 1500
LEASE: Final = 15.0
RECOVERY_TIMEOUT: Final = PerformanceTarget(maximum=25)
CHEAP: Final = PerformanceTarget(maximum=450)
MANY: Final = PerformanceTarget(minimum=2000)
FASTEST: Final = {"GATEWAY_POLL__MIN_INTERVAL": "0.2", "GATEWAY_POLL__MAX_INTERVAL": "0.2"}
QUICK: Final = {"GATEWAY_POLL__INITIAL_DELAY": "0.1", "GATEWAY_POLL__MIN_INTERVAL": "0.1"}
MANY_SUBMITS: Final = {"GATEWAY_SUBMIT_MAX_CONCURRENCY": "50"}
POLL_CONCURRENCY: Final = {"GATEWAY_POLL__MAX_CONCURRENCY": "150"}


def pipeline(bench: Bench, report: BenchReport) -> None:
    """Jobs that RunComfy ends immediately: submit, poll, result, delivery; one worker's core."""
    for _ in range(1 if not bench.scale.timed else bench.scale.rounds):
        with (
            bench.external_server("upstream") as upstream,
            bench.external_server("webhook_receiver") as receiver,
        ):
            bench.reset(webhook=f"{receiver.url}/hooks")
            bench.with_store(lambda wire: StoreSeeder.open(wire).admit(bench.scale.jobs))
            bench.reset_commands()
            with bench.worker(upstream, QUICK | MANY_SUBMITS) as worker:
                wait_until(lambda: len(read_metrics(receiver)["came"]) >= bench.scale.jobs)
                spent = cpu_seconds(worker.pid or 0)
            _report_pipeline(bench, report, upstream, receiver, spent)


def _report_pipeline(
    bench: Bench,
    report: BenchReport,
    upstream: ManagedProcess,
    receiver: ManagedProcess,
    spent: float,
) -> None:
    asked, came = read_metrics(upstream), sorted(read_metrics(receiver)["came"].values())
    took = came[-1] - min(asked["submitted"])
    jobs = bench.scale.jobs
    report.add("pipeline", "jobs a second, one worker", "jobs/s", jobs / took)
    report.add("pipeline", "CPU of the worker, start-up included", "ms a job", spent / jobs * 1000)
    calls = sum(asked["calls"].get(call, 0) for call in ("submit", "status", "result"))
    report.add("pipeline", "calls to RunComfy", "a job", calls / jobs)


def callback_lag(bench: Bench, report: BenchReport) -> None:
    """Time from the poll that found an end to the delivery's arrival, on an idle machine."""
    jobs = min(100, bench.scale.jobs)
    with (
        bench.external_server("upstream", "--run-seconds", "0.3") as upstream,
        bench.external_server("webhook_receiver") as receiver,
    ):
        bench.reset(webhook=f"{receiver.url}/hooks")
        with bench.worker(upstream, QUICK):
            for _ in range(jobs // 5):
                bench.with_store(lambda wire: StoreSeeder.open(wire).admit(5))
                time.sleep(0.1 if bench.scale.timed else 0)
            wait_until(lambda: len(read_metrics(receiver)["upstream"]) >= jobs)
        seen, came = read_metrics(upstream)["seen"], read_metrics(receiver)["upstream"]
    lags = [came[number] - seen[number] for number in came]
    report.add(
        "pipeline",
        "end seen to callback, p50",
        "ms",
        percentile(lags, 0.5) * 1000,
        RECOVERY_TIMEOUT,
    )
    report.add("pipeline", "end seen to callback, p95", "ms", percentile(lags, 0.95) * 1000)


def open_jobs(bench: Bench, report: BenchReport) -> None:
    """Many open jobs on one worker: their cost, and the worker's lag."""
    count, watched = bench.scale.open_jobs, bench.scale.watch_seconds
    with bench.external_server("upstream") as upstream:
        _seed_open(bench, count, watched)
        with bench.worker(upstream, POLL_CONCURRENCY) as worker:
            time.sleep(watched / 4)
            get_json(upstream, "/forget")
            before, began = cpu_seconds(worker.pid or 0), time.monotonic()
            behind = _watch(bench, watched)
            span = time.monotonic() - began
            spent, memory = cpu_seconds(worker.pid or 0) - before, memory_mb(worker.pid or 0)
            seen = read_metrics(upstream)
    polls = max(seen["calls"].get("status", 0), 1)
    name = f"{count:,} open"
    report.add("open", f"{name}: memory", "MB", memory, PerformanceTarget(maximum=250))
    report.add("open", f"{name}: CPU", "cores", spent / span)
    report.add("open", f"{name}: polls", "polls/s", polls / span)
    report.add("open", f"{name}: CPU of a poll", "us", spent / polls * 1e6, CHEAP)
    report.add("open", f"{name}: longest between two looks at a job", "s", seen["longest_gap"])
    report.add(
        "open",
        f"{name}: behind plan, p95",
        "s",
        percentile(behind, 0.95),
        PerformanceTarget(maximum=1),
    )
    if seen["lags"]:
        report.add(
            "open", f"{name}: detection lag, mean", "s", sum(seen["lags"]) / len(seen["lags"])
        )
        report.add("open", f"{name}: detection lag, p95", "s", percentile(seen["lags"], 0.95))


def fastest_polls(bench: Bench, report: BenchReport) -> None:
    """The polls that one core can make: every job is always due."""
    watched = bench.scale.watch_seconds / 2
    with bench.external_server("upstream") as upstream:
        _seed_open(bench, bench.scale.open_jobs // 5, 3600)
        with bench.worker(upstream, FASTEST | POLL_CONCURRENCY) as worker:
            time.sleep(watched / 4)
            for _ in range(bench.scale.rounds):
                get_json(upstream, "/forget")
                before, began = cpu_seconds(worker.pid or 0), time.monotonic()
                time.sleep(watched / bench.scale.rounds)
                polls = max(read_metrics(upstream)["calls"].get("status", 0), 1)
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
    """Jobs of a model with known run times: some end during the measurement, most do not."""
    bench.reset()
    rng = Random(1)
    runs = [timedelta(seconds=rng.lognormvariate(log(MEDIAN_RUN), 0.25)) for _ in range(MAX_RUNS)]
    bench.with_store(lambda wire: StoreSeeder.open(wire).history(runs))
    begun = time.time() + count / SEEDED_A_SECOND
    left = [
        max(rng.lognormvariate(log(MEDIAN_RUN), 0.25) - n % MAX_AGE_SECONDS, 0)
        for n in range(count)
    ]
    ends = [begun + (3600 if span == 0 else span) for span in left]
    if within > MAX_AGE_SECONDS:
        ends = [begun + within] * count
    bench.with_store(lambda wire: StoreSeeder.open(wire).running(ends))


def _watch(bench: Bench, seconds: float) -> list[float]:
    """Sample how long the oldest due job is overdue."""
    until, behind = time.monotonic() + seconds, []
    with Redis.from_url(bench.redis.url) as client:
        while time.monotonic() < until:
            rows = client.zrange(keys.DUE, 0, 0, withscores=True)
            behind.append(max(0.0, time.time() - rows[0][1] / 1000) if rows else 0.0)
            time.sleep(POLL_INTERVAL)
    return behind


def deliveries(bench: Bench, report: BenchReport) -> None:
    """Deliveries to one live receiver."""
    count = bench.scale.deliveries
    for _ in range(bench.scale.rounds):
        with (
            bench.external_server("upstream") as upstream,
            bench.external_server("webhook_receiver") as receiver,
        ):
            bench.reset()
            came = _delivered(bench, upstream, receiver)
        report.add(
            "deliveries", "one worker, one receiver", "a second", count / (came[-1] - came[0])
        )


def _delivered(bench: Bench, upstream: ManagedProcess, receiver: ManagedProcess) -> list[float]:
    """The arrival of each delivery."""
    count, url = bench.scale.deliveries, f"{receiver.url}/hooks"
    bench.with_store(lambda wire: StoreSeeder.open(wire).callbacks(count, url))
    with bench.worker(upstream):
        wait_until(lambda: len(read_metrics(receiver)["came"]) >= count)
    return sorted(read_metrics(receiver)["came"].values())


def recovery(bench: Bench, report: BenchReport) -> None:
    """A worker is killed while jobs are open; another polls all of them again."""
    count = min(200, bench.scale.open_jobs)
    with bench.external_server("upstream") as upstream:
        bench.reset()
        ends = [time.time() + 3600] * count
        bench.with_store(lambda wire: StoreSeeder.open(wire).running(ends))
        with bench.worker(upstream) as victim, bench.worker(upstream):
            wait_until(lambda: len(read_metrics(upstream)["polled"]) >= count)
            victim.kill()
            killed = time.time()
            wait_until(lambda: min(read_metrics(upstream)["polled"].values()) > killed)
            gap = time.time() - killed
    goal = PerformanceTarget(maximum=LEASE + 3) if bench.scale.timed else None
    report.add("recovery", f"worker killed: {count} jobs all looked at again", "s", gap, goal)


def redis_death(bench: Bench, report: BenchReport) -> None:
    """Redis is killed and restarted: time until the service admits jobs again."""
    from tests.bench.scenarios.submit import SUBMIT  # noqa: PLC0415 - the scenario needs one submit of it

    bench.reset()
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

        wait_until(accepts)
        report.add("recovery", "Redis killed and back: first accept", "s", time.monotonic() - began)


def read_metrics(child: ManagedProcess) -> dict[str, Any]:
    """The figures of the simulated RunComfy or receiver."""
    return get_json(child, "/figures")


def get_json(child: ManagedProcess, path: str) -> dict[str, Any]:
    """A GET."""
    answer: dict[str, Any] = httpx.get(child.url + path, trust_env=False).json()
    return answer


def wait_until(done: Callable[[], bool], within: float = END_TIMEOUT) -> None:
    """Wait until `done` returns true. Raises `TimeoutError`."""
    until = time.monotonic() + within
    while not done():
        if time.monotonic() > until:
            raise TimeoutError("the bench waited too long")
        time.sleep(POLL_INTERVAL)
