"""Results of a bench: figures with their spread, compared with targets, as a table or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class PerformanceTarget:
    """The target of a median."""

    minimum: float | None = None
    maximum: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether `value` meets the target."""
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)

    def __str__(self) -> str:
        """Return the target in few characters."""
        parts = [f">= {self.minimum:g}" if self.minimum is not None else ""]
        parts.append(f"<= {self.maximum:g}" if self.maximum is not None else "")
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure, once for each round."""

    scenario: str
    name: str
    unit: str
    values: tuple[float, ...]
    target: PerformanceTarget | None = None

    @property
    def median(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return None if self.target is None else self.target.is_met(self.median)

    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        low, high = min(self.values), max(self.values)
        spread = "" if len(self.values) == 1 else f"{_short(low)} .. {_short(high)}"
        verdict = {None: "", True: "held", False: "MISSED"}[self.is_met]
        goal = "" if self.target is None else str(self.target)
        return (self.scenario, self.name, _short(self.median), spread, self.unit, goal, verdict)

    def document(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {**asdict(self), "median": self.median, "held": self.is_met}


@dataclass(slots=True)
class BenchReport:
    """All results of one run. `notes` are lines for its reader."""

    environment: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        scenario: str,
        what: str,
        unit: str,
        values: float | Iterable[float],
        target: PerformanceTarget | None = None,
    ) -> None:
        """Add a figure of one round or of all; a figure that is added again is another round."""
        found = (values,) if isinstance(values, int | float) else tuple(values)
        for place, known in enumerate(self.measurements):
            if (known.scenario, known.name) == (scenario, what):
                self.measurements[place] = replace(known, values=(*known.values, *found))
                return
        if found:
            self.measurements.append(Measurement(scenario, what, unit, found, target))

    def note(self, line: str) -> None:
        """Add a note about this run."""
        self.notes.append(line)

    def document(self) -> str:
        """The run as JSON."""
        figures = [figure.document() for figure in self.measurements]
        return json.dumps(
            {"about": self.environment, "notes": self.notes, "figures": figures},
            indent=1,
            default=str,
        )

    def table(self) -> str:
        """The run for a terminal."""
        head = ("scenario", "what", "median", "spread", "unit", "target", "")
        rows = [head, *(figure.row() for figure in self.measurements)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [_aligned(row, widths) for row in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *self.notes])


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of the others do not exceed, by nearest rank. Raises on no values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(part * len(ranked)) - 1))]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    numeric = (2, 3)
    cells = (
        cell.rjust(width) if column in numeric else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def _short(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
