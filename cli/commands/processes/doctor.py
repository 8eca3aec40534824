"""`gateway doctor`: whether everything that the gateway needs is there, and what to do."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from cli.doctor.check import Check, Status
from cli.doctor.run import run_checks
from cli.output import JsonOption
from cli.run_command import EXIT_FAILED
from core.clock import SystemClock
from core.ids import SystemIds


def doctor(*, as_json: JsonOption = False) -> None:
    """Print a line for each check. Ends with 1 if one failed; run it where the worker runs."""
    checks = asyncio.run(run_checks(SystemClock(), SystemIds()))
    is_ok = not any(check.status is Status.FAIL for check in checks)
    if as_json:
        print(json.dumps({"ok": is_ok, "checks": [asdict(check) for check in checks]}))
    else:
        print("\n".join(format_checks(checks)))
    if not is_ok:
        raise SystemExit(EXIT_FAILED)


def format_checks(checks: Sequence[Check]) -> list[str]:
    """Return one line for each check: status, name, what was found, and what to do."""
    width = max(len(check.name) for check in checks)
    return [
        f"{check.status:<4}  {check.name:<{width}}  {check.detail}"
        + (f" -> {check.fix}" if check.fix else "")
        for check in checks
    ]
