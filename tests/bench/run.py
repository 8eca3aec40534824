"""`python -m tests.bench.run [--only accept,reads] [--rounds N]`: measure, print, keep JSON.

Needs only an installed environment. A missed target is shown; it is no failure.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from simulator.private_redis import private_redis
from simulator.stack import ROOT
from tests.bench.harness import FULL, SMOKE, Bench, Scale, leave_first_core_to_server
from tests.bench.load import OwnLoader, open_loader
from tests.bench.results import BenchReport
from tests.bench.scenarios import books, jobs, polling, promises, scale, service, submit

RESULTS: Final = ROOT / ".bench"
SCENARIOS: Final[Mapping[str, Callable[[Bench, BenchReport], None]]] = {
    "accept": submit.run,
    "reads": service.reads,
    "cache": service.cache,
    "pipeline": jobs.pipeline,
    "callback": jobs.callback_lag,
    "open": jobs.open_jobs,
    "polls": jobs.fastest_polls,
    "polling": polling.run,
    "deliveries": jobs.deliveries,
    "promises": promises.run,
    "recovery": jobs.recovery,
    "redis": jobs.redis_death,
    "backlog": service.backlog,
    "scale": scale.run,
    "books": books.run,
    "start": service.start,
}


def measure(names: Sequence[str], scale: Scale, folder: Path) -> BenchReport:
    """Run these scenarios, one after another, on a Redis of their own."""
    # wrk counts whole seconds.
    loader = open_loader() if scale.timed else OwnLoader()
    report = BenchReport(describe_environment(loader.name, scale))
    with private_redis(directory=folder / "redis") as redis:
        bench = Bench(scale, folder, redis, loader)
        if scale.timed:
            leave_first_core_to_server(redis)
        for name in names:
            began = time.monotonic()
            SCENARIOS[name](bench, report)
            report.environment["seconds"][name] = round(time.monotonic() - began, 1)
    return report


def describe_environment(loader: str, scale: Scale) -> dict[str, object]:
    """The machine and the versions that were measured."""
    return {
        "at": datetime.now(UTC),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load average": os.getloadavg(),
        "load by": loader,
        "rounds": scale.rounds,
        "seconds": {},
    }


def write_results(report: BenchReport, folder: Path) -> Path:
    """Write the run as JSON."""
    folder.mkdir(exist_ok=True)
    file = folder / f"bench-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.write_text(report.document(), encoding="utf-8")
    return file


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names of scenarios, with commas")
    parser.add_argument("--smoke", action="store_true", help="a little of everything, untimed")
    parser.add_argument(
        "--rounds", type=int, default=FULL.rounds, help="how often each is measured"
    )
    parser.add_argument("--keep", type=Path, help="keep logs in this folder")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(SCENARIOS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(
            names, SMOKE if given.smoke else replace(FULL, rounds=given.rounds), folder
        )
    print(report.table())
    print(f"load by {report.environment['load by']}; kept in {write_results(report, RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
