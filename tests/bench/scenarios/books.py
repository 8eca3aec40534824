"""A year of jobs through the real books, compared with an own account to the micro-dollar.

`python -m tests.bench.scenarios.books [jobs]` books a million by the scripts' functions of usage;
with `--admit` each job is admitted and settled as services and workers do, which takes three times
as long. The reports are those of the commands, each in a process of its own; their time includes
its start.
"""

import argparse
import asyncio
import csv
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from random import Random
from statistics import mean
from typing import Final

from core.billing.reconciliation import DifferenceKind
from core.billing.usage_history import NONE
from core.store import keys
from core.store.client import RedisClient
from core.webhooks.url_policy import TargetPolicy
from service.operator_context import AdminContext
from service.tenants.bill import parse_bill, reconcile_bill
from simulator.private_redis import private_redis
from simulator.stack import gateway_command, without_settings
from tests.bench.books_plan import TENANTS, Ending, PlannedJob, plan_year
from tests.bench.books_rows import RowBooks
from tests.bench.books_tally import parse_report, parse_statement, statement_sums, without_zeros
from tests.bench.books_year import BILLED_MONTH, Books
from tests.bench.harness import REDIS_TIMEOUT, Bench
from tests.bench.redis_usage import PACKED
from tests.bench.results import BenchReport
from tests.support.ids import SeededIds
from tests.support.redis import redis_client

JOBS: Final = 1_000_000
SHOWN_DIFFERENCES: Final = 10
PERIOD: Final = ("--from", "2027-12-30", "--to", "2029-01-31")
RECONCILED_AT: Final = datetime(2028, 12, 31, tzinfo=UTC)
BILLED_DAYS: Final = (date(2028, 11, 1), date(2028, 11, 30))
ONE_TENANT: Final = "rome"
KIB_PER_MIB: Final = 1024
COMMAND_TIMEOUT: Final = timedelta(minutes=10)
_LAUNCHER: Final = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as peak:
    peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""A process between: the peak of a child that this one starts would be its own, of all its jobs."""


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """Which reports are run."""

    groups: tuple[str, ...]
    tenants: tuple[str | None, ...]
    """None: all of them together."""
    months: tuple[str, ...]
    """Of statements."""


EVERY_REPORT: Final = ReportPlan(
    ("day", "month", "model", "key", "reference", "label"),
    (None, ONE_TENANT),
    ("2028-02", "2028-03", "2028-10", "2028-12"),
)
"""With the leap day, both changes of the clock in Rome, and the end of the year."""
FEW_REPORTS: Final = ReportPlan(("reference",), (None,), ("2028-03",))


@dataclass(slots=True)
class Comparison:
    """The measurements of a run, and where the product's sums are not those of the own account."""

    url: str
    folder: Path
    report: BenchReport
    books: Books
    differences: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a difference, if there is one."""
        if found != expected:
            self.differences.append(f"{what}: {found} in place of {expected}")

    def run_command(self, what: str, *arguments: str) -> str:
        """Run a `gateway` command, add its time and memory to the report, and return its output."""
        environment = without_settings(os.environ) | {"GATEWAY_REDIS_URL": self.url}
        peak = self.folder / "peak"
        command = (sys.executable, "-c", _LAUNCHER, str(peak), str(gateway_command()))
        began = time.monotonic()
        done = subprocess.run(
            [*command, "usage", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT.total_seconds(),
        )
        seconds = time.monotonic() - began
        self.expect(f"{what}: exit status", (done.returncode, done.stderr), (0, ""))
        self.report.add("books", what, "s", seconds)
        self.report.add("books", f"{what}, memory", "MiB", int(peak.read_text()) / KIB_PER_MIB)
        return done.stdout


def run(bench: Bench, report: BenchReport) -> None:
    """Book a small year and compare every report."""
    bench.redis.flush()
    jobs = plan_year(bench.scale.booked_jobs)
    found = asyncio.run(book(bench.redis.url, bench.folder, jobs, report, Books))
    compare_reports(found, FEW_REPORTS if not bench.scale.timed else EVERY_REPORT)


async def book(
    url: str, folder: Path, jobs: Iterable[PlannedJob], report: BenchReport, way: type[Books]
) -> Comparison:
    """Book the jobs of a year; compare the budgets' windows and RunComfy's bill with them."""
    async with redis_client(url, REDIS_TIMEOUT) as wire:
        await wire.execute("CONFIG", "SET", "appendonly", "no")
        await wire.execute("CONFIG", "SET", "hash-max-listpack-value", PACKED)
        books = way(wire)
        await books.create_tenants()
        began = time.monotonic()
        events = await books.run(jobs)
        seconds = time.monotonic() - began
        report.add("books", "jobs that were paid for", "jobs", float(books.paid))
        report.add("books", "jobs that got another one's result", "jobs", float(books.reused))
        report.add("books", "events booked", "events/s", events / seconds)
        found = Comparison(url, folder, report, books)
        await _compare_windows(found)
        if way is Books:
            await _reconcile(found)
        await _measure_days(found, wire)
    return found


def compare_reports(found: Comparison, reports: ReportPlan) -> None:
    """Run each report, compare it, and measure it; add the number of differences."""
    for by in reports.groups:
        for tenant in reports.tenants:
            _compare_report(found, by, tenant)
    for month in reports.months:
        _compare_statement(found, month)
    found.report.add("books", "sums compared", "sums", float(len(found.books.tally)))
    found.report.add("books", "errors", "sums", float(len(found.differences)))
    for difference in found.differences[:SHOWN_DIFFERENCES]:
        found.report.note(f"books: {difference}")


def _compare_report(found: Comparison, by: str, tenant: str | None) -> None:
    whose = ("--all",) if tenant is None else ("--tenant", tenant)
    what = f"report by {by}, {'all tenants' if tenant is None else 'a tenant'}"
    rows = parse_report(found.run_command(what, *whose, "--by", by, *PERIOD, "--csv"))
    found.expect(f"{what}: total", rows.pop(("total", "")), found.books.tally.total(tenant))
    if by == "label":
        _compare_keys(found, what, rows, tenant)
    expected = found.books.tally.rows(by, tenant)
    for row in rows.keys() | expected.keys():
        found.expect(f"{what}: {row}", rows.get(row), expected.get(row))
    if by != "label":
        found.expect(f"{what}: parts", _sum(rows.values()), found.books.tally.total(tenant))


def _compare_keys(
    found: Comparison, what: str, rows: dict[tuple[str, str], dict[str, int]], tenant: str | None
) -> None:
    """Compare the sum of each key's rows, and take out those of requests without the key."""
    for key in {label.partition("=")[0] for _, label in rows}:
        parts = [sums for (_, label), sums in rows.items() if label.startswith(f"{key}=")]
        found.expect(f"{what}: {key}", _sum(parts), found.books.tally.total(tenant))
    for row in [row for row in rows if row[1].endswith(f"={NONE}")]:
        del rows[row]


def _sum(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for sums in rows:
        total.update(sums)
    return without_zeros(total)


def _compare_statement(found: Comparison, month: str) -> None:
    tally, what = found.books.tally, f"statement of {month}"
    text = found.run_command(what, "statement", ONE_TENANT, "--month", month, "--csv")
    parts = parse_statement(text)
    for part in ("model", "key", "day"):
        rows = {group: sums for (of, group), sums in parts.items() if of == part}
        expected = {
            group: statement_sums(sums)
            for (_, group), sums in tally.rows(part, ONE_TENANT, month).items()
        }
        total = statement_sums(tally.total(ONE_TENANT, month))
        found.expect(f"{what}, by {part}", rows, expected | {"total": total})


async def _compare_windows(found: Comparison) -> None:
    """Compare the windows of budgets that are kept, and require those of the last two months."""
    for tenant in TENANTS:
        kept = await found.books.stores.usage_history.read_windows(tenant)
        expected = found.books.tally.rows("window", tenant)
        for name, use in kept.items():
            sums = expected.get((tenant, name), {})
            amounts = {"jobs": use.jobs, "used_usd": use.used, "settled_usd": use.settled}
            wanted = {each: sums.get(each, 0) for each in amounts}
            found.expect(f"window {name} of {tenant}", amounts, wanted)
        recent = {name for _, name in expected if name[1:] > "20281101" or name == "T"}
        found.expect(f"missing windows of {tenant}", sorted(recent - kept.keys()), [])


async def _reconcile(found: Comparison) -> None:
    """Compare RunComfy's bill of a month, as CSV, with the charges."""
    books = found.books
    books.clock.set(RECONCILED_AT)
    ids, targets = SeededIds(Random(2)), TargetPolicy()
    admin = AdminContext("bench", books.stores, books.clock, ids, targets, lambda _: None)
    lines = ((name, f"{amount / 1e6:.6f}") for name, amount in books.charged.items())
    out = io.StringIO()
    csv.writer(out).writerows([("request_id", "amount_usd"), *lines])
    began = time.monotonic()
    result = await reconcile_bill(admin, parse_bill(out.getvalue()), BILLED_DAYS)
    found.report.add("books", f"reconcile {BILLED_MONTH}", "s", time.monotonic() - began)
    kinds = Counter(each.kind for each in result.comparison.differences)
    expected = {
        DifferenceKind.WITHOUT_ID: books.unbilled[Ending.DOUBT_LOST],
        DifferenceKind.IN_DOUBT: books.unbilled[Ending.IN_DOUBT],
    }
    found.expect("reconciled differences", kinds, +Counter(expected))
    found.expect("reconciled requests", result.comparison.matched, len(books.charged))
    found.expect("RunComfy's sum", result.comparison.theirs, sum(books.charged.values()))


async def _measure_days(found: Comparison, wire: RedisClient) -> None:
    """Add the memory that a tenant's day takes in Redis."""
    sizes, fields = [], []
    for tenant, day in found.books.tally.rows("day"):
        key = keys.usage_history(tenant, day.replace("-", ""))
        sizes.append(int(await wire.execute("MEMORY", "USAGE", key, "SAMPLES", 0)))
        fields.append(int(await wire.execute("HLEN", key)))
    found.report.add("books", "a tenant's day in Redis", "bytes", mean(sizes))
    found.report.add("books", "the largest day", "bytes", max(sizes))
    found.report.add("books", "rows of a day", "rows", mean(fields))
    found.report.add("books", "rows of the largest day", "rows", max(fields))


def main() -> None:
    """Run over a private Redis."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int, nargs="?", default=JOBS)
    parser.add_argument("--admit", action="store_true", help="admit and settle each job")
    parser.add_argument("--minutes", type=float, help="after which no more jobs are admitted")
    given = parser.parse_args()
    until = time.monotonic() + 60 * (given.minutes or math.inf)
    jobs = takewhile(lambda _: time.monotonic() < until, plan_year(given.jobs))
    way = Books if given.admit else RowBooks
    report = BenchReport({})
    with private_redis() as server, tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(book(server.url, Path(folder), jobs, report, way))
        compare_reports(found, EVERY_REPORT)
    print(report.table())


if __name__ == "__main__":
    main()
