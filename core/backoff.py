"""How long to wait before trying again. Pure; chance is an argument."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` up to `most`, each spread by ±`spread` of itself."""

    initial_delay: timedelta
    max_delay: timedelta
    jitter: float = 0.1

    def delay(self, failures: int, rng: Random) -> timedelta:
        """The wait after the `failures`-th failure in a row (1, 2, …)."""
        doubled = self.initial_delay * 2 ** min(max(failures, 1) - 1, 32)
        return add_jitter(min(doubled, self.max_delay), self.jitter, rng)


@dataclass(frozen=True, slots=True)
class ProportionalInterval:
    """How often to look at what ends nobody knows when: every `share` of the time waited so far.

    Early on that is often, later rarely, and the end is noticed at most `share` late, relatively.
    """

    min_delay: timedelta
    max_delay: timedelta
    ratio: float
    jitter: float = 0.1

    def delay(self, elapsed: timedelta, rng: Random) -> timedelta:
        """The wait before the next look, `elapsed` after the first."""
        return add_jitter(
            min(max(elapsed * self.ratio, self.min_delay), self.max_delay), self.jitter, rng
        )


def add_jitter(duration: timedelta, ratio: float, rng: Random) -> timedelta:
    """`span`, off by up to ±`by` of itself, so that many do not come at once."""
    return duration * (1 + ratio * (2 * rng.random() - 1))
