"""How long to wait before trying again. Pure; chance is an argument."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` up to `most`, each spread by ±`spread` of itself."""

    first: timedelta
    most: timedelta
    spread: float = 0.1

    def wait(self, failures: int, rng: Random) -> timedelta:
        """The wait after the `failures`-th failure in a row (1, 2, …)."""
        doubled = self.first * 2 ** min(max(failures, 1) - 1, 32)
        return spread(min(doubled, self.most), self.spread, rng)


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often to look at what ends nobody knows when: every `share` of the time waited so far.

    Early on that is often, later rarely, and the end is noticed at most `share` late, relatively.
    """

    least: timedelta
    most: timedelta
    share: float
    spread: float = 0.1

    def wait(self, elapsed: timedelta, rng: Random) -> timedelta:
        """The wait before the next look, `elapsed` after the first."""
        return spread(min(max(elapsed * self.share, self.least), self.most), self.spread, rng)


def spread(span: timedelta, by: float, rng: Random) -> timedelta:
    """`span`, off by up to ±`by` of itself, so that many do not come at once."""
    return span * (1 + by * (2 * rng.random() - 1))
