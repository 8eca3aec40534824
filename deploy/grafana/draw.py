"""Draws every dashboard from real data into docs/images: `python -m deploy.grafana.draw [SECONDS]`.

Starts a stack under a Prometheus, lets it work with faults, asks what the panels ask, and draws the
answers.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from deploy.grafana.boards.index import BOARDS
from deploy.grafana.demo_traffic import RUNCOMFY, busy
from deploy.grafana.live_prometheus import Line, Prometheus, watching
from deploy.grafana.panel import Panel
from deploy.grafana.render import STYLE, Answer, picture
from simulator.stack import Plan, running, without_settings

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SPAN: Final = timedelta(seconds=180)
STEP: Final = timedelta(seconds=2)
COLOURS: Final = 128
SEED: Final = 7


def answer(panel: Panel, prometheus: Prometheus, span: timedelta) -> Answer:
    """What Prometheus has for a panel."""
    lines = [
        (_legend(query.legend, line, panel), line)
        for query in panel.queries
        for line in prometheus.ask_over(query.expr, span, STEP)
    ]
    return Answer(panel, lines)


def _legend(pattern: str, line: Line, panel: Panel) -> str:
    for name, value in line.labels.items():
        pattern = pattern.replace(f"{{{{{name}}}}}", value)
    return pattern or panel.title


def save(figure: Figure, path: Path) -> None:
    """Write a picture with as few colours as it needs, a quarter of the size."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(path, optimize=True)


@contextmanager
def worked(span: timedelta, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that has watched two services and two workers for so long."""
    environment = without_settings(os.environ)
    plan = Plan(folder, environment=environment, services=2, workers=2, runcomfy=RUNCOMFY)
    with (
        running(plan) as stack,
        watching(stack, folder / "prometheus") as prometheus,
        busy(stack, Random(SEED)) as traffic,
    ):
        traffic.run(span)
        time.sleep(STEP.total_seconds())
        yield prometheus


def main() -> None:
    """Run, wait, draw."""
    span = timedelta(seconds=float(sys.argv[1])) if len(sys.argv) > 1 else SPAN
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        worked(span, Path(place)) as prometheus,
        mpl.rc_context(STYLE),
    ):
        for board in BOARDS:
            path = IMAGES / f"{board.uid}.png"
            save(picture(board, lambda panel: answer(panel, prometheus, span)), path)
            print(path)


if __name__ == "__main__":
    main()
