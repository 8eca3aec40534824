"""What a panel is, as plain data, and the few shapes of query that most of them share.

Knows PromQL; knows no Grafana.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class PanelType(StrEnum):
    """How a panel draws."""

    LINES = "lines"
    STACK = "stack"
    NUMBER = "number"
    BARS = "bars"


class PanelUnit(StrEnum):
    """Grafana's names of the units that we use."""

    COUNT = "short"
    SECONDS = "s"
    RATIO = "percentunit"
    PER_SECOND = "ops"
    USD = "currencyUSD"
    BYTES = "bytes"
    CORES = "none"


@dataclass(frozen=True, slots=True)
class PromQuery:
    """One PromQL expression; `legend` names its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `width` is of 24; `levels` are thresholds: from there on it is yellow, then red.

    `falling` turns the levels round: below the first it is yellow, below the second red.
    `runbook` is a page of docs/runbooks. `may_be_empty` says why it rightly may show nothing.
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

    def with_thresholds(
        self, *thresholds: float, runbook: str, lower_is_worse: bool = False
    ) -> "Panel":
        """The same with thresholds, and the page that says what to do beyond them."""
        return replace(self, thresholds=thresholds, runbook=runbook, lower_is_worse=lower_is_worse)

    @property
    def height(self) -> int:
        """In Grafana's grid."""
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
    """A small panel with one figure."""
    return Panel(title, description, (PromQuery(expr),), unit, PanelType.NUMBER, width)


def rate(metric: str, by: str) -> str:
    """Per second, summed over processes."""
    return f"sum by ({by}) (rate({metric}[{RATE_INTERVAL}]))"


def increase(metric: str, by: str) -> str:
    """By how much a counter grew in each step, over all processes."""
    return f"sum by ({by}) (increase({metric}[{RATE_INTERVAL}]))"


def max_gauge(metric: str, by: str = "") -> str:
    """What Redis holds: every service shows the same, so the largest is taken, not the sum."""
    return f"max by ({by}) ({metric})" if by else f"max({metric})"


def quantile(ratio: float, histogram: str, by: str = "", selector: str = "") -> str:
    """A quantile of a histogram over all processes."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({ratio}, "
        f"sum by ({labels}) (rate({histogram}_bucket{selector}[{RATE_INTERVAL}])))"
    )


def quantiles(histogram: str, selector: str = "") -> tuple[PromQuery, ...]:
    """The median, and how bad it gets."""
    shares = (0.5, 0.95, 0.99)
    return tuple(PromQuery(quantile(s, histogram, "", selector), f"p{s * 100:.0f}") for s in shares)
