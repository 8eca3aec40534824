"""Delays between attempts. Pure: the random source is an argument."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `initial_delay` up to `max_delay`, each varied by ±`jitter`."""

    initial_delay: timedelta
    max_delay: timedelta
    jitter: float = 0.1

    def delay(self, failures: int, rng: Random) -> timedelta:
        """Return the delay after the `failures`-th failure in a row (1, 2, …)."""
        # The exponent is bounded: a job that fails for weeks must not overflow `timedelta`.
        doubled = self.initial_delay * 2 ** min(max(failures, 1) - 1, 32)
        return add_jitter(min(doubled, self.max_delay), self.jitter, rng)


@dataclass(frozen=True, slots=True)
class ProportionalInterval:
    """A poll interval for work of unknown duration: `ratio` of the time waited so far.

    Polls are frequent at first and rare later; the end is noticed at most `ratio` late, relative
    to the duration.
    """

    min_delay: timedelta
    max_delay: timedelta
    ratio: float
    jitter: float = 0.1

    def delay(self, elapsed: timedelta, rng: Random) -> timedelta:
        """Return the delay before the next poll, `elapsed` after the first one."""
        return add_jitter(
            min(max(elapsed * self.ratio, self.min_delay), self.max_delay), self.jitter, rng
        )


def add_jitter(duration: timedelta, ratio: float, rng: Random) -> timedelta:
    """Return `duration` varied by up to ±`ratio`, so that many waiters do not act together."""
    return duration * (1 + ratio * (2 * rng.random() - 1))
