"""Writes the dashboards' JSON from the tables in `boards`: `python -m deploy.grafana.build`.

Uses Grafana's foundation SDK. A test fails if the JSON in `dashboards/` is not up to date.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
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
    DynamicConfigValue,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.boards.index import DASHBOARDS
from deploy.grafana.layout import PanelPosition, lay_out
from deploy.grafana.panel import Dashboard, Panel, PanelType, PromQuery

FOLDER: Final = Path(__file__).parent / "dashboards"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS: Final = "docs/runbooks"
"""Default base of the links to runbooks; each dashboard has a variable to change it."""
_GREEN, _YELLOW, _RED = "green", "#EAB839", "red"

_GREY, _BLUE, _ORANGE, _PURPLE = "#808080", "blue", "orange", "purple"
MEANINGS: Final[Mapping[str, Sequence[str]]] = {
    _GREEN: ("succeeded", "completed", "delivered", "accepted", "spent", "stored", "hit"),
    _RED: ("failed", "expired", "storage_failed"),
    _GREY: ("cancelled", "free", "off"),
    _BLUE: ("queued", "following"),
    _ORANGE: ("in_doubt", "refused", "estimated", "held"),
    _PURPLE: ("submitting", "cancelling"),
}
"""The colour of a series by the word for a state, an outcome or a settlement in its name."""
PLACE_LABELS: Final = ("job", "namespace", "cluster")
"""Labels that Prometheus adds to what it scrapes: each has a picker that acts on every panel."""
_ALL_PANELS: Final = {"tenant": ("Tenant", "gateway_waiting_jobs")}
"""Pickers of the boards on which every panel has the label."""
_SERIES: Final = re.compile(
    r"\b(gateway_[a-z0-9_]+|process_[a-z_]+|ALERTS|up)\b(?![\w(])(?:\{([^}]*)\})?"
)

AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel


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
    for variable in _build_variables(dashboard):
        built = built.with_variable(variable)
    for number, place in enumerate(lay_out(dashboard.panels), start=1):
        built = built.with_panel(_build_panel(place, number))
    document: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    return document


def _build_variables(dashboard: Dashboard) -> Sequence[Any]:
    exprs = [query.expr for panel in dashboard.panels for query in panel.queries]
    return (
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        *(_build_label_variable(name, name.title(), "gateway_build_info") for name in PLACE_LABELS),
        *(
            _build_label_variable(name, *shown)
            for name, shown in _ALL_PANELS.items()
            if all(f"${name}" in expr for expr in exprs)
        ),
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
    for pattern, color in meaning_colors() if _shows_words(panel) else ():
        fixed = {"mode": "fixed", "fixedColor": color}
        drawn.override_by_regexp(pattern, [DynamicConfigValue(id_val="color", value=fixed)])
    if panel.daily:
        drawn.time_from("30d").interval("1d")
    if panel.runbook:
        drawn.links([_runbook_link(panel.runbook)])
    for position, query in enumerate(panel.queries):
        drawn.with_target(_target(query, chr(ord("A") + position), panel.panel_type))
    return drawn


def _shows_words(panel: Panel) -> bool:
    """Return whether series are named by a state, an outcome or a settlement."""
    words = ("state", "result", "outcome", "settlement")
    return any(f"{{{{{word}}}}}" in query.legend for query in panel.queries for word in words)


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


def with_places(expr: str) -> str:
    """Return an expression whose series are those of the job, namespace and cluster chosen."""
    places = ", ".join(f'{name}=~"${name}"' for name in PLACE_LABELS)
    return _SERIES.sub(
        lambda found: f"{found[1]}{{{', '.join(filter(None, (found[2], places)))}}}", expr
    )


def meaning_colors() -> Sequence[tuple[str, str]]:
    """Return a pattern of names of series for each word that has a colour."""
    return [
        (rf"/(^|[ :]){word}($|[ ,])/", color) for color, words in MEANINGS.items() for word in words
    ]


def _target(query: PromQuery, ref: str, panel_type: PanelType) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(with_places(query.expr)).ref_id(ref).datasource(SOURCE)
    if panel_type in {PanelType.NUMBER, PanelType.BARS, PanelType.TABLE}:
        target.instant()
        if panel_type is PanelType.TABLE:
            target.format(PromQueryFormat.TABLE)
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


def _table() -> table.Panel:
    return table.Panel()


_PANEL_BUILDERS: Final[Mapping[PanelType, Any]] = {
    PanelType.LINES: _lines,
    PanelType.STACK: _stack,
    PanelType.NUMBER: _number,
    PanelType.BARS: _bars,
    PanelType.TABLE: _table,
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
