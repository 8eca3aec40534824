"""Submits with every feature in use, beside the baselines."""

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import httpx

from simulator.stack import ManagedProcess
from tests.bench.harness import MODEL, ONE_CORE, Bench, bearer
from tests.bench.load import NUMBER, LoadRequest, LoadResult, cpu_seconds, memory_mb
from tests.bench.results import BenchReport, PerformanceTarget

SCENARIO: Final = "accept"
BASELINES: Final = ("fastapi_only", "single_redis_call", "fastapi_arq", "sequential_redis_calls")
MIN_RATIOS: Final = {"fastapi_only": 0.75, "fastapi_arq": 2.5, "sequential_redis_calls": 4.0}
"""Throughput of the gateway relative to each baseline."""
MAX_P99_RATIO: Final = 2.0
MAX_SCRIPT_US: Final = 120.0
TWO_PROCESSES: Final = 1.4
CONNECTIONS: Final = 32
"""The number of connections at which ratios are compared with targets."""
_WARM_SECONDS: Final = 1
_DEFERRED: Final = (400, 404, 422)

_PROMPT: Final = (
    "Bring this still photograph to life with cinematic motion. The woman in a flowing white linen "
    "sundress stands on a sunlit cliff at golden hour: her hair drifts gently in the ocean breeze "
    "and she breaks into a soft smile as warm sunlight catches her freckles. Behind her, foamy "
    "turquoise waves roll and crash against the rocks below, seabirds glide past, and tall grass "
    "sways. The camera slowly dollies in from a wide shot to a tender medium close-up."
)
INPUT: Final[dict[str, Any]] = {
    "prompt": f"{NUMBER} {_PROMPT}",
    "start_image_url": "https://media.example.com/tools/7349/input.png",
    "multi_prompt": [{"prompt": f"Part {part} of the scene.", "duration": 5} for part in (1, 2)],
    "duration": 10,
    "generate_audio": True,
    "elements": [
        {
            "frontal_image_url": "https://media.example.com/a.png",
            "reference_image_urls": ["https://media.example.com/b.png"],
        }
    ],
    "shot_type": "customize",
    "negative_prompt": "blur, low quality",
    "cfg_scale": 0.45,
}
SUBMIT: Final = LoadRequest(f"/v1/models/{MODEL}", "POST", bearer(), json.dumps(INPUT))
IDEMPOTENCY_HEADER: Final = {"idempotency-key": f"key-{NUMBER}"}


def run(bench: Bench, report: BenchReport) -> None:
    """The gateway and every baseline in turn; then one process against two."""
    bench.reset()
    with ExitStack() as running:
        gateway = running.enter_context(bench.service())
        floors = {name: running.enter_context(bench.baseline(name)) for name in BASELINES}
        ask = full_submit(gateway, report)
        processes = {"gateway": gateway, **floors}
        for connections in bench.scale.connections:
            compare_to_baselines(bench, report, processes, ask, connections)
    if bench.scale.timed:
        two_processes(bench, report, ask)


def full_submit(gateway: ManagedProcess, report: BenchReport) -> LoadRequest:
    """A submit that uses every feature, checked once."""
    keyed = replace(SUBMIT, headers={**SUBMIT.headers, **IDEMPOTENCY_HEADER})
    answer = httpx.post(
        gateway.url + keyed.path,
        content=keyed.body.replace(NUMBER, "0"),
        headers={**keyed.headers, "idempotency-key": "key-0", "content-type": "application/json"},
        trust_env=False,
    )
    if answer.status_code in _DEFERRED:
        report.note(f"accept: without Idempotency-Key, which was answered {answer.status_code}")
        return SUBMIT
    answer.raise_for_status()
    return keyed


def compare_to_baselines(
    bench: Bench,
    report: BenchReport,
    processes: dict[str, ManagedProcess],
    ask: LoadRequest,
    connections: int,
) -> None:
    """Measure in turn: rates, latencies, CPU, and the gateway's ratio to each baseline by round."""
    rounds: dict[str, list[LoadResult]] = {name: [] for name in processes}
    cpu: dict[str, list[float]] = {name: [] for name in processes}
    for child in processes.values():
        bench.load(child, ask, connections, _WARM_SECONDS if bench.scale.timed else 0.1)
    bench.reset_commands()
    for _ in range(bench.scale.rounds):
        for name, child in processes.items():
            before = cpu_seconds(child.pid or 0)
            loaded = bench.load(child, ask, connections, bench.scale.seconds)
            spent = cpu_seconds(child.pid or 0) - before
            rounds[name].append(loaded)
            cpu[name].append(spent / max(loaded.requests, 1) * 1e6)
    at = f"c={connections}"
    for name, found in rounds.items():
        report.add(SCENARIO, f"{name} {at}", "requests/s", [one.per_second for one in found])
        report.add(SCENARIO, f"{name} {at} p50", "ms", [one.p50_ms for one in found])
        report.add(SCENARIO, f"{name} {at} p99", "ms", [one.p99_ms for one in found])
        report.add(SCENARIO, f"{name} {at} CPU", "us each", cpu[name])
        errors = sum(one.errors for one in found)
        report.add(
            SCENARIO, f"{name} {at} errors", "answers", float(errors), PerformanceTarget(maximum=0)
        )
    _ratios(report, rounds, connections)
    calls, spent = bench.commands()["evalsha"]
    report.add(
        SCENARIO,
        f"script in Redis {at}",
        "us",
        spent / calls,
        PerformanceTarget(maximum=MAX_SCRIPT_US),
    )


def _ratios(report: BenchReport, rounds: dict[str, list[LoadResult]], connections: int) -> None:
    own = rounds["gateway"]
    for name, found in rounds.items():
        if name == "gateway":
            continue
        ratios = [a.per_second / b.per_second for a, b in zip(own, found, strict=True)]
        least = MIN_RATIOS.get(name) if connections == CONNECTIONS else None
        target = None if least is None else PerformanceTarget(minimum=least)
        report.add(SCENARIO, f"gateway / {name} c={connections}", "x", ratios, target)
    if connections == CONNECTIONS:
        slower = [a.p99_ms / b.p99_ms for a, b in zip(own, rounds["fastapi_only"], strict=True)]
        goal = PerformanceTarget(maximum=MAX_P99_RATIO)
        report.add(SCENARIO, f"p99 gateway / plain c={CONNECTIONS}", "x", slower, goal)


def two_processes(bench: Bench, report: BenchReport, ask: LoadRequest) -> None:
    """One process against two, while Redis and the load share the cores with them."""
    bench.reset()
    every = tuple(range(len(ONE_CORE) + 1))
    with bench.service(1, every) as one, bench.service(2, every) as two:
        report.add("start", "gateway serve, two processes, idle", "MB", memory_mb(two.pid or 0))
        ratios = []
        for child in (one, two):
            bench.load(child, ask, CONNECTIONS, _WARM_SECONDS)
        for _ in range(bench.scale.rounds):
            alone = bench.load(one, ask, CONNECTIONS, bench.scale.seconds)
            both = bench.load(two, ask, CONNECTIONS, bench.scale.seconds)
            ratios.append(both.per_second / alone.per_second)
    goal = PerformanceTarget(minimum=TWO_PROCESSES)
    report.add(SCENARIO, f"two processes / one c={CONNECTIONS}", "x", ratios, goal)
