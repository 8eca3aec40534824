"""How long a model's runs take, told from its last ones. Pure statistics; knows no store."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final, Self

from core.jobs.job import Job, JobState

MAX_RUNS: Final = 200
"""Runs that are kept of a model, the last ones."""
MIN_RUNS: Final = 20
"""Below this many runs nothing is foretold."""
_HINT_QUANTILE: Final = 0.1
"""A hint is to come too late for one in ten of the jobs that take it."""
_RUNNING: Final = frozenset({JobState.RUNNING, JobState.CANCELLING})


@dataclass(frozen=True, slots=True)
class Estimate:
    """By when half of all such jobs have ended (`p50`), and nine of ten (`p90`)."""

    p50: datetime
    p90: datetime


@dataclass(frozen=True, slots=True)
class RunHistory:
    """A model's run times, shortest first: from RunComfy's acceptance to its end."""

    times: tuple[timedelta, ...] = ()

    @classmethod
    def from_newest_first(cls, newest_first: Iterable[timedelta]) -> Self:
        """The last `KEPT` of these runs."""
        return cls(tuple(sorted(tuple(newest_first)[:MAX_RUNS])))

    @property
    def has_enough_runs(self) -> bool:
        """Whether there are enough runs to tell anything by."""
        return len(self.times) >= MIN_RUNS

    def fraction_ended(self, elapsed: timedelta) -> float:
        """Which share of the runs had ended at `elapsed`; 0 where none is known."""
        return bisect_right(self.times, elapsed) / len(self.times) if self.times else 0.0

    def optimal_poll_delay(self, elapsed: timedelta, target_lag: timedelta) -> timedelta | None:
        """After how much more time to look, so that nobody's end is `patience` old on average.

        The average is over all runs that were going on at `elapsed`; one that had not ended by the
        look counts nothing. So a look is far off while few runs end, and near where many do. For
        any cost of a look against a second of delay this spends the looks best: where runs end at
        a steady rate the wait is as the root of what both cost.
        None: there is no run to go by, or none took so long.
        """
        first = bisect_right(self.times, elapsed)
        going_on = len(self.times) - first
        if not self.has_enough_runs or not going_on:
            return None
        # The delays of the first k ends, k * wait - their sum, are to be `patience` times all runs.
        owed = target_lag * going_on
        wait = timedelta.max
        for ends, time in enumerate(self.times[first:], start=1):
            if time - elapsed >= wait:
                break
            owed += time - elapsed
            wait = owed / ends
        return wait

    def remaining(self, elapsed: timedelta, quantile: float) -> timedelta | None:
        """After how much more time `share` of the runs had ended that were going on at `elapsed`.

        By nearest rank. None: fewer than `LEAST` runs are known, or none took so long.
        """
        if len(self.times) < MIN_RUNS:
            return None
        longer = self.times[bisect_right(self.times, elapsed) :]
        return longer[ceil(quantile * len(longer)) - 1] - elapsed if longer else None


def run_time(before: Job, after: Job) -> timedelta | None:
    """What a change adds to its model's history: the run that ended with it, if it succeeded.

    RunComfy's own instant of the end counts where it fits between ours; its clock may be off.
    """
    since, ended = after.running_since, after.finished_at
    if before.is_final or after.state is not JobState.SUCCEEDED or since is None or ended is None:
        return None
    theirs = after.upstream_finished_at
    return (theirs if theirs is not None and since < theirs <= ended else ended) - since


def estimate_finish(job: Job, history: RunHistory, now: datetime) -> Estimate | None:
    """When a job that RunComfy has will end. None: it has it not, or nothing can be foretold."""
    if job.running_since is None or job.state not in _RUNNING:
        return None
    elapsed = now - job.running_since
    p50, p90 = history.remaining(elapsed, 0.5), history.remaining(elapsed, 0.9)
    return None if p50 is None or p90 is None else Estimate(now + p50, now + p90)


@dataclass(frozen=True, slots=True)
class PollHintPolicy:
    """The shortest and the longest wait that callers are told between two looks at a job."""

    min_delay: timedelta
    max_delay: timedelta


def poll_hint(job: Job, history: RunHistory, now: datetime, policy: PollHintPolicy) -> timedelta:
    """After what time it is worth looking at a job again."""
    if job.running_since is None or job.state not in _RUNNING:
        return policy.min_delay
    remaining = history.remaining(now - job.running_since, _HINT_QUANTILE)
    return (
        policy.min_delay
        if remaining is None
        else min(max(remaining, policy.min_delay), policy.max_delay)
    )
