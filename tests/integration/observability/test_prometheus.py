"""The real stack under a real Prometheus: every query of dashboards and alerts has data."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import promql_parser
import pytest
import yaml

from deploy.grafana.boards.index import DASHBOARDS
from deploy.grafana.demo_traffic import SIMULATOR_OPTIONS, open_demo_traffic
from deploy.grafana.live_prometheus import RULES_FOLDER, Prometheus, fill_variables, run_prometheus
from deploy.grafana.panel import Panel
from service.metrics.service_metrics import STATE_MAX_AGE
from simulator.demo import wait_for
from simulator.stack import Stack, StackPlan, run_stack, without_settings
from tests.support import marks

pytestmark = [
    marks.PROMETHEUS,
]

SPAN: Final = timedelta(seconds=35)
STEP: Final = timedelta(seconds=1)
SOON: Final = timedelta(seconds=150)
TOKEN: Final = "operators-token-of-32-characters"
PANELS: Final = [(board, panel) for board in DASHBOARDS for panel in board.panels]
ALERTS: Final = [
    rule
    for group in yaml.safe_load((RULES_FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


class MonitoredStack:
    """A stack after some work, its Prometheus, and every secret that was used."""

    def __init__(self, stack: Stack, prometheus: Prometheus, secrets: list[str]) -> None:
        self.stack = stack
        self.prometheus = prometheus
        self.secrets = secrets


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredStack]:
    """Two services and two workers after half a minute of work with faults, logging at DEBUG."""
    folder = tmp_path_factory.mktemp("watched")
    environment = {
        **without_settings(os.environ),
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_LOG_LEVEL": "DEBUG",
    }
    plan = StackPlan(
        folder,
        environment=environment,
        services=2,
        workers=2,
        runcomfy_options=SIMULATOR_OPTIONS,
        keeps_outputs=True,
    )
    with (
        run_stack(plan) as stack,
        run_prometheus(stack, folder / "prometheus") as prometheus,
        open_demo_traffic(stack, Random(7)) as traffic,
    ):
        traffic.run(SPAN)
        settled = time.time() + STATE_MAX_AGE.total_seconds()
        wait_for(lambda: _is_scraped(prometheus, settled) or None, SOON, "a scrape of all targets")
        secrets = [part for one in traffic.tenants for part in (one.key, one.webhook_secret)]
        yield MonitoredStack(stack, prometheus, [*secrets, TOKEN, "simulated-token"])


def _is_scraped(prometheus: Prometheus, since: float) -> bool:
    """Whether every target was scraped after that instant (seconds since the epoch)."""
    found = prometheus.query("timestamp(up)")
    return bool(found) and all(line.points[-1][1] > since for line in found)


def series(panel: Panel, prometheus: Prometheus) -> dict[str, int]:
    """The number of series that each query of the panel returns."""
    return {q.expr: len(prometheus.query_range(q.expr, SPAN, STEP)) for q in panel.queries}


@pytest.mark.parametrize(
    "panel", [panel for _, panel in PANELS], ids=[f"{b.uid}: {p.title}" for b, p in PANELS]
)
def test_a_panel_has_something_to_show(panel: Panel, monitored: MonitoredStack) -> None:
    found = series(panel, monitored.prometheus)
    print(f"panel: {panel.title}: {sum(found.values())} series")
    assert all(found.values()) or panel.empty_reason is not None, found


def test_few_panels_may_be_empty() -> None:
    assert {panel.title for _, panel in PANELS if panel.empty_reason} == {
        "Balance lasts",
        "Bytes stored",
        "Failed attempts to keep an output",
        "Firing alerts",
        "Models that are stopped",
        "Spend by tenant and model",
        "Warnings",
    }


def selectors(expr: Any) -> Iterator[str]:  # noqa: ANN401 - the parser's many kinds of node
    """The selectors of an expression without their ranges."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr.prettify()
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        if getattr(expr, part, None) is not None:
            yield from selectors(getattr(expr, part))
    for argument in getattr(expr, "args", None) or ():
        yield from selectors(argument)


# Selectors that match nothing after half a minute of work, with the reason.
ABSENT: Final = {
    "gateway_account_spend_usd_per_hour": "known after two readings, a minute apart",
    "gateway_model_circuit_breaker_open": "only a stopped model has a series",
    'gateway_jobs_admitted_total{tenant="other"}': "as long as every tenant has a label",
}


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_asks_for_what_is_there(rule: dict[str, Any], monitored: MonitoredStack) -> None:
    firing = monitored.prometheus.query(rule["expr"])
    asked = list(selectors(promql_parser.parse(fill_variables(rule["expr"]))))
    assert asked
    asked = [one for one in asked if not one.startswith("ALERTS")]  # of other alerts that fired
    found = {selector: len(monitored.prometheus.query(selector)) for selector in asked}
    print(f"alert: {rule['alert']}: {sum(found.values())} series, {len(firing)} beyond")
    assert [selector for selector, n in found.items() if not n and selector not in ABSENT] == []


def test_an_expression_that_is_wrong_would_be_found(monitored: MonitoredStack) -> None:
    assert monitored.prometheus.query("gateway_typo") == []
    with pytest.raises(Exception, match="parse error"):
        monitored.prometheus.query("sum by (")


def test_two_replicas_show_the_same_levels_and_do_not_add_up(monitored: MonitoredStack) -> None:
    ask = monitored.prometheus.query
    assert len(ask("gateway_workers")) == 2
    assert ask("max(gateway_workers)")[0].points[0][1] == 2
    admitted = ask("sum(gateway_jobs_admitted_total)")[0].points[0][1]
    today = ask('sum(max by (tenant) (gateway_tenant_jobs{window="day"}))')[0].points[0][1]
    assert abs(admitted - today) <= 5  # one is read a moment after the other


@marks.PROMTOOL
def test_promtool_accepts_the_metrics(monitored: MonitoredStack) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    for url in monitored.stack.metrics_urls:
        text = httpx.get(url, trust_env=False).content
        done = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_no_secret_is_in_any_log_or_figure(monitored: MonitoredStack) -> None:
    stack = monitored.stack
    told = [path.read_text(errors="replace") for path in Path(stack.plan.folder).glob("*-?.log")]
    told += [httpx.get(url, trust_env=False).text for url in stack.metrics_urls]
    assert sum(map(len, told)) > 100_000
    found = [secret[:12] for secret in monitored.secrets for text in told if secret in text]
    assert found == []
