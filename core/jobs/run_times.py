"""Statistics of a model's run times, from its most recent runs. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final, Self

from core.jobs.job import Job, JobState, WaitingFor

MAX_RUNS: Final = 200
"""The most recent runs that are kept of a model."""
MIN_RUNS: Final = 20
"""With fewer runs there is no estimate."""
_HINT_QUANTILE: Final = 0.1
"""One in ten jobs has ended when the poll hint expires: later hints would delay more callers."""
_RUNNING: Final = frozenset({JobState.RUNNING, JobState.CANCELLING})


@dataclass(frozen=True, slots=True)
class Estimate:
    """When half of such jobs have ended (`p50`), and when nine of ten have (`p90`)."""

    p50: datetime
    p90: datetime


@dataclass(frozen=True, slots=True)
class RunHistory:
    """A model's run times, shortest first: from RunComfy's acceptance to the end."""

    times: tuple[timedelta, ...] = ()

    @classmethod
    def from_newest_first(cls, newest_first: Iterable[timedelta]) -> Self:
        """Return the history of the last `MAX_RUNS` of these runs."""
        return cls(tuple(sorted(tuple(newest_first)[:MAX_RUNS])))

    @property
    def has_enough_runs(self) -> bool:
        """Whether there are enough runs for an estimate."""
        return len(self.times) >= MIN_RUNS

    def fraction_ended(self, elapsed: timedelta) -> float:
        """Return the share of runs that had ended at `elapsed`; 0 if no run is known."""
        return bisect_right(self.times, elapsed) / len(self.times) if self.times else 0.0

    def optimal_poll_delay(self, elapsed: timedelta, target_lag: timedelta) -> timedelta | None:
        """Return the delay before the next poll that keeps the average detection lag at the target.

        The average is over all runs that were in progress at `elapsed`; a run that has not ended
        by the poll counts as 0. So polls are rare while few runs end, and frequent while many do.
        For any price of a poll relative to a second of lag, this uses polls best: where runs end
        at a constant rate, the delay grows with the square root of that ratio.

        None: there are too few runs, or none took so long.
        """
        first = bisect_right(self.times, elapsed)
        in_progress = len(self.times) - first
        if not self.has_enough_runs or not in_progress:
            return None
        # After a delay d, the lags of the k runs that ended in it add up to k * d - sum(ends), and
        # must equal target_lag * in_progress. Solved for d with k = 1, 2, … until the next run
        # would end after d.
        lag_and_ends, ended = target_lag * in_progress, 0
        for time in self.times[first:]:
            end = time - elapsed
            if ended and end * ended >= lag_and_ends:
                break
            lag_and_ends += end
            ended += 1
        return lag_and_ends / ended

    def remaining(self, elapsed: timedelta, quantile: float) -> timedelta | None:
        """Return the time until `quantile` of the runs in progress at `elapsed` had ended.

        By nearest rank. None: fewer than `MIN_RUNS` runs are known, or none took so long.
        """
        if len(self.times) < MIN_RUNS:
            return None
        longer = self.times[bisect_right(self.times, elapsed) :]
        return longer[ceil(quantile * len(longer)) - 1] - elapsed if longer else None


def run_time(before: Job, after: Job) -> timedelta | None:
    """Return the run time that a change adds to its model's history; None unless it succeeded.

    RunComfy's own end time is used if it lies between acceptance and end as the gateway recorded
    them; else RunComfy's clock is wrong.
    """
    since, ended = after.running_since, after.finished_at
    if after.state is not JobState.SUCCEEDED or before.is_final or since is None or ended is None:
        return None
    reported = after.upstream_finished_at
    if before.state is JobState.ARCHIVING and reported is None:
        return None  # the end of the run is not known, only that of the archive
    return (reported if reported is not None and since < reported <= ended else ended) - since


def estimate_finish(job: Job, history: RunHistory, now: datetime) -> Estimate | None:
    """Return when a running job will end; None if it is not running, or too little is known."""
    if job.running_since is None or job.state not in _RUNNING:
        return None
    elapsed = now - job.running_since
    p50, p90 = history.remaining(elapsed, 0.5), history.remaining(elapsed, 0.9)
    return None if p50 is None or p90 is None else Estimate(now + p50, now + p90)


@dataclass(frozen=True, slots=True)
class PollHintPolicy:
    """The limits of the `Retry-After` that callers get as a poll hint."""

    min_delay: timedelta
    max_delay: timedelta


def poll_hint(job: Job, history: RunHistory, now: datetime, policy: PollHintPolicy) -> timedelta:
    """Return the delay after which a caller should poll the job again."""
    if job.waiting_for is WaitingFor.NOT_BEFORE:
        remaining: timedelta | None = job.ready_at - now
    elif job.running_since is None or job.state not in _RUNNING:
        return policy.min_delay
    else:
        remaining = history.remaining(now - job.running_since, _HINT_QUANTILE)
    return (
        policy.min_delay
        if remaining is None
        else min(max(remaining, policy.min_delay), policy.max_delay)
    )
