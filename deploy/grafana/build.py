"""Writes the dashboards as Grafana reads them: `python -m deploy.grafana.build`.

Knows Grafana's own model (its foundation SDK); the panels are tables in `boards`. A test fails when
the JSON in `dashboards/` is not what this makes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from deploy.grafana.boards.index import BOARDS
from deploy.grafana.layout import Place, placed
from deploy.grafana.panel import Board, Look, Panel, Query

FOLDER: Final = Path(__file__).parent / "dashboards"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS: Final = "docs/runbooks"
"""Where the pages of docs/runbooks are published; each dashboard has a field to set it."""
_GREEN, _YELLOW, _RED = "green", "#EAB839", "red"

AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel


def dashboard(board: Board) -> dict[str, Any]:
    """One dashboard's JSON."""
    built = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["gateway"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .annotation(_breaker_moves())
        .link(_others())
    )
    for variable in _variables():
        built = built.with_variable(variable)
    for number, place in enumerate(placed(board.panels), start=1):
        built = built.with_panel(_panel(place, number))
    document: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    return document


def _variables() -> Sequence[Any]:
    return (
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _values("tenant", "Tenant", "gateway_waiting_jobs"),
        _values("model", "Model", "gateway_jobs_admitted_total"),
        builders.TextBoxVariable("runbooks").label("Runbooks at").default_value(RUNBOOKS),
    )


def _values(label: str, title: str, series: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(label)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
    )


def _breaker_moves() -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name("Breaker")
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color("orange")
        .expr("sum by (state) (increase(gateway_circuit_breaker_transitions_total[1m])) > 0")
        .step("60s")
        .title_format("breaker: {{state}}")
    )


def _others() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Gateway")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(["gateway"])
        .as_dropdown(as_dropdown=True)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _panel(place: Place, number: int) -> AnyPanel:
    panel = place.panel
    drawn: AnyPanel = _LOOKS[panel.look]()
    drawn.title(panel.title).id(number).description(_description(panel)).unit(panel.unit)
    drawn.datasource(SOURCE).min(0)
    drawn.grid_pos(GridPos(h=panel.height, w=panel.width, x=place.x, y=place.y))
    drawn.thresholds(_thresholds(panel))
    if panel.levels and isinstance(drawn, timeseries.Panel):
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        drawn.thresholds_style(style)
    if panel.runbook:
        drawn.links([_runbook(panel.runbook)])
    for position, query in enumerate(panel.queries):
        drawn.with_target(_target(query, chr(ord("A") + position), panel.look))
    return drawn


def _description(panel: Panel) -> str:
    return f"{panel.about}\n\nRunbook: {panel.runbook}.md" if panel.runbook else panel.about


def _runbook(name: str) -> builders.DashboardLink:
    return (
        builders.DashboardLink(f"Runbook: {name}")
        .type(DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{name}.md")
        .target_blank(target_blank=True)
    )


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for value, color in threshold_steps(panel)])
    )


def threshold_steps(panel: Panel) -> Sequence[tuple[float | None, str]]:
    """Grafana's rising steps; the first has no value."""
    if not panel.levels:
        return ((None, _GREEN),)
    worse = (_YELLOW, _RED) if len(panel.levels) > 1 else (_RED,)
    if not panel.falling:
        return ((None, _GREEN), *zip(panel.levels, worse, strict=True))
    rising = tuple(reversed(panel.levels))
    colors = (*reversed(worse), _GREEN)
    return ((None, colors[0]), *zip(rising, colors[1:], strict=True))


def _target(query: Query, ref: str, look: Look) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE)
    if look in {Look.NUMBER, Look.BARS}:
        target.instant()
    else:
        target.range()
    return target.legend_format(query.legend) if query.legend else target


def _lines() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    return timeseries.Panel().legend(legend).tooltip(tooltip).fill_opacity(8).line_width(1)


def _stack() -> timeseries.Panel:
    stacking = common.StackingConfig().mode(StackingMode.NORMAL)
    return _lines().stacking(stacking).fill_opacity(40)


def _number() -> stat.Panel:
    return (
        stat.Panel()
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _bars() -> bargauge.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    return bargauge.Panel().orientation(VizOrientation.HORIZONTAL).reduce_options(last)


_LOOKS: Final[Mapping[Look, Any]] = {
    Look.LINES: _lines,
    Look.STACK: _stack,
    Look.NUMBER: _number,
    Look.BARS: _bars,
}


def text_of(board: Board) -> str:
    """The file of one dashboard."""
    return json.dumps(dashboard(board), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        path = FOLDER / f"{board.uid}.json"
        path.write_text(text_of(board), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
