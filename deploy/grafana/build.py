"""Writes the dashboards' JSON from the tables in `boards`: `python -m deploy.grafana.build`.

Uses Grafana's foundation SDK. A test fails if the JSON in `dashboards/` is not up to date.
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

from deploy.grafana.boards.index import DASHBOARDS
from deploy.grafana.layout import PanelPosition, lay_out
from deploy.grafana.panel import Dashboard, Panel, PanelType, PromQuery

FOLDER: Final = Path(__file__).parent / "dashboards"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS: Final = "docs/runbooks"
"""Default base of the links to runbooks; each dashboard has a variable to change it."""
_GREEN, _YELLOW, _RED = "green", "#EAB839", "red"

AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel


def build_dashboard(dashboard: Dashboard) -> dict[str, Any]:
    """Return one dashboard as JSON."""
    built = (
        builders.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.description)
        .tags(["gateway"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .annotation(_breaker_annotation())
        .link(_dashboard_links())
    )
    for variable in _build_variables():
        built = built.with_variable(variable)
    for number, place in enumerate(lay_out(dashboard.panels), start=1):
        built = built.with_panel(_build_panel(place, number))
    document: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    return document


def _build_variables() -> Sequence[Any]:
    return (
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        _build_label_variable("tenant", "Tenant", "gateway_waiting_jobs"),
        _build_label_variable("model", "Model", "gateway_jobs_admitted_total"),
        builders.TextBoxVariable("runbooks").label("Runbooks at").default_value(RUNBOOKS),
    )


def _build_label_variable(label: str, title: str, metric: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(label)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
    )


def _breaker_annotation() -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name("Circuit breaker")
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color("orange")
        .expr("sum by (state) (increase(gateway_circuit_breaker_transitions_total[1m])) > 0")
        .step("60s")
        .title_format("circuit breaker: {{state}}")
    )


def _dashboard_links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Gateway")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(["gateway"])
        .as_dropdown(as_dropdown=True)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _build_panel(panel_position: PanelPosition, number: int) -> AnyPanel:
    panel = panel_position.panel
    drawn: AnyPanel = _PANEL_BUILDERS[panel.panel_type]()
    drawn.title(panel.title).id(number).description(_description(panel)).unit(panel.unit)
    drawn.datasource(SOURCE).min(0)
    drawn.grid_pos(GridPos(h=panel.height, w=panel.width, x=panel_position.x, y=panel_position.y))
    drawn.thresholds(_thresholds(panel))
    if panel.thresholds and isinstance(drawn, timeseries.Panel):
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        drawn.thresholds_style(style)
    if panel.runbook:
        drawn.links([_runbook_link(panel.runbook)])
    for position, query in enumerate(panel.queries):
        drawn.with_target(_target(query, chr(ord("A") + position), panel.panel_type))
    return drawn


def _description(panel: Panel) -> str:
    return (
        f"{panel.description}\n\nRunbook: {panel.runbook}.md"
        if panel.runbook
        else panel.description
    )


def _runbook_link(name: str) -> builders.DashboardLink:
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
    """Return the steps of thresholds, ascending; Grafana's first step has no value."""
    if not panel.thresholds:
        return ((None, _GREEN),)
    worse = (_YELLOW, _RED) if len(panel.thresholds) > 1 else (_RED,)
    if not panel.lower_is_worse:
        return ((None, _GREEN), *zip(panel.thresholds, worse, strict=True))
    rising = tuple(reversed(panel.thresholds))
    colors = (*reversed(worse), _GREEN)
    return ((None, colors[0]), *zip(rising, colors[1:], strict=True))


def _target(query: PromQuery, ref: str, panel_type: PanelType) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE)
    if panel_type in {PanelType.NUMBER, PanelType.BARS}:
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


_PANEL_BUILDERS: Final[Mapping[PanelType, Any]] = {
    PanelType.LINES: _lines,
    PanelType.STACK: _stack,
    PanelType.NUMBER: _number,
    PanelType.BARS: _bars,
}


def dashboard_json(dashboard: Dashboard) -> str:
    """Return the text of one dashboard's file."""
    return json.dumps(build_dashboard(dashboard), indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for board in DASHBOARDS:
        path = FOLDER / f"{board.uid}.json"
        path.write_text(dashboard_json(board), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
