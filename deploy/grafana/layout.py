"""Layout of panels in rows of 24 columns, filled from the left."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.grafana.panel import Panel

COLUMNS: Final = 24


@dataclass(frozen=True, slots=True)
class PanelPosition:
    """A panel with its top left corner in Grafana's grid."""

    panel: Panel
    x: int
    y: int


def lay_out(panels: Sequence[Panel]) -> Iterator[PanelPosition]:
    """Return each panel's position; a row is as high as its first panel."""
    x = y = height = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y = 0, y + height
        if x == 0:
            height = panel.height
        yield PanelPosition(panel, x, y)
        x += panel.width
