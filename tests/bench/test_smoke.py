"""A short run of every scenario: it works, and counts do not depend on the machine's speed."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from simulator.private_redis import private_redis
from tests.bench.charts import CHARTS, draw, figures_of
from tests.bench.harness import SMOKE, Bench
from tests.bench.load import LoadRequest, OwnLoader, Wrk, content_length, open_loader, request_bytes
from tests.bench.results import BenchReport, Measurement, PerformanceTarget, percentile
from tests.bench.run import SCENARIOS, measure, write_results
from tests.bench.scenarios.submit import SUBMIT

CALLS_A_JOB: Final = 3
"""One submit, one poll of a job that has ended, one result."""
SLOW: Final = frozenset({"recovery", "start", "cache", "promises"})
"""Scenarios that wait for a lease or start many processes run only in the whole bench."""


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - SLOW))
def test_a_scenario_runs(name: str, tmp_path: Path) -> None:
    report = measure([name], SMOKE, tmp_path)
    assert report.measurements or report.notes
    found = {figure.name: figure.median for figure in report.measurements}
    assert all(value == 0 for what, value in found.items() if what.endswith("errors"))
    assert found.get("calls to RunComfy", CALLS_A_JOB) == CALLS_A_JOB
    assert len(report.table().splitlines()) > 2
    assert write_results(report, tmp_path).read_text().startswith("{")


def test_figures_are_compared_with_their_targets() -> None:
    report = BenchReport({})
    report.add("a", "fast", "x", [1.0, 3.0], PerformanceTarget(minimum=2))
    report.add("a", "fast", "x", 5.0)
    report.add("a", "slow", "ms", 3.0, PerformanceTarget(maximum=2))
    fast, slow = report.measurements
    assert (fast.median, fast.is_met, slow.is_met) == (3.0, True, False)
    assert "MISSED" in report.table()
    assert Measurement("a", "b", "c", (1.0,)).is_met is None


def test_shares_are_by_nearest_rank() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert (percentile(hundred, 0.5), percentile(hundred, 0.95), percentile([7.0], 0.99)) == (
        50,
        95,
        7,
    )


def test_every_request_gets_a_new_number() -> None:
    ask = LoadRequest("/x", "POST", {"idempotency-key": "k-@n@"}, '{"p":"@n@"}')
    one, other = request_bytes(ask, 1), request_bytes(ask, 22)
    assert one.startswith(b"POST /x HTTP/1.1\r\n")
    assert (b"k-1\r\n" in one, b'"p":"22"' in other) == (True, True)
    head, _, body = other.partition(b"\r\n\r\n")
    assert content_length(head + b"\r\n\r\n") == len(body)


@pytest.mark.skipif(  # a bare Debian lacks it; `.ci/run` installs it
    shutil.which("wrk") is None, reason="wrk is not installed"
)
def test_wrk_names_the_host_without_which_a_request_is_refused(tmp_path: Path) -> None:
    with private_redis(directory=tmp_path / "redis") as redis:
        bench = Bench(SMOKE, tmp_path, redis, Wrk(str(shutil.which("wrk"))))
        bench.reset()
        with bench.service() as service:
            loaded = bench.load(service, SUBMIT, 2, 1)
    assert (loaded.requests > 0, loaded.errors) == (True, 0)


def test_the_best_loader_is_taken() -> None:
    assert isinstance(open_loader(), Wrk | OwnLoader)


def test_a_chart_has_the_figures_of_its_kind() -> None:
    found = {"gateway c=32": 2000.0, "gateway / by hand c=32": 1.5, "by hand c=32 p50": 3.0}
    bars = figures_of(CHARTS[0], found)
    assert bars == {"gateway": 2000.0}
    assert draw(CHARTS[0], bars).axes[0].get_title(loc="left") == CHARTS[0].title
