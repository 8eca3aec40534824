"""`python -m tests.bench.peers`: accept submits beside other software, in turns; print ratios.

The gateway admits a submit with key, limits, budget and idempotency key, and stores it. Beside it:
LiteLLM's proxy, which passes the same call through to RunComfy (here a server that answers
immediately), and a service by hand that validates and enqueues. Each has one process on the same
core.
"""

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from simulator.private_redis import LOOPBACK, free_port, private_redis
from simulator.stack import ROOT, ManagedProcess
from tests.bench.harness import FULL, ONE_CORE, Bench, leave_first_core_to_server
from tests.bench.load import LoadRequest, LoadResult, cpu_seconds, memory_mb, open_loader
from tests.bench.results import BenchReport
from tests.bench.run import RESULTS, describe_environment, write_results
from tests.bench.scenarios.submit import SUBMIT, full_submit

LITELLM: Final = ROOT / ".bench" / "peers" / "bin" / "litellm"
"""Installed by `make bench-peers`, in an environment of its own."""
CONNECTIONS: Final = (1, 32, 128)
GATEWAY: Final = "gateway"
_PREFIX: Final = "/runcomfy"
_CONFIG: Final = """\
general_settings:
  pass_through_endpoints:
    - path: {prefix}
      target: {target}
      include_subpath: true
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running process and the submit that it is sent."""

    name: str
    process: ManagedProcess
    submit: LoadRequest


@contextmanager
def litellm(bench: Bench, command: Path) -> Iterator[Peer]:
    """Start LiteLLM's proxy in front of a RunComfy that answers immediately."""
    key, port = f"sk-{secrets.token_hex(16)}", free_port()
    environment = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    config = bench.folder / "litellm.yaml"
    arguments = ("--port", str(port), "--host", LOOPBACK, "--num_workers", "1")
    with bench.external_server("upstream") as upstream:
        config.write_text(_CONFIG.format(prefix=_PREFIX, target=upstream.url), encoding="utf-8")
        started = (str(command), "--config", str(config), *arguments)
        ready = "/health/liveliness"
        with bench.running("litellm", started, environment, port, ONE_CORE, ready) as process:
            headers = {"authorization": f"Bearer {key}"}
            passed = replace(SUBMIT, path=f"{_PREFIX}{SUBMIT.path}", headers=headers)
            yield Peer("LiteLLM pass-through", process, passed)


def compare(bench: Bench, report: BenchReport, peers: Sequence[Peer], connections: int) -> None:
    """Load each in turn, some rounds; report rates, latencies, CPU, and the gateway's ratios."""
    found: dict[str, list[LoadResult]] = {peer.name: [] for peer in peers}
    for peer in peers:
        bench.load(peer.process, peer.submit, connections, 2)
    for _ in range(bench.scale.rounds):
        for peer in peers:
            before = cpu_seconds(peer.process.pid or 0)
            loaded = bench.load(peer.process, peer.submit, connections, bench.scale.seconds)
            spent = cpu_seconds(peer.process.pid or 0) - before
            found[peer.name].append(loaded)
            each = spent / max(loaded.requests, 1) * 1e6
            report.add("peers", f"{peer.name} c={connections} CPU", "us each", each)
    for name, rounds in found.items():
        at = f"{name} c={connections}"
        report.add("peers", at, "requests/s", [one.per_second for one in rounds])
        report.add("peers", f"{at} p50", "ms", [one.p50_ms for one in rounds])
        report.add("peers", f"{at} p99", "ms", [one.p99_ms for one in rounds])
        report.add("peers", f"{at} errors", "answers", float(sum(one.errors for one in rounds)))
        if name != GATEWAY:
            pairs = zip(found[GATEWAY], rounds, strict=True)
            # One that answers nothing within a round is no measure of the gateway.
            ratios = [own.per_second / other.per_second for own, other in pairs if other.requests]
            if ratios:
                report.add("peers", f"gateway / {at}", "x", ratios)


def measure(bench: Bench, report: BenchReport, command: Path) -> None:
    """Start all, and compare them at each number of connections."""
    bench.reset()
    with ExitStack() as running:
        gateway = running.enter_context(bench.service())
        by_hand = running.enter_context(bench.baseline("fastapi_arq"))
        peers = [
            Peer(GATEWAY, gateway, full_submit(gateway, report)),
            Peer("by hand", by_hand, SUBMIT),
            running.enter_context(litellm(bench, command)),
        ]
        for connections in CONNECTIONS:
            compare(bench, report, peers, connections)
        for peer in peers:
            report.add("peers", f"{peer.name} memory", "MB", memory_mb(peer.process.pid or 0))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=FULL.rounds)
    parser.add_argument("--litellm", type=Path, default=LITELLM, help="its command")
    given = parser.parse_args()
    if not given.litellm.exists():
        print(f"{given.litellm} is not installed; `make bench-peers` does it", file=sys.stderr)
        return 2
    loader = open_loader()
    scale = replace(FULL, rounds=given.rounds)
    report = BenchReport(describe_environment(loader.name, scale))
    with tempfile.TemporaryDirectory() as scratch, private_redis() as redis:
        bench = Bench(scale, Path(scratch), redis, loader)
        leave_first_core_to_server(redis)
        measure(bench, report, given.litellm)
    print(report.table())
    print(f"{os.cpu_count()} cores; kept in {write_results(report, RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
