"""Draws one dashboard's answers as a picture, laid out as Grafana would. Knows matplotlib alone.

Colours and fonts are not Grafana's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib.dates as mdates
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from deploy.grafana.layout import COLUMNS, Place, placed
from deploy.grafana.live_prometheus import Line
from deploy.grafana.panel import Board, Look, Panel, Unit

_GREEN, _YELLOW, _RED, _GREY, _LINE = "#73bf69", "#f2cc0c", "#f2495c", "#8e8e9a", "#2c3235"
_MORE: Final = ("#8ab8ff", "#ff780a", _RED, "#b877d9", "#37872d", "#ffa6b0", "#5794f2")
STYLE: Final[Any] = {
    "figure.facecolor": "#111217",
    "axes.facecolor": "#181b1f",
    "axes.edgecolor": _LINE,
    "text.color": "#ccccdc",
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _LINE,
    "font.size": 7.5,
    "axes.prop_cycle": cycler(color=(_GREEN, _YELLOW, *_MORE)),
}
"""For `matplotlib.rc_context`."""
_COLUMN, _ROW, _TITLE = 0.72, 0.42, 0.6  # inches
_MOST_LINES: Final = 9
_FEWEST, _TICKS, _LONG_NAME = 2, 7, 24
_MIB: Final = 2**20
_THOUSAND: Final = 1000
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60
_STEPS: Final[Mapping[Unit, Sequence[float]]] = {
    Unit.SECONDS: [part * _MINUTE for part in (0.5, 1, 2, 5, 10, 20, 60, 120, 360)],
    Unit.BYTES: [part * _MIB for part in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)],
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A panel with its lines, each under its legend."""

    panel: Panel
    lines: Sequence[tuple[str, Line]]

    @property
    def last(self) -> Sequence[tuple[str, float]]:
        """How each line stands at its end."""
        return [(name, line.points[-1][1]) for name, line in self.lines if line.points]

    @property
    def telling(self) -> Sequence[tuple[str, Line]]:
        """The lines to draw: where there are too many, those that show anything at all."""
        if len(self.lines) <= _MOST_LINES:
            return self.lines
        return [(name, line) for name, line in self.lines if _moves(line)][:_MOST_LINES]

    def text(self, value: float) -> str:
        """A figure in the panel's unit."""
        return shown(value, self.panel.unit)


def picture(board: Board, ask: Callable[[Panel], Answer]) -> Figure:
    """One dashboard."""
    places = list(placed(board.panels))
    rows = max(place.y + place.panel.height for place in places)
    height = rows * _ROW + _TITLE
    figure = Figure(figsize=(COLUMNS * _COLUMN, height))
    for place in places:
        axes = figure.add_axes(_box(place, rows, height))
        _PAINTERS[place.panel.look](axes, ask(place.panel))
        axes.set_title(place.panel.title, loc="left", fontsize=9, pad=5)
    top = 1 - 0.25 / height
    figure.text(0.012, top, board.title, fontsize=14, weight="bold", va="center")
    figure.text(0.99, top, board.about, fontsize=9, va="center", ha="right", color=_GREY)
    return figure


def _box(place: Place, rows: int, height: float) -> tuple[float, float, float, float]:
    panel = place.panel
    left, wide = place.x / COLUMNS, panel.width / COLUMNS
    bottom = (rows - place.y - panel.height) * _ROW / height
    high = panel.height * _ROW / height
    if panel.look is Look.NUMBER:
        return left + 0.008, bottom + 0.1 * high, wide - 0.014, high * 0.7
    return left + 0.042, bottom + 0.25 * high, wide - 0.055, high * 0.62


def _paint_lines(axes: Axes, answer: Answer) -> None:
    for name, line in answer.telling:
        days = [at / _DAY for at, _ in line.points]
        axes.plot(days, [value for _, value in line.points], label=name, linewidth=1.1)
    _finish(axes, answer)
    levels = answer.panel.levels
    for value, color in zip(levels, (_YELLOW, _RED)[-len(levels) :], strict=False):
        if value < axes.get_ylim()[1]:
            axes.axhline(value, color=color, linewidth=0.8, linestyle="--")


def _paint_stack(axes: Axes, answer: Answer) -> None:
    lines = answer.telling
    instants = sorted({at for _, line in lines for at, _ in line.points})
    if instants:
        tables = [dict(line.points) for _, line in lines]
        heights = [[table.get(at, 0.0) for at in instants] for table in tables]
        names = [name for name, _ in lines]
        axes.stackplot([at / _DAY for at in instants], *heights, labels=names, alpha=0.8)
    _finish(axes, answer)


def _finish(axes: Axes, answer: Answer) -> None:
    if not answer.lines:
        _say_nothing(axes)
        return
    top = axes.get_ylim()[1] * 1.05
    axes.set_ylim(0, top)
    axes.grid(visible=True, linewidth=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: answer.text(value)))
    step = _step(top, answer.panel.unit)
    if step is not None:
        axes.yaxis.set_major_locator(MultipleLocator(step))
    _finish_clock(axes, [at / _DAY for _, line in answer.lines for at, _ in line.points])
    longest = max(len(name) for name, _ in answer.lines)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.1),
        borderaxespad=0,
        fontsize=6.5,
        ncols=3 if longest < _LONG_NAME else 2,
        frameon=False,
        columnspacing=1.2,
    )


def _finish_clock(axes: Axes, days: Sequence[float]) -> None:
    clock = mdates.DateFormatter("%H:%M:%S")  # type: ignore[no-untyped-call]  # matplotlib's own
    axes.xaxis.set_major_formatter(clock)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(min(days), max(days))


def _step(top: float, unit: Unit) -> float | None:
    """What to count in where tens are odd: minutes, mebibytes."""
    steps = _STEPS.get(unit, ())
    return next((step for step in steps if _FEWEST * step <= top <= _TICKS * step), None)


def _moves(line: Line) -> bool:
    return any(value > 0 for _, value in line.points)


def _paint_number(axes: Axes, answer: Answer) -> None:
    _say_nothing(axes) if not answer.last else _say(axes, answer, answer.last[-1][1])


def _say(axes: Axes, answer: Answer, value: float) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    color = _color(answer.panel, value)
    axes.text(0.5, 0.46, answer.text(value), ha="center", va="center", fontsize=19, color=color)


def _color(panel: Panel, value: float) -> str:
    passed = [value < level if panel.falling else value >= level for level in panel.levels]
    colors = (_GREEN, _RED) if len(panel.levels) == 1 else (_GREEN, _YELLOW, _RED)
    return colors[sum(passed)]


def _paint_bars(axes: Axes, answer: Answer) -> None:
    rows = sorted(answer.last, reverse=True)[:_MOST_LINES]
    if not rows:
        _say_nothing(axes)
        return
    most = max((value for _, value in rows if value > 0), default=1.0)
    axes.barh(range(len(rows)), [value for _, value in rows], color=_GREEN, alpha=0.55)
    for place, (name, value) in enumerate(rows):
        axes.text(most * 0.01, place, f" {name}: {answer.text(value)}", va="center")
    axes.set_xlim(0, most * 1.05)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: answer.text(value)))


def _say_nothing(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes)


_PAINTERS: Final[Mapping[Look, Callable[[Axes, Answer], None]]] = {
    Look.LINES: _paint_lines,
    Look.STACK: _paint_stack,
    Look.NUMBER: _paint_number,
    Look.BARS: _paint_bars,
}


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= _THOUSAND else f"{value:.3g}"


def _span(seconds: float) -> str:
    for size, name in ((_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1000:.3g} ms" if 0 < seconds < 1 else f"{seconds:.3g} s"


_FORMS: Final[Mapping[Unit, Callable[[float], str]]] = {
    Unit.SECONDS: _span,
    Unit.RATIO: lambda value: f"{value * 100:.4g} %",
    Unit.USD: lambda value: f"${value:.2f}",
    Unit.BYTES: lambda value: f"{value / _MIB:.3g} MiB",
    Unit.PER_SECOND: lambda value: f"{_plain(value)}/s",
}


def shown(value: float, unit: Unit) -> str:
    """A figure as people read it."""
    form = _FORMS.get(unit)
    return _plain(value) if form is None else form(value)
