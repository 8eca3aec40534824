"""The README's pictures can be drawn from any answer of Prometheus."""

from itertools import product
from math import nan
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pytest
from PIL import Image

from deploy.grafana.draw import IMAGES, MAX_COLOURS, save
from deploy.grafana.live_prometheus import TimeSeries
from deploy.grafana.panel import Dashboard, Panel, PanelType, PanelUnit, PromQuery
from deploy.grafana.render import STYLE, PanelData, render_dashboard, series_colours

MOST_BYTES: Final = 250_000
# Possible answers to a panel: values of one series at three instants.
ANSWERS: Final = {
    "nothing": None,
    "no number": (nan, nan, nan),
    "only zeroes": (0.0, 0.0, 0.0),
    "much": (0.5, 500.0, 5e8),
}


def panel(look: PanelType, unit: PanelUnit) -> Panel:
    """A panel of this kind."""
    return Panel(f"{look} {unit}", "", (PromQuery("x"),), unit, look, 6)


def line(values: tuple[float, ...]) -> TimeSeries:
    """One series."""
    return TimeSeries({}, [(1_700_000_000.0 + n, value) for n, value in enumerate(values)])


@pytest.mark.parametrize("found", ANSWERS)
def test_every_kind_of_panel_can_be_drawn(found: str, tmp_path: Path) -> None:
    values = ANSWERS[found]
    lines = [] if values is None else [("a rather long name of a model", line(values))]
    panels = tuple(panel(look, unit) for look, unit in product(PanelType, PanelUnit))
    with mpl.rc_context(STYLE):
        save(
            render_dashboard(Dashboard("b", "B", "", panels), lambda one: PanelData(one, lines)),
            tmp_path / "a.png",
        )
    with Image.open(tmp_path / "a.png") as drawn:
        assert len(drawn.getcolors() or ()) <= MAX_COLOURS
        assert len(drawn.getcolors() or ()) > 2


def test_where_lines_are_many_those_without_anything_to_show_give_way() -> None:
    dull = [(f"dull {n}", line((0.0, nan))) for n in range(20)]
    lines = [*dull, ("lively", line((0.0, 1.0)))]
    assert [
        name for name, _ in PanelData(panel(PanelType.LINES, PanelUnit.COUNT), lines).visible_lines
    ] == ["lively"]


def test_the_pictures_that_are_kept_are_small() -> None:
    kept = sorted(IMAGES.glob("*.png"))
    assert len([path for path in kept if path.name.startswith("gateway-")]) == 6
    assert [path.name for path in kept if path.stat().st_size > MOST_BYTES] == []


def test_series_are_drawn_in_the_colours_of_their_meaning() -> None:
    *meant, other = series_colours(["succeeded", "a: failed", "cancelled", "b"]) or [""]
    assert meant == ["#73bf69", "#f2495c", "#808080"]
    assert other not in meant
    assert series_colours(["p50", "p99"]) is None
