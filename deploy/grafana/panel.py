"""Panels and dashboards as values, and the PromQL expressions that most panels share."""

from dataclasses import dataclass, replace
from enum import StrEnum


class PanelType(StrEnum):
    """The visualization of a panel."""

    LINES = "lines"
    STACK = "stack"
    NUMBER = "number"
    BARS = "bars"
    TABLE = "table"


class PanelUnit(StrEnum):
    """Units, by Grafana's names."""

    COUNT = "short"
    SECONDS = "s"
    RATIO = "percentunit"
    PER_SECOND = "ops"
    USD = "currencyUSD"
    BYTES = "bytes"
    CORES = "none"


@dataclass(frozen=True, slots=True)
class PromQuery:
    """One PromQL expression, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `width` is in 24ths of the dashboard.

    From the first of `thresholds` on a value is yellow, from the second on red; with
    `lower_is_worse` below them. `runbook` is a page of docs/runbooks. `empty_reason` is why the
    panel may show nothing. `daily`: one point for each of the last 30 days.
    """

    title: str
    description: str
    queries: tuple[PromQuery, ...]
    unit: PanelUnit = PanelUnit.COUNT
    panel_type: PanelType = PanelType.LINES
    width: int = 8
    thresholds: tuple[float, ...] = ()
    lower_is_worse: bool = False
    runbook: str | None = None
    empty_reason: str | None = None
    daily: bool = False

    def with_thresholds(
        self, *thresholds: float, runbook: str, lower_is_worse: bool = False
    ) -> "Panel":
        """Return the panel with thresholds, and the runbook for values beyond them."""
        return replace(self, thresholds=thresholds, runbook=runbook, lower_is_worse=lower_is_worse)

    @property
    def height(self) -> int:
        """Height in rows of Grafana's grid."""
        return 4 if self.panel_type is PanelType.NUMBER else 8


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard: panels in rows, left to right."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]


RATE_INTERVAL = "$__rate_interval"


def number_panel(
    title: str, description: str, expr: str, unit: PanelUnit = PanelUnit.COUNT, width: int = 3
) -> Panel:
    """Return a small panel with one number."""
    return Panel(title, description, (PromQuery(expr),), unit, PanelType.NUMBER, width)


def rate(metric: str, by: str) -> str:
    """Return the rate of a counter per second, summed over processes."""
    return f"sum by ({by}) (rate({metric}[{RATE_INTERVAL}]))"


def increase(metric: str, by: str) -> str:
    """Return the increase of a counter per step, summed over processes."""
    return f"sum by ({by}) (increase({metric}[{RATE_INTERVAL}]))"


def max_gauge(metric: str, by: str = "") -> str:
    """Return a gauge read from Redis. Every service exports the same value: `max`, not `sum`."""
    return f"max by ({by}) ({metric})" if by else f"max({metric})"


def quantile(ratio: float, histogram: str, by: str = "", selector: str = "") -> str:
    """Return a quantile of a histogram over all processes."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({ratio}, "
        f"sum by ({labels}) (rate({histogram}_bucket{selector}[{RATE_INTERVAL}])))"
    )


def submission_failed(window: str) -> str:
    """Return the share of submits that were answered with 5xx.

    As the recording rule of the alerts, which has no labels by which a picker could choose.
    """
    counter = "gateway_submission_duration_seconds_count"
    return f'sum(rate({counter}{{result="failed"}}[{window}])) / sum(rate({counter}[{window}]))'


def delivery_late(window: str) -> str:
    """Return the share of ended deliveries that failed, or took more than 30 s; as above."""
    lag, ended = "gateway_delivery_lag_seconds", "gateway_deliveries_ended_total"
    return (
        f'(1 - sum(rate({lag}_bucket{{le="30.0"}}[{window}])) / (sum(rate({lag}_count[{window}])) '
        f'+ (sum(rate({ended}{{state="failed"}}[{window}])) or vector(0))))'
    )


def quantiles(histogram: str, selector: str = "") -> tuple[PromQuery, ...]:
    """Return the median, p95 and p99 of a histogram."""
    shares = (0.5, 0.95, 0.99)
    return tuple(PromQuery(quantile(s, histogram, "", selector), f"p{s * 100:.0f}") for s in shares)
