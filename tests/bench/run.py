"""`python -m tests.bench.run [--only accept,reads] [--smoke]`: measure, print the table, keep JSON.

Needs nothing but an installed environment. Judges nothing: a missed target is shown, not failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.private_redis import private_redis
from simulator.stack import ROOT
from tests.bench import accept, polling
from tests.bench.figures import Report
from tests.bench.harness import FULL, SMOKE, Bench, Scale, keep_off
from tests.bench.load import open_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESULTS: Final = ROOT / ".bench"
SCENARIOS: Final[Mapping[str, Callable[[Bench, Report], None]]] = {
    "accept": accept.run,
    "polling": polling.run,
}


def measure(names: Sequence[str], scale: Scale, folder: Path) -> Report:
    """Run these scenarios, one after another, on a Redis of their own."""
    loader = open_loader()
    report = Report(about(loader.name, scale))
    with private_redis(directory=folder / "redis") as redis:
        bench = Bench(scale, folder, redis, loader)
        keep_off(redis, loader)
        for name in names:
            began = time.monotonic()
            SCENARIOS[name](bench, report)
            report.about["seconds"][name] = round(time.monotonic() - began, 1)
    return report


def about(loader: str, scale: Scale) -> dict[str, object]:
    """What the figures were found on."""
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


def keep(report: Report, folder: Path) -> Path:
    """Leave the run as JSON."""
    folder.mkdir(exist_ok=True)
    file = folder / f"bench-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.write_text(report.document(), encoding="utf-8")
    return file


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="names of scenarios, with commas")
    parser.add_argument("--smoke", action="store_true", help="a little of everything, untimed")
    parser.add_argument("--keep", type=Path, help="keep logs in this folder")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(SCENARIOS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(names, SMOKE if given.smoke else FULL, folder)
    print(report.table())
    print(f"load by {report.about['load by']}; kept in {keep(report, RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
