"""Accepting a job, with everything on, beside what one would write instead."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.bench.figures import Target
from tests.bench.harness import MODEL, ONE_CORE, bearer
from tests.bench.load import NUMBER, Ask, cpu_seconds, memory_mb

if TYPE_CHECKING:
    from simulator.stack import Child
    from tests.bench.figures import Report
    from tests.bench.harness import Bench
    from tests.bench.load import Loaded

SCENARIO: Final = "accept"
FLOORS: Final = ("plain", "one_call", "by_hand", "sequential")
LEAST: Final = {"plain": 0.75, "by_hand": 2.5, "sequential": 4.0}
"""Throughput of the gateway over each floor's."""
MOST_P99: Final = 2.0
MOST_SCRIPT_US: Final = 120.0
TWO_PROCESSES: Final = 1.4
BUSY: Final = 32
"""Connections at which ratios are held against targets."""
_WARM_SECONDS: Final = 1
_LATER: Final = (400, 404, 422)

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
SUBMIT: Final = Ask(f"/v1/models/{MODEL}", "POST", bearer(), json.dumps(INPUT))
ONCE: Final = {"idempotency-key": f"key-{NUMBER}"}


def run(bench: Bench, report: Report) -> None:
    """The gateway and every floor, in turns; then one process against two."""
    bench.fresh()
    with ExitStack() as running:
        gateway = running.enter_context(bench.service())
        floors = {name: running.enter_context(bench.floor(name)) for name in FLOORS}
        ask = fullest(gateway, report)
        processes = {"gateway": gateway, **floors}
        for connections in bench.scale.connections:
            compare(bench, report, processes, ask, connections)
    if bench.scale.timed:
        two_processes(bench, report, ask)


def fullest(gateway: Child, report: Report) -> Ask:
    """A submit with everything that this gateway knows, tried out."""
    keyed = replace(SUBMIT, headers={**SUBMIT.headers, **ONCE})
    answer = httpx.post(
        gateway.url + keyed.path,
        content=keyed.body.replace(NUMBER, "0"),
        headers={**keyed.headers, "idempotency-key": "key-0", "content-type": "application/json"},
        trust_env=False,
    )
    if answer.status_code in _LATER:
        report.note(f"accept: without Idempotency-Key, which was answered {answer.status_code}")
        return SUBMIT
    answer.raise_for_status()
    return keyed


def compare(
    bench: Bench, report: Report, processes: dict[str, Child], ask: Ask, connections: int
) -> None:
    """A B C A B C: rates, latencies, CPU, and the gateway's ratio to each floor by round."""
    rounds: dict[str, list[Loaded]] = {name: [] for name in processes}
    cpu: dict[str, list[float]] = {name: [] for name in processes}
    for child in processes.values():
        bench.load(child, ask, connections, _WARM_SECONDS if bench.scale.timed else 0.1)
    bench.forget_commands()
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
        report.add(SCENARIO, f"{name} {at} errors", "answers", float(errors), Target(most=0))
    _ratios(report, rounds, connections)
    calls, spent = bench.commands()["evalsha"]
    report.add(SCENARIO, f"script in Redis {at}", "us", spent / calls, Target(most=MOST_SCRIPT_US))


def _ratios(report: Report, rounds: dict[str, list[Loaded]], connections: int) -> None:
    own = rounds["gateway"]
    for name, found in rounds.items():
        if name == "gateway":
            continue
        ratios = [a.per_second / b.per_second for a, b in zip(own, found, strict=True)]
        least = LEAST.get(name) if connections == BUSY else None
        target = None if least is None else Target(least=least)
        report.add(SCENARIO, f"gateway / {name} c={connections}", "x", ratios, target)
    if connections == BUSY:
        slower = [a.p99_ms / b.p99_ms for a, b in zip(own, rounds["plain"], strict=True)]
        goal = Target(most=MOST_P99)
        report.add(SCENARIO, f"p99 gateway / plain c={BUSY}", "x", slower, goal)


def two_processes(bench: Bench, report: Report, ask: Ask) -> None:
    """One process against two, while Redis and the load share the cores with them."""
    bench.fresh()
    every = tuple(range(len(ONE_CORE) + 1))
    with bench.service(1, every) as one, bench.service(2, every) as two:
        report.add("start", "gateway serve, two processes, idle", "MB", memory_mb(two.pid or 0))
        ratios = []
        for child in (one, two):
            bench.load(child, ask, BUSY, _WARM_SECONDS)
        for _ in range(bench.scale.rounds):
            alone = bench.load(one, ask, BUSY, bench.scale.seconds)
            both = bench.load(two, ask, BUSY, bench.scale.seconds)
            ratios.append(both.per_second / alone.per_second)
    goal = Target(least=TWO_PROCESSES)
    report.add(SCENARIO, f"two processes / one c={BUSY}", "x", ratios, goal)
