"""Draws one dashboard with matplotlib, in Grafana's layout.

Series have the colours of their meaning; other colours and fonts are not Grafana's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Any, Final

import matplotlib.dates as mdates
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from deploy.grafana.build import meaning_colors
from deploy.grafana.layout import COLUMNS, PanelPosition, lay_out
from deploy.grafana.live_prometheus import TimeSeries
from deploy.grafana.panel import Dashboard, Panel, PanelType, PanelUnit

_GREEN, _YELLOW, _RED, _GREY, _GRID_COLOUR = "#73bf69", "#f2cc0c", "#f2495c", "#8e8e9a", "#2c3235"
_EXTRA_COLOURS: Final = ("#8ab8ff", "#ff780a", _RED, "#b877d9", "#37872d", "#ffa6b0", "#5794f2")
STYLE: Final[Any] = {
    "figure.facecolor": "#111217",
    "axes.facecolor": "#181b1f",
    "axes.edgecolor": _GRID_COLOUR,
    "text.color": "#ccccdc",
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _GRID_COLOUR,
    "font.size": 7.5,
    "axes.prop_cycle": cycler(color=(_GREEN, _YELLOW, *_EXTRA_COLOURS)),
}
"""Settings for `matplotlib.rc_context`."""
_NAMED_COLOURS: Final = {
    "green": _GREEN,
    "red": _RED,
    "blue": "#5794f2",
    "orange": "#ff9830",
    "purple": "#b877d9",
}
_OTHER_COLOURS: Final = (_YELLOW, "#8ab8ff", "#37872d", "#ffa6b0", "#ff780a")
"""Of series without a meaning that are beside one that has one."""
_COLUMN_INCHES, _ROW_INCHES, _TITLE_INCHES = 0.72, 0.42, 0.6  # inches
_MAX_LINES: Final = 9
_MIN_TICKS, _MAX_TICKS, _LONG_LEGEND = 2, 7, 24
_MIB: Final = 2**20
_THOUSAND: Final = 1000
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60
_STEPS: Final[Mapping[PanelUnit, Sequence[float]]] = {
    PanelUnit.SECONDS: [part * _MINUTE for part in (0.5, 1, 2, 5, 10, 20, 60, 120, 360)],
    PanelUnit.BYTES: [part * _MIB for part in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)],
}


@dataclass(frozen=True, slots=True)
class PanelData:
    """A panel with its series by legend."""

    panel: Panel
    lines: Sequence[tuple[str, TimeSeries]]

    @property
    def last_values(self) -> Sequence[tuple[str, float]]:
        """The last value of each series."""
        return [(name, line.points[-1][1]) for name, line in self.lines if line.points]

    @property
    def visible_lines(self) -> Sequence[tuple[str, TimeSeries]]:
        """The series to draw: all, or if there are too many those with values."""
        if len(self.lines) <= _MAX_LINES:
            return self.lines
        return [(name, line) for name, line in self.lines if _has_values(line)][:_MAX_LINES]

    def format(self, value: float) -> str:
        """Return a value in the panel's unit."""
        return format_value(value, self.panel.unit)


def render_dashboard(dashboard: Dashboard, query: Callable[[Panel], PanelData]) -> Figure:
    """Return one dashboard as a figure."""
    places = list(lay_out(dashboard.panels))
    rows = max(place.y + place.panel.height for place in places)
    height = rows * _ROW_INCHES + _TITLE_INCHES
    figure = Figure(figsize=(COLUMNS * _COLUMN_INCHES, height))
    for place in places:
        axes = figure.add_axes(_box(place, rows, height))
        _PAINTERS[place.panel.panel_type](axes, query(place.panel))
        axes.set_title(place.panel.title, loc="left", fontsize=9, pad=5)
    top = 1 - 0.25 / height
    figure.text(0.012, top, dashboard.title, fontsize=14, weight="bold", va="center")
    figure.text(0.99, top, dashboard.description, fontsize=9, va="center", ha="right", color=_GREY)
    return figure


def _box(position: PanelPosition, rows: int, height: float) -> tuple[float, float, float, float]:
    panel = position.panel
    left, wide = position.x / COLUMNS, panel.width / COLUMNS
    bottom = (rows - position.y - panel.height) * _ROW_INCHES / height
    high = panel.height * _ROW_INCHES / height
    if panel.panel_type is PanelType.NUMBER:
        return left + 0.008, bottom + 0.1 * high, wide - 0.014, high * 0.7
    return left + 0.042, bottom + 0.25 * high, wide - 0.055, high * 0.62


def series_colours(names: Sequence[str]) -> list[str] | None:
    """Return the colour of each series; None, for the default ones, if no name has a meaning."""
    meant = [_meant_colour(name) for name in names]
    if not any(meant):
        return None
    others = cycle(_OTHER_COLOURS)
    return [colour or next(others) for colour in meant]


def _meant_colour(name: str) -> str | None:
    found = (one for pattern, one in meaning_colors() if re.search(pattern.strip("/"), name))
    colour = next(found, None)
    return None if colour is None else _NAMED_COLOURS.get(colour, colour)


def _paint_lines(axes: Axes, data: PanelData) -> None:
    lines = data.visible_lines
    colours = series_colours([name for name, _ in lines]) or repeat(None, len(lines))
    for (name, line), colour in zip(lines, colours, strict=True):
        days = [at / _DAY for at, _ in line.points]
        axes.plot(
            days, [value for _, value in line.points], label=name, linewidth=1.1, color=colour
        )
    _finish(axes, data)
    levels = data.panel.thresholds
    for value, color in zip(levels, (_YELLOW, _RED)[-len(levels) :], strict=False):
        if value < axes.get_ylim()[1]:
            axes.axhline(value, color=color, linewidth=0.8, linestyle="--")


def _paint_stack(axes: Axes, data: PanelData) -> None:
    lines = data.visible_lines
    instants = sorted({at for _, line in lines for at, _ in line.points})
    if instants:
        tables = [dict(line.points) for _, line in lines]
        heights = [[table.get(at, 0.0) for at in instants] for table in tables]
        names = [name for name, _ in lines]
        axes.stackplot(
            [at / _DAY for at in instants],
            *heights,
            labels=names,
            alpha=0.8,
            colors=series_colours(names),
        )
    _finish(axes, data)


def _finish(axes: Axes, data: PanelData) -> None:
    if not data.lines:
        _draw_no_data(axes)
        return
    top = axes.get_ylim()[1] * 1.05
    axes.set_ylim(0, top)
    axes.grid(visible=True, linewidth=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: data.format(value)))
    step = _tick_step(top, data.panel.unit)
    if step is not None:
        axes.yaxis.set_major_locator(MultipleLocator(step))
    _finish_clock(axes, [at / _DAY for _, line in data.lines for at, _ in line.points])
    longest = max(len(name) for name, _ in data.lines)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.1),
        borderaxespad=0,
        fontsize=6.5,
        ncols=3 if longest < _LONG_LEGEND else 2,
        frameon=False,
        columnspacing=1.2,
    )


def _finish_clock(axes: Axes, days: Sequence[float]) -> None:
    clock = mdates.DateFormatter("%H:%M:%S")  # type: ignore[no-untyped-call]  # matplotlib's own
    axes.xaxis.set_major_formatter(clock)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(min(days), max(days))


def _tick_step(top: float, unit: PanelUnit) -> float | None:
    """Set ticks at round numbers of units that are not decimal: minutes, mebibytes."""
    steps = _STEPS.get(unit, ())
    return next((step for step in steps if _MIN_TICKS * step <= top <= _MAX_TICKS * step), None)


def _has_values(line: TimeSeries) -> bool:
    return any(value > 0 for _, value in line.points)


def _paint_number(axes: Axes, data: PanelData) -> None:
    _draw_no_data(axes) if not data.last_values else _draw_number(
        axes, data, data.last_values[-1][1]
    )


def _draw_number(axes: Axes, data: PanelData, value: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    color = _color(data.panel, value)
    axes.text(0.5, 0.46, data.format(value), ha="center", va="center", fontsize=19, color=color)


def _color(panel: Panel, value: float) -> str:
    passed = [
        value < level if panel.lower_is_worse else value >= level for level in panel.thresholds
    ]
    colors = (_GREEN, _RED) if len(panel.thresholds) == 1 else (_GREEN, _YELLOW, _RED)
    return colors[sum(passed)]


def _paint_bars(axes: Axes, data: PanelData) -> None:
    rows = sorted(data.last_values, reverse=True)[:_MAX_LINES]
    if not rows:
        _draw_no_data(axes)
        return
    most = max((value for _, value in rows if value > 0), default=1.0)
    axes.barh(range(len(rows)), [value for _, value in rows], color=_GREEN, alpha=0.55)
    for place, (name, value) in enumerate(rows):
        axes.text(most * 0.01, place, f" {name}: {data.format(value)}", va="center")
    axes.set_xlim(0, most * 1.05)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: data.format(value)))


def _draw_no_data(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)


_PAINTERS: Final[Mapping[PanelType, Callable[[Axes, PanelData], None]]] = {
    PanelType.LINES: _paint_lines,
    PanelType.STACK: _paint_stack,
    PanelType.NUMBER: _paint_number,
    PanelType.BARS: _paint_bars,
    PanelType.TABLE: _paint_bars,
}


def _format_plain(value: float) -> str:
    return f"{value:,.0f}" if value >= _THOUSAND else f"{value:.3g}"


def _format_duration(seconds: float) -> str:
    for size, name in ((_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1000:.3g} ms" if 0 < seconds < 1 else f"{seconds:.3g} s"


_FORMATTERS: Final[Mapping[PanelUnit, Callable[[float], str]]] = {
    PanelUnit.SECONDS: _format_duration,
    PanelUnit.RATIO: lambda value: f"{value * 100:.4g} %",
    PanelUnit.USD: lambda value: f"${value:.2f}",
    PanelUnit.BYTES: lambda value: f"{value / _MIB:.3g} MiB",
    PanelUnit.PER_SECOND: lambda value: f"{_format_plain(value)}/s",
}


def format_value(value: float, unit: PanelUnit) -> str:
    """Return a value as text for people."""
    form = _FORMATTERS.get(unit)
    return _format_plain(value) if form is None else form(value)
