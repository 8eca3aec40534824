"""`python -m tests.runbooks.run`: provoke every alert, and run the commands of its runbook.

The rules, their times and the routes of Alertmanager are those that are shipped; time is real, and
the longest window of a rule is two hours: run a group (`--group`) or an alert (`--only`) at a time.
Prints a table; exits 1 if an alert did not fire or end, or a command did not do as expected.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import Final, NamedTuple

import httpx

from simulator.stack import StackPlan, without_settings
from tests.runbooks.live import POLL_SECONDS, STEADY_SECONDS, LiveGateway, repeat, run_live
from tests.runbooks.provocations import (
    PROVOCATIONS,
    Group,
    Incident,
    Names,
    Provocation,
    settings_of_stack,
)
from tests.runbooks.runbook import is_command

FIRES_WITHIN: Final = 35 * 60.0
AFTER_WEBHOOKS: Final = 40 * 60.0
"""How long a second page is waited for; the windows hold the first one's failures for less."""
STEADY: Final = "steady"
_FAILURES: Final = (SubprocessError, RuntimeError, LookupError, AssertionError, httpx.HTTPError)


@dataclass(slots=True)
class Result:
    """What became of a row. `fired` after its cause and `ended` after its mend, in seconds."""

    row: Provocation
    fired: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """What is wrong with a step; '' if nothing is."""
    error: str = ""

    @property
    def is_right(self) -> bool:
        """Whether everything fired, ended, and did what was expected."""
        return not self.error and not any(self.steps.values())


def provoke(live: LiveGateway, row: Provocation) -> Result:
    """Provoke a row's alerts, run the steps while they fire, and wait until they have ended."""
    result, incident = Result(row), Incident(live)
    began = time.monotonic()
    try:
        _say(f"{row.alerts}: cause")
        incident.names = row.cause(incident) or {}
        _wait(live, row.alerts, "firing", Limit(began, FIRES_WITHIN), result.fired)
        for step in row.steps:
            result.steps[step] = run_step(live, step, incident.names, fails=step in row.failing)
    except _FAILURES as error:
        result.error = _reason(error)
    incident.over.set()
    mended = time.monotonic()
    try:
        _say(f"{row.alerts}: mend")
        row.mend(incident)
        for step in row.after:
            result.steps[step] = run_step(live, step, incident.names, fails=False)
        limit = Limit(mended, row.ends_within.total_seconds())
        _wait(live, row.alerts, None, limit, result.ended)
    except _FAILURES as error:
        result.error += _reason(error)
    _say(f"{row.alerts}: {_line(result)}")
    return result


def run_step(live: LiveGateway, step: str, names: Names, *, fails: bool) -> str:
    """Run a command or a query; return '' or what is wrong with it."""
    text = fill(step, names)
    try:
        found = live.run_command(text) if is_command(text) else str(live.query(text) or "")
    except _FAILURES as error:
        return "" if fails else f"{text}: {_reason(error)}"
    _say(f"$ {text}\n{found.strip()[:1500]}")
    is_empty = not found.strip() and not is_command(text)
    return f"{text}: expected {'a failure' if fails else 'an answer'}" if fails != is_empty else ""


def _reason(error: Exception) -> str:
    return repr(error)[-800:]


def fill(step: str, names: Names) -> str:
    """Return the step with values for its placeholders."""
    values = {"N": "50", **names}
    return " ".join(
        word.replace("HOST", names["HOST"]) if "HOST" in word else values.get(word, word)
        for word in step.split(" ")
    )


class Limit(NamedTuple):
    """How long something is waited for, in seconds since an instant of the monotonic clock."""

    since: float
    seconds: float


def _wait(
    live: LiveGateway,
    alerts: Iterable[str],
    state: str | None,
    limit: Limit,
    found: dict[str, float],
) -> None:
    """Put in `found` after how many seconds each alert had the state; None: none at all."""
    missing = set(alerts)
    while missing:
        known = live.alerts()
        for alert in sorted(missing):
            if known.get(alert) == state:
                found[alert] = round(time.monotonic() - limit.since, 1)
                _say(f"{alert}: {state or 'ended'} after {found[alert]} s")
        missing -= found.keys()
        if time.monotonic() - limit.since > limit.seconds:
            raise AssertionError(f"not {state or 'ended'}: {sorted(missing)}")
        time.sleep(POLL_SECONDS)


def run_group(group: Group, rows: Iterable[Provocation], folder: Path) -> list[Result]:
    """Run the rows of a group on a stack of its own."""
    environment = {**without_settings(os.environ), **settings_of_stack()}
    options = ("--queue-seconds", "0..1", "--run-seconds", "1..3", "--balance-usd", "100000")
    workers = 2 if group in {Group.BUSY, Group.QUIET} else 1
    plan = StackPlan(folder, environment=environment, workers=workers, runcomfy_options=options)
    with run_live(plan) as live:
        over = threading.Event()
        if group is not Group.QUIET:
            live.add_tenant(STEADY)
            repeat(lambda: live.submit(STEADY), STEADY_SECONDS, over)
        if group is Group.OUTAGE:
            results = [provoke(live, row) for row in rows]
        else:
            results = _run_together([partial(provoke, live, row) for row in rows])
        if group is Group.WEBHOOKS:
            time.sleep(AFTER_WEBHOOKS)
        over.set()
        for sent in live.notifications:
            what = "firing" if sent.is_firing else "ended"
            at = time.strftime("%H:%M:%S", time.gmtime(sent.at))
            _say(f"{at} {sent.receiver}: {sent.alert} {what}")
    return results


def _run_together(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        running = []
        for task in tasks:
            running.append(pool.submit(task))
            time.sleep(POLL_SECONDS)
        return [each.result() for each in running]


def _line(result: Result) -> str:
    wrong = [*filter(None, result.steps.values()), *filter(None, (result.error,))]
    return (
        f"| {', '.join(result.row.alerts)} | {result.fired} | {result.ended} "
        f"| {len(result.steps)} steps {wrong or 'right'} |"
    )


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S", time.gmtime()), text, flush=True)


def main() -> int:
    """Run the groups or the alerts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", choices=list(Group))
    parser.add_argument("--only", action="append", metavar="ALERT", help="may be repeated")
    given = parser.parse_args()
    results = []
    for group in Group if given.group is None else (Group(given.group),):
        rows = [
            row
            for row in PROVOCATIONS
            if row.group is group and (given.only is None or set(given.only) & set(row.alerts))
        ]
        if rows:
            with tempfile.TemporaryDirectory(prefix="runbooks-") as folder:
                results += run_group(group, rows, Path(folder))
    print("| Alert | Fired after, s | Ended after, s | Steps |\n| --- | --- | --- | --- |")
    print("\n".join(map(_line, results)))
    return 0 if all(result.is_right for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
