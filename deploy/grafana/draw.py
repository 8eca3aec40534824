"""Draws every dashboard from real data into docs/images: `python -m deploy.grafana.draw [SECONDS]`.

Starts a stack and a Prometheus, sends traffic with faults, runs the panels' queries and draws the
results.
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

from deploy.grafana.boards.index import DASHBOARDS
from deploy.grafana.demo_traffic import SIMULATOR_OPTIONS, open_demo_traffic
from deploy.grafana.live_prometheus import Prometheus, TimeSeries, run_prometheus
from deploy.grafana.panel import Panel
from deploy.grafana.render import STYLE, PanelData, render_dashboard
from simulator.stack import StackPlan, run_stack, without_settings

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SPAN: Final = timedelta(seconds=180)
STEP: Final = timedelta(seconds=2)
MAX_COLOURS: Final = 128
SEED: Final = 7


def query_panel(panel: Panel, prometheus: Prometheus, duration: timedelta) -> PanelData:
    """Return the results of a panel's queries."""
    lines = [
        (_format_legend(query.legend, line, panel), line)
        for query in panel.queries
        for line in prometheus.query_range(query.expr, duration, STEP)
    ]
    return PanelData(panel, lines)


def _format_legend(pattern: str, line: TimeSeries, panel: Panel) -> str:
    for name, value in line.labels.items():
        pattern = pattern.replace(f"{{{{{name}}}}}", value)
    return pattern or panel.title


def save(figure: Figure, path: Path) -> None:
    """Write an image with few colours, which makes it a quarter of the size."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(MAX_COLOURS).save(path, optimize=True)


@contextmanager
def run_loaded_stack(duration: timedelta, folder: Path) -> Iterator[Prometheus]:
    """Run two services and two workers under traffic; yield their Prometheus afterwards."""
    environment = without_settings(os.environ)
    plan = StackPlan(
        folder, environment=environment, services=2, workers=2, runcomfy_options=SIMULATOR_OPTIONS
    )
    with (
        run_stack(plan) as stack,
        run_prometheus(stack, folder / "prometheus") as prometheus,
        open_demo_traffic(stack, Random(SEED)) as traffic,
    ):
        traffic.run(duration)
        time.sleep(STEP.total_seconds())
        yield prometheus


def main() -> None:
    """Run the stack, then write every image."""
    span = timedelta(seconds=float(sys.argv[1])) if len(sys.argv) > 1 else SPAN
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        run_loaded_stack(span, Path(folder)) as prometheus,
        mpl.rc_context(STYLE),
    ):
        # All queries first: drawing takes minutes on a slow machine, and the stack is idle then.
        results = {
            panel: query_panel(panel, prometheus, span)
            for board in DASHBOARDS
            for panel in board.panels
        }
        for board in DASHBOARDS:
            path = IMAGES / f"{board.uid}.png"
            save(render_dashboard(board, results.__getitem__), path)
            print(path)


if __name__ == "__main__":
    main()
