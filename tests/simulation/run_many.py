"""The long form: `python -m tests.simulation.run_many 50000 [first seed]` runs so many plans."""

import sys
from random import Random
from typing import Final

from tests.simulation.plan import GOING_BACK, IN_DOUBT_FAULTS, Fault, Plan
from tests.simulation.runner import run

REPORT_EVERY: Final = 1000


def plan_of(seed: int) -> Plan:
    """The plan of a seed: from few and rare faults to nearly all of them."""
    rng = Random(seed)
    share = rng.choice((0.1, 0.3, 0.7))
    spared = rng.choice((frozenset(), frozenset(), IN_DOUBT_FAULTS))
    return Plan(
        seed=seed,
        workers=rng.randint(1, 3),
        jobs=rng.randint(1, 4),
        faults=_compatible(frozenset(fault for fault in Fault if rng.random() < share) - spared),
        intensity=rng.choice((0.1, 0.3, 0.6)),
    )


def _compatible(faults: frozenset[Fault]) -> frozenset[Fault]:
    """Return faults of which none makes another's invariants impossible to keep."""
    going_back = [fault for fault in GOING_BACK if fault in faults]
    if not going_back:
        return faults
    return faults - set(going_back[1:]) - {Fault.IDENTICAL_REQUESTS}


def main(arguments: list[str]) -> int:
    """Run plans until one violates an invariant, and print its report. Returns the exit code."""
    runs = int(arguments[0]) if arguments else REPORT_EVERY
    first = int(arguments[1]) if len(arguments) > 1 else 0
    for number, seed in enumerate(range(first, first + runs), start=1):
        report = run(plan_of(seed))
        if report.violations:
            print(report)
            return 1
        if number % REPORT_EVERY == 0:
            print(f"{number} runs, no violation", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
