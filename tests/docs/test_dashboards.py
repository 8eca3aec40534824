"""Dashboards, alerts and runbooks are up to date, well-formed, and use metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard

from core.observability.events import WARNING_CODES
from core.observability.metric_types import MetricDefinition, MetricKind
from core.observability.metrics import METRICS
from deploy.grafana.boards.index import DASHBOARDS
from deploy.grafana.build import (
    FOLDER,
    PLACE_LABELS,
    build_dashboard,
    dashboard_json,
    meaning_colors,
    with_places,
)
from deploy.grafana.layout import COLUMNS, lay_out
from deploy.grafana.live_prometheus import fill_variables
from deploy.grafana.panel import Dashboard
from tests.support import marks

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
NAME: Final = re.compile(r"\b(?:gateway[_:][a-z0-9_:]+|process_[a-z_]+|up|ALERTS)\b(?!\s*\()")
BOARD_IDS: Final = [board.uid for board in DASHBOARDS]


def rules_of(name: str) -> list[dict[str, Any]]:
    """The rules in one file."""
    document = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS: Final = rules_of("alerts.yml")
RECORDED: Final = {rule["record"] for rule in rules_of("recording.yml")}
PROCESS_NAMES: Final = frozenset(
    {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    }
)
"""Metrics that the client library itself adds for each process (Linux)."""
INTERNAL_ERROR_CODES: Final = frozenset(
    {"delivery_step_failed", "illegal_transition", "internal_error", "job_step_failed"}
)
"""The warnings that mean a defect of the gateway."""


def prometheus_names(metric: MetricDefinition) -> tuple[str, ...]:
    """The names under which Prometheus stores a metric."""
    if metric.kind is not MetricKind.HISTOGRAM:
        return (metric.name,)
    return tuple(f"{metric.name}_{part}" for part in ("bucket", "sum", "count"))


KNOWN: Final = (
    {name for metric in METRICS for name in prometheus_names(metric)}
    | RECORDED
    | PROCESS_NAMES
    | {"up", "ALERTS"}
)
DISPLAYED: Final = [(board, panel) for board in DASHBOARDS for panel in board.panels]
EXPRESSIONS: Final = [
    *(query.expr for _, panel in DISPLAYED for query in panel.queries),
    *(rule["expr"] for rule in (*ALERTS, *rules_of("recording.yml"))),
]


@pytest.mark.parametrize("board", DASHBOARDS, ids=BOARD_IDS)
def test_the_file_is_what_the_tables_make(board: Dashboard) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8") == dashboard_json(board)


def test_there_is_no_file_without_a_table() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(BOARD_IDS)


@pytest.mark.parametrize("board", DASHBOARDS, ids=BOARD_IDS)
def test_grafanas_own_model_loses_nothing_of_it(board: Dashboard) -> None:
    document = build_dashboard(board)
    read = json.loads(json.dumps(GrafanaDashboard.from_json(document), cls=JSONEncoder))
    assert read == document


@pytest.mark.parametrize("board", DASHBOARDS, ids=BOARD_IDS)
def test_panels_are_told_apart_and_do_not_overlap(board: Dashboard) -> None:
    document = build_dashboard(board)
    assert len({panel["id"] for panel in document["panels"]}) == len(board.panels)
    taken: set[tuple[int, int]] = set()
    for place in lay_out(board.panels):
        cells = {
            (place.x + x, place.y + y)
            for x in range(place.panel.width)
            for y in range(place.panel.height)
        }
        assert not cells & taken
        assert place.x + place.panel.width <= COLUMNS
        taken |= cells
    for panel in document["panels"]:
        assert [target["refId"] for target in panel["targets"]] == sorted(
            {target["refId"] for target in panel["targets"]}
        )
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("board", DASHBOARDS, ids=BOARD_IDS)
def test_a_picker_acts_on_every_panel(board: Dashboard) -> None:
    document = build_dashboard(board)
    pickers = {one["name"] for one in document["templating"]["list"] if one["type"] == "query"}
    assert set(PLACE_LABELS) <= pickers
    for panel in document["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\$([a-z]+)", target["expr"]))
            assert used == pickers, panel["title"]


@pytest.mark.parametrize("board", DASHBOARDS, ids=BOARD_IDS)
def test_each_series_is_one_that_the_pickers_choose(board: Dashboard) -> None:
    for panel in build_dashboard(board)["panels"]:
        for target in panel["targets"]:
            expr = target["expr"]
            promql_parser.parse(re.sub(r"\$[a-z]+", ".*", fill_variables(expr)))
            selectors = re.findall(
                r"(?:gateway_[a-z_]+|process_[a-z_]+|up|ALERTS)\{([^}]*)\}", expr
            )
            assert len(selectors) == len(NAME.findall(expr)), expr
            assert all(f'{label}=~"${label}"' in one for one in selectors for label in PLACE_LABELS)


@pytest.mark.parametrize(
    ("expr", "chosen"),
    [
        ("max(gateway_jobs)", "max(gateway_jobs{P})"),
        ('rate(gateway_jobs_total{a="b"}[5m])', 'rate(gateway_jobs_total{a="b", P}[5m])'),
        ("up / gateway_up", "up{P} / gateway_up{P}"),
    ],
)
def test_places_are_added_to_each_series(expr: str, chosen: str) -> None:
    places = ", ".join(f'{label}=~"${label}"' for label in PLACE_LABELS)
    assert with_places(expr) == chosen.replace("P", places)


@pytest.mark.parametrize(
    ("word", "color"),
    [
        ("succeeded", "green"),
        ("failed", "red"),
        ("cancelled", "#808080"),
        ("queued", "blue"),
        ("film: failed", "red"),
        ("failed-films", None),
        ("unfailed", None),
    ],
)
def test_a_word_has_one_colour_wherever_it_stands(word: str, color: str | None) -> None:
    found = [one for pattern, one in meaning_colors() if re.search(pattern.strip("/"), word)]
    assert found == ([] if color is None else [color])


def test_panels_by_state_have_the_colours_of_the_states() -> None:
    for board, panel in DISPLAYED:
        if not any("{{state}}" in query.legend for query in panel.queries):
            continue
        drawn = {one["title"]: one for one in build_dashboard(board)["panels"]}[panel.title]
        fixed = {
            rule["matcher"]["options"]: rule["properties"][0]["value"]["fixedColor"]
            for rule in drawn["fieldConfig"]["overrides"]
        }
        assert fixed == dict(meaning_colors()), panel.title


def test_what_an_operator_looks_for_first_is_there() -> None:
    boards = {board.uid: {panel.title for panel in board.panels} for board in DASHBOARDS}
    assert "Firing alerts" in boards["gateway-overview"]
    assert {"Spend per day", "Spend by tenant and model"} <= boards["gateway-tenants"]


def test_there_is_enough_to_look_at() -> None:
    assert len(DISPLAYED) >= 40


@pytest.mark.parametrize("expr", sorted(set(EXPRESSIONS)))
def test_an_expression_is_promql_about_what_exists(expr: str) -> None:
    promql_parser.parse(fill_variables(expr))
    assert set(NAME.findall(expr)) - KNOWN == set()
    assert NAME.findall(expr)


def test_a_name_that_does_not_exist_would_be_found() -> None:
    assert set(NAME.findall("rate(gateway_typos_total[5m]) / gateway_jobs")) - KNOWN == {
        "gateway_typos_total"
    }


def test_every_runbook_that_is_named_exists_and_every_one_is_named() -> None:
    by_alerts = {Path(rule["annotations"]["runbook"]).stem for rule in ALERTS}
    by_panels = {panel.runbook for _, panel in DISPLAYED if panel.runbook}
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert by_alerts == pages
    assert by_panels <= pages


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_the_address_of_a_runbook_is_absolute_where_the_label_runbooks_is_set(
    rule: dict[str, Any],
) -> None:
    page = Path(rule["annotations"]["runbook"])
    base = "{{ with $externalLabels.runbooks }}{{ . }}{{ else }}docs/runbooks{{ end }}"
    assert rule["annotations"]["runbook_url"] == f"{base}/{page.name}"


def test_every_page_has_meaning_checks_and_a_fix() -> None:
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    for path in RUNBOOKS.glob("*.md"):
        if path.stem == "README":
            continue
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Check", "Fix"]
        assert f"({path.name})" in index
        told = {rule["alert"] for rule in ALERTS if path.name in rule["annotations"]["runbook"]}
        assert all(f"`{alert}`" in text for alert in told), told


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    tried = [
        test
        for name in ("alerts_test.yml", "burn_test.yml")
        for test in yaml.safe_load((RULES / name).read_text(encoding="utf-8"))["tests"]
    ]
    named = {test["name"] for test in tried}
    for rule in ALERTS:
        assert f"{rule['alert']} fires" in named
        assert f"{rule['alert']} does not fire" in named


def test_the_alert_on_defects_knows_every_code() -> None:
    (expr,) = (rule["expr"] for rule in ALERTS if rule["alert"] == "GatewayInternalErrors")
    assert all(code in expr for code in INTERNAL_ERROR_CODES)
    assert INTERNAL_ERROR_CODES <= WARNING_CODES


_COUNTED: Final = re.compile(r"(?:increase|rate)\((\w+?)(?:_count|_bucket|_sum)?[\[{]")
_BESIDE_A_GAUGE: Final = frozenset({"GatewayTenantsUnlabelled"})


def test_an_alert_counts_by_series_that_begin_at_zero() -> None:
    """The first delivery that failed after a worker's start raised nothing.

    A series with an open label appears with its first value, which `increase` does not see.
    """
    begin_at_zero = {
        re.sub(r"_(count|bucket|sum)$", "", metric.name)
        for metric in METRICS
        if all(label.values for label in metric.labels)
    }
    counted = {
        (rule.get("alert", rule.get("record")), name)
        for rule in (*ALERTS, *rules_of("recording.yml"))
        for name in _COUNTED.findall(rule["expr"])
        if name.startswith("gateway_")
    }
    wrong = {(rule, name) for rule, name in counted if name not in begin_at_zero}
    assert {rule for rule, _ in wrong} == _BESIDE_A_GAUGE


@marks.PROMTOOL
@pytest.mark.parametrize(
    "command",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "recording.yml", "alerts.yml"),
        ("test", "rules", "alerts_test.yml", "burn_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    promtool = str(shutil.which("promtool"))
    done = subprocess.run(
        [promtool, *command], cwd=RULES, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr


ALERTMANAGER: Final = yaml.safe_load((RULES / "alertmanager.yml").read_text(encoding="utf-8"))


def alerts_of(matchers: list[str]) -> list[set[str]]:
    """The alerts that each alternative of the matchers' alert names stands for."""
    names = re.findall(r'alertname=~?"(.*?)"', " ".join(matchers))
    return [
        {rule["alert"] for rule in ALERTS if re.fullmatch(name, rule["alert"])}
        for name in "|".join(names).split("|")
    ]


@pytest.mark.parametrize("rule", ALERTMANAGER["inhibit_rules"], ids=str)
def test_an_inhibition_names_alerts_that_exist_and_not_its_own_source(rule: dict[str, Any]) -> None:
    sources, targets = alerts_of(rule["source_matchers"]), alerts_of(rule["target_matchers"])
    assert all(sources)
    assert all(targets)
    assert not any(source & target for source in sources for target in targets)


@marks.AMTOOL
def test_amtool_agrees() -> None:
    amtool = str(shutil.which("amtool"))
    done = subprocess.run(
        [amtool, "check-config", "alertmanager.yml"],
        cwd=RULES,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
