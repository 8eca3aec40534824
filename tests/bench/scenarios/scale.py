"""Whole jobs over one, two and four services and workers, by what each part costs in CPU.

A machine with few cores cannot show how many jobs many of them do; it shows whether a job costs
more where more processes share one Redis. The table of `docs/sizing.md` follows from that.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from simulator.stack import ManagedProcess
from tests.bench.harness import Bench
from tests.bench.load import cpu_seconds
from tests.bench.results import BenchReport
from tests.bench.scenarios.jobs import MANY_SUBMITS, QUICK, read_metrics, wait_until
from tests.bench.scenarios.submit import SUBMIT

CONNECTIONS: Final = 4
"""To each service: the workers keep pace with what is accepted."""
END_WITHIN: Final = 180.0
_ALL_CORES: Final = (0, 1)


def run(bench: Bench, report: BenchReport) -> None:
    """Submit through n services while n workers bring the jobs to their end."""
    for members in bench.scale.members:
        with (
            bench.external_server("upstream") as upstream,
            bench.external_server("webhook_receiver") as receiver,
            ExitStack() as running,
        ):
            bench.reset(webhook=f"{receiver.url}/hooks")
            settings = QUICK | MANY_SUBMITS
            workers = [
                running.enter_context(bench.worker(upstream, settings)) for _ in range(members)
            ]
            services = [
                running.enter_context(bench.service(cores=_ALL_CORES)) for _ in range(members)
            ]
            _measure(bench, report, services, workers, receiver)


def _measure(
    bench: Bench,
    report: BenchReport,
    services: Sequence[ManagedProcess],
    workers: Sequence[ManagedProcess],
    receiver: ManagedProcess,
) -> None:
    redis = bench.redis.pid or 0
    parts = {
        "services": [child.pid or 0 for child in services],
        "workers": [child.pid or 0 for child in workers],
        "Redis": [redis],
    }
    before = {name: sum(map(cpu_seconds, pids)) for name, pids in parts.items()}
    jobs = _submit(bench, services)
    wait_until(lambda: len(read_metrics(receiver)["came"]) >= jobs, within=END_WITHIN)
    members = len(services)
    report.add("scale", f"{members} services and workers: jobs", "jobs", float(jobs))
    for name, pids in parts.items():
        spent = (sum(map(cpu_seconds, pids)) - before[name]) / max(jobs, 1)
        report.add(
            "scale", f"{members} services and workers: CPU of {name}", "ms a job", spent * 1e3
        )
        if name == "Redis" and spent:
            report.add("scale", f"{members}: jobs that saturate Redis", "jobs/s", 1 / spent)


def _submit(bench: Bench, services: Sequence[ManagedProcess]) -> int:
    """Return how many jobs all services accepted together."""
    with ThreadPoolExecutor(len(services)) as threads:
        loads = [
            threads.submit(bench.load, child, SUBMIT, CONNECTIONS, bench.scale.seconds)
            for child in services
        ]
        results = [load.result() for load in loads]
    return sum(result.requests - result.errors for result in results)
