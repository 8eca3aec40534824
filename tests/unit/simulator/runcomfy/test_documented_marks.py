"""The page on the simulator lists every kind of fault, and whether it is charged."""

import re
from pathlib import Path

from simulator.runcomfy.faults import FAULT_TRAITS, SimulatedFaultKind

PAGE = (Path(__file__).parents[4] / "docs/simulator.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (`[a-z0-9_`, or]+`) \|.*\| ([a-z, ]+) \|$", re.MULTILINE)


def test_every_kind_is_listed_with_what_it_costs() -> None:
    listed: dict[str, str] = {}
    for kinds, charged in _ROW.findall(PAGE):
        names = [name for name in re.findall(r"`(\w+)`", kinds) if name != "fail"]
        listed |= dict(zip(names, charged.split(", "), strict=False))
    assert listed == {
        kind.value: "yes" if FAULT_TRAITS[kind].is_executed else "no" for kind in SimulatedFaultKind
    }
