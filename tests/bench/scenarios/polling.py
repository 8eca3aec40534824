"""A day of jobs, polled by the product's schedule and by fixed ones. A pure simulation."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from random import Random
from statistics import mean
from typing import Final

from core.backoff import ProportionalInterval
from core.jobs.run_times import MAX_RUNS, RunHistory
from tests.bench.harness import Bench
from tests.bench.results import BenchReport, PerformanceTarget, percentile
from worker.jobs.decisions.poll_schedule import first_poll_delay, next_poll_delay
from worker.jobs.policies import LifecyclePolicy

SCENARIO: Final = "polling"
DAY: Final = 86_400.0
JOBS_FULL: Final = 12_000
JOBS_SMOKE: Final = 400
FAILING: Final = 0.04
"""The share of jobs that fail in the first half of their run."""
BURST_SECONDS: Final = 600
"""In each twelfth such span RunComfy's queue is long."""
BURST_DELAY: Final = 25.0
SHORT_RUN: Final = timedelta(minutes=1)
MAX_POLLS_RATIO: Final = 0.4


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """A model, its frequency, and its run time: a lognormal by median (s) and sigma."""

    name: str
    share: float
    median: float
    sigma: float


MODELS: Final = (
    ModelProfile("image", 0.45, 9, 0.30),
    ModelProfile("edit", 0.20, 22, 0.30),
    ModelProfile("video of 5 s", 0.25, 75, 0.22),
    ModelProfile("video of 10 s", 0.10, 190, 0.25),
)


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One job: when RunComfy accepted it, and its duration from then."""

    accepted_at: float
    model: str
    run_time: timedelta
    failed: bool


@dataclass(frozen=True, slots=True)
class PollingResult:
    """The result of a schedule for one job."""

    run_time: timedelta
    polls: int
    lag: timedelta


def day(rng: Random, jobs: int, sigmas: float = 1.0) -> list[SimulatedRun]:
    """Jobs over a day. `sigmas` makes all run times wider or narrower."""
    made, at = [], 0.0
    for _ in range(jobs):
        at += rng.expovariate(jobs / DAY)
        model = rng.choices(MODELS, [model.share for model in MODELS])[0]
        queued = rng.lognormvariate(0, 0.8)
        if int(at) // BURST_SECONDS % 12 == 3:
            queued += rng.expovariate(1 / BURST_DELAY)
        run = model.median * math.exp(model.sigma * sigmas * rng.gauss(0, 1))
        failed = rng.random() < FAILING
        took = queued + (run * rng.uniform(0.02, 0.5) if failed else run)
        made.append(SimulatedRun(at, model.name, timedelta(seconds=took), failed))
    return made


@dataclass(slots=True)
class RunTimeHistory:
    """The run times that workers know at an instant."""

    runs: dict[str, deque[timedelta]] = field(default_factory=dict)
    known: dict[str, RunHistory] = field(default_factory=dict)
    going_on: list[tuple[float, str, timedelta]] = field(default_factory=list)

    def at(self, instant: float, model: str) -> RunHistory:
        """A model's history at the instant."""
        while self.going_on and self.going_on[0][0] <= instant:
            _, name, took = heappop(self.going_on)
            self.runs.setdefault(name, deque(maxlen=MAX_RUNS)).appendleft(took)
            self.known.pop(name, None)
        if model not in self.known:
            self.known[model] = RunHistory.from_newest_first(self.runs.get(model, ()))
        return self.known[model]

    def began(self, job: SimulatedRun) -> None:
        """Add a job that will end; only successes are recorded."""
        if not job.failed:
            took = job.run_time
            heappush(self.going_on, (job.accepted_at + took.total_seconds(), job.model, took))


def poll_until_end(
    jobs: Sequence[SimulatedRun], wait: Callable[[timedelta, RunHistory, int], timedelta]
) -> list[PollingResult]:
    """Poll every job until its end. `wait` gets the time elapsed, the history, the polls so far."""
    memory, seen = RunTimeHistory(), []
    for job in jobs:
        history = memory.at(job.accepted_at, job.model)
        elapsed, polls = timedelta(), 0
        while elapsed < job.run_time:
            elapsed += wait(elapsed, history, polls)
            polls += 1
        seen.append(PollingResult(job.run_time, polls, elapsed - job.run_time))
        memory.began(job)
    return seen


def adaptive_schedule(policy: LifecyclePolicy, rng: Random) -> Callable[..., timedelta]:
    """The product's schedule."""

    def wait(elapsed: timedelta, history: RunHistory, polls: int) -> timedelta:
        look = next_poll_delay(elapsed, history, policy, rng) if polls else None
        return look or first_poll_delay(history, policy, rng)

    return wait


def proportional_schedule(rng: Random) -> Callable[..., timedelta]:
    """The schedule that the product had before: a tenth of the time elapsed, from 2 s to 10 s."""
    cadence = ProportionalInterval(timedelta(seconds=2), timedelta(seconds=10), 0.1)
    return lambda elapsed, _, __: cadence.delay(elapsed, rng)


def fixed_schedule(seconds: float) -> Callable[..., timedelta]:
    """A fixed interval."""
    return lambda _, __, ___: timedelta(seconds=seconds)


def run(bench: Bench, report: BenchReport) -> None:
    """The product's schedule beside fixed ones and its earlier one, over the same days."""
    count = JOBS_FULL if bench.scale.timed else JOBS_SMOKE
    compared: dict[str, list[list[PollingResult]]] = {}
    for seed in range(bench.scale.rounds):
        jobs = day(Random(seed), count)
        for name, wait in {
            "learnt": adaptive_schedule(LifecyclePolicy(), Random(seed)),
            "fixed 2 s": fixed_schedule(2),
            "fixed 5 s": fixed_schedule(5),
            "a tenth of the time": proportional_schedule(Random(seed)),
        }.items():
            compared.setdefault(name, []).append(poll_until_end(jobs, wait))
    for name, days in compared.items():
        _add_to_report(report, name, days, compared["fixed 2 s"])
    for sigmas in (0.5, 0.75):
        jobs = day(Random(0), count, sigmas)
        seen, base = (
            poll_until_end(jobs, adaptive_schedule(LifecyclePolicy(), Random(0))),
            poll_until_end(jobs, fixed_schedule(2)),
        )
        name = f"learnt, sigmas x{sigmas:g}"
        report.add(SCENARIO, f"{name}: polls / fixed 2 s", "x", _polls(seen) / _polls(base))
        report.add(SCENARIO, f"{name}: lag / fixed 2 s", "x", _lag(seen) / _lag(base))


def _add_to_report(
    report: BenchReport, name: str, days: list[list[PollingResult]], base: list[list[PollingResult]]
) -> None:
    ours = name == "learnt"
    pairs = list(zip(days, base, strict=True))
    report.add(SCENARIO, f"{name}: polls a job", "polls", [_polls(day) for day in days])
    report.add(
        SCENARIO,
        f"{name}: polls / fixed 2 s",
        "x",
        [_polls(day) / _polls(other) for day, other in pairs],
        PerformanceTarget(maximum=MAX_POLLS_RATIO) if ours else None,
    )
    report.add(
        SCENARIO,
        f"{name}: mean lag / fixed 2 s",
        "x",
        [_lag(day) / _lag(other) for day, other in pairs],
        PerformanceTarget(maximum=1) if ours else None,
    )
    for young, most in ((True, 3), (False, 5)):
        lags = [_late(day, young=young) for day in days]
        which = "under" if young else "over"
        goal = PerformanceTarget(maximum=most) if ours else None
        report.add(SCENARIO, f"{name}: p95 lag of jobs {which} 1 min", "s", lags, goal)


def _polls(day: Sequence[PollingResult]) -> float:
    return mean(seen.polls for seen in day)


def _lag(day: Sequence[PollingResult]) -> float:
    return mean(seen.lag.total_seconds() for seen in day)


def _late(day: Sequence[PollingResult], *, young: bool) -> float:
    return percentile(
        [s.lag.total_seconds() for s in day if (s.run_time < SHORT_RUN) is young], 0.95
    )
