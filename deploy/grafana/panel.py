"""What a panel is, as plain data, and the few shapes of query that most of them share.

Knows PromQL; knows no Grafana.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Look(StrEnum):
    """How a panel draws."""

    LINES = "lines"
    STACK = "stack"
    NUMBER = "number"
    BARS = "bars"


class Unit(StrEnum):
    """Grafana's names of the units that we use."""

    COUNT = "short"
    SECONDS = "s"
    RATIO = "percentunit"
    PER_SECOND = "ops"
    USD = "currencyUSD"
    BYTES = "bytes"
    CORES = "none"


@dataclass(frozen=True, slots=True)
class Query:
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
    about: str
    queries: tuple[Query, ...]
    unit: Unit = Unit.COUNT
    look: Look = Look.LINES
    width: int = 8
    levels: tuple[float, ...] = ()
    falling: bool = False
    runbook: str | None = None
    may_be_empty: str | None = None

    def judged(self, *levels: float, runbook: str, falling: bool = False) -> "Panel":
        """The same with thresholds, and the page that says what to do beyond them."""
        return replace(self, levels=levels, runbook=runbook, falling=falling)

    @property
    def height(self) -> int:
        """In Grafana's grid."""
        return 4 if self.look is Look.NUMBER else 8


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: panels in rows, left to right."""

    uid: str
    title: str
    about: str
    panels: tuple[Panel, ...]


WINDOW = "$__rate_interval"


def number(title: str, about: str, expr: str, unit: Unit = Unit.COUNT, width: int = 3) -> Panel:
    """A small panel with one figure."""
    return Panel(title, about, (Query(expr),), unit, Look.NUMBER, width)


def rate(series: str, by: str) -> str:
    """Per second, summed over processes."""
    return f"sum by ({by}) (rate({series}[{WINDOW}]))"


def grown(series: str, by: str) -> str:
    """By how much a counter grew in each step, over all processes."""
    return f"sum by ({by}) (increase({series}[{WINDOW}]))"


def level(series: str, by: str = "") -> str:
    """What Redis holds: every service shows the same, so the largest is taken, not the sum."""
    return f"max by ({by}) ({series})" if by else f"max({series})"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram over all processes."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, "
        f"sum by ({labels}) (rate({histogram}_bucket{where}[{WINDOW}])))"
    )


def quantiles(histogram: str, where: str = "") -> tuple[Query, ...]:
    """The median, and how bad it gets."""
    shares = (0.5, 0.95, 0.99)
    return tuple(Query(quantile(s, histogram, "", where), f"p{s * 100:.0f}") for s in shares)
