"""`python -m tests.chaos.run [--form FORM]`: attack, audit, print.

`short`, `standard` and `long` kill processes at random (`--seed N`). `failover` and `rewind` attack
the store of one stack, each fault `--rounds N` times; `rewind` puts copies in its place that are
`--age` seconds old. `store` does all that can happen to store, journal and workers, each on a stack
of its own, and prints a table with a row for each (`--only NAME` for one).

`restart` replaces every service and worker, one after the other, twice, while callers submit,
wait and read streams through HAProxy (`--pid-1`: each as process 1, as in a container).

Exits 1 on any broken promise. Needs nothing but an installed environment.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from simulator.stack import Stack, StackPlan, TenantCredentials, run_stack, without_settings
from tests.chaos.attack import LONG, SHORT, STANDARD, Attack, AttackProfile
from tests.chaos.audit import Audit, AuditReport
from tests.chaos.balancer import Balancer, running_balancer
from tests.chaos.restart import RESTART, RestartProfile, RestartRun, figures_of
from tests.chaos.store_attack import FAILOVER, REWIND, SCENARIOS
from tests.chaos.store_run import RUNCOMFY_OPTIONS, run_store_attack
from tests.chaos.store_under_attack import NO_BUDGET
from tests.support.stack import AMPLE_BALANCE, runcomfy_pace

STORE: Final = "store"
RESTARTS: Final = "restart"
RESTART_SETTINGS: Final = {"GATEWAY_LOG_FORMAT": "json", "GATEWAY_SHUTDOWN_DELAY": "5"}
RESTART_OPTIONS: Final = (*runcomfy_pace("0..1", "4..10"), *AMPLE_BALANCE)
STORE_PROFILES: Final = {"failover": FAILOVER, "rewind": REWIND}
COLUMNS: Final = (
    "accepted (202)",
    "refused meanwhile",
    "accepted, then unknown",
    "paid twice",
    "paid for and lost",
    "told under two ids",
    "booked other than charged",
)
PROFILES: Final = {"short": SHORT, "standard": STANDARD, "long": LONG}
PATIENCE: Final = timedelta(minutes=12)
"""Above the ten minutes to the fifth attempt at a delivery, if four fail."""
TENANTS: Final = ("north", "east", "west")


def run_attack(form: AttackProfile, folder: Path, environment: Mapping[str, str]) -> AuditReport:
    """Run one attack on a new stack in `folder`, then the audit."""
    surroundings = {
        **environment,
        "GATEWAY_DOUBT__HOLD": "3600",
        "GATEWAY_POLL__INITIAL_DELAY": "0.5",
        "GATEWAY_POLL__MIN_INTERVAL": "0.5",
        "GATEWAY_LOG_FORMAT": "json",
    }
    plan = StackPlan(
        folder,
        environment=surroundings,
        workers=form.workers,
        runcomfy_options=(*RUNCOMFY_OPTIONS, "--seed", str(form.seed)),
        fsync="always",
    )
    with run_stack(plan) as stack:
        tenants = [stack.create_tenant(name) for name in TENANTS]
        began = time.monotonic()
        report = asyncio.run(_attack_and_audit(stack, tenants, form))
        report.figures["seconds in all"] = round(time.monotonic() - began)
        report.figures["seed"] = form.seed
        return report


async def _attack_and_audit(
    stack: Stack, tenants: list[TenantCredentials], form: AttackProfile
) -> AuditReport:
    campaign = await Attack(stack, tenants, form, Random(form.seed)).run()
    return await Audit(stack, tenants, campaign).run(PATIENCE)


def run_restarts(form: RestartProfile, folder: Path, environment: Mapping[str, str]) -> AuditReport:
    """Replace all processes of a new stack in `folder` under load, then audit."""
    plan = StackPlan(
        folder,
        environment={**RESTART_SETTINGS, **environment},
        services=form.services,
        workers=form.workers,
        runcomfy_options=RESTART_OPTIONS,
        fsync="always",
    )
    with run_stack(plan) as stack:
        for service in stack.services:
            service.ready_path = "/readyz"
        tenants = [stack.create_tenant(name, *NO_BUDGET) for name in TENANTS]
        urls = [service.url for service in stack.services]
        with running_balancer(folder, urls) as balancer:
            return asyncio.run(_restart_and_audit(stack, balancer, tenants, form))


async def _restart_and_audit(
    stack: Stack, balancer: Balancer, tenants: list[TenantCredentials], form: RestartProfile
) -> AuditReport:
    record = await RestartRun(stack, balancer, tenants, form, Random(1)).run()
    report = await Audit(stack, tenants, record.jobs).run(PATIENCE)
    report.figures = figures_of(record) | report.figures
    report.demand(not record.failures, f"calls failed: {dict(record.failures)}")
    report.demand(set(record.exits) == {0}, f"exit codes: {record.exits}")
    return report


def table(report: AuditReport) -> str:
    """The figures and the violations as text."""
    width = max(len(name) for name in report.figures)
    rows = [f"{name:<{width}}  {value}" for name, value in report.figures.items()]
    violations = [f"VIOLATION  {violation}" for violation in report.violations[:50]]
    result = (
        f"{len(report.violations)} violations" if report.violations else "every promise was kept"
    )
    return "\n".join([*rows, *violations, result])


def run_scenarios(names: Sequence[str], rounds: int, folder: Path) -> bool:
    """Run rows of `SCENARIOS`, print each and at the end all; return whether all was kept."""
    rows, kept = [], True
    for number, name in enumerate(names):
        scenario = replace(SCENARIOS[name], rounds=rounds)
        report = run_store_attack(scenario, folder / str(number), without_settings(os.environ))
        print(f"{name}\n{table(report)}\n", flush=True)
        rows.append((name, *(_count(report.figures[column]) for column in COLUMNS)))
        kept = kept and not report.violations
    heads = (f"{rounds} times each", *COLUMNS)
    for row in (heads, ("---",) * len(heads), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    return kept


def _count(figure: int | Mapping[str, int]) -> int:
    return figure if isinstance(figure, int) else sum(figure.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--form", choices=[*PROFILES, *STORE_PROFILES, STORE, RESTARTS], default="standard"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--fault", action="append", help="of failover or rewind: only this one")
    parser.add_argument(
        "--only", action="append", choices=list(SCENARIOS), help="of store: only this row"
    )
    parser.add_argument("--age", type=float, default=5, metavar="SECONDS")
    parser.add_argument("--pid-1", action="store_true", help="of restart")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    return parser.parse_args()


def main() -> int:
    """Run the command. Returns its exit code."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder, environment = given.keep or Path(scratch), without_settings(os.environ)
        if given.form == STORE:
            return 0 if run_scenarios(given.only or list(SCENARIOS), given.rounds, folder) else 1
        if given.form == RESTARTS:
            report = run_restarts(replace(RESTART, as_process_1=given.pid_1), folder, environment)
        elif given.form in STORE_PROFILES:
            age = timedelta(seconds=given.age)
            form = STORE_PROFILES[given.form]
            faults = tuple(given.fault or form.faults)
            attack = replace(form, faults=faults, rounds=given.rounds, copy_age=age)
            report = run_store_attack(attack, folder, environment)
        else:
            profile = replace(PROFILES[given.form], seed=given.seed)
            report = run_attack(profile, folder, environment)
    print(table(report))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
