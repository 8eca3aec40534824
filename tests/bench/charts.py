"""`python -m tests.bench.charts RESULT.json…`: draw kept results for docs/performance.md."""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from deploy.grafana.draw import IMAGES, save

_BAR_INCHES: Final = 0.42
_WIDTH_INCHES: Final = 8.0
_WHOLE: Final = 10
"""From here on a figure has no decimals."""
_COLOUR: Final = "#2563eb"


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: the figures whose name matches, with the match's first group as their label."""

    file: str
    title: str
    pattern: str


CHARTS: Final = (
    Chart("performance-accept", "Submits accepted per second, 32 connections", r"(.+) c=32"),
    Chart("performance-cpu", "CPU of a submit, 32 connections (µs)", r"(.+) c=32 CPU"),
    Chart("performance-scale", "CPU of a job (ms)", r"(\d+ services and workers: CPU of .+)"),
)


def figures_of(chart: Chart, found: Mapping[str, float]) -> dict[str, float]:
    """Return the chart's figures by label, in the order of the run."""
    matches = ((re.fullmatch(chart.pattern, name), value) for name, value in found.items())
    bars = {match[1]: value for match, value in matches if match is not None}
    return {label: value for label, value in bars.items() if "/" not in label}


def draw(chart: Chart, bars: Mapping[str, float]) -> Figure:
    """Return the picture of some bars, the first on top, each with its value."""
    labels = list(bars)[::-1]
    figure = Figure(figsize=(_WIDTH_INCHES, 1 + _BAR_INCHES * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(labels, [bars[label] for label in labels], color=_COLOUR)
    axes.bar_label(drawn, fmt=lambda value: f"{value:,.{0 if value >= _WHOLE else 2}f}", padding=4)
    axes.set_title(chart.title, loc="left")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)
    axes.margins(x=0.12)
    return figure


def read_figures(files: Sequence[Path]) -> dict[str, float]:
    """Return the medians of kept results by name; a later file's counts."""
    return {
        figure["name"]: figure["median"]
        for file in files
        for figure in json.loads(file.read_text(encoding="utf-8"))["figures"]
    }


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="files in .bench")
    found = read_figures(parser.parse_args().results)
    for chart in CHARTS:
        if bars := figures_of(chart, found):
            save(draw(chart, bars), IMAGES / f"{chart.file}.png")
            print(f"docs/images/{chart.file}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
