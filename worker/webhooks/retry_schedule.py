"""Computes when a delivery is attempted again, and when no more. Pure."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.observability.outcomes import FailureKind
from core.retention import MAX_DELIVERY_AGE
from worker.webhooks.outcomes import AttemptFailed, AttemptResult, Delivered


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """The delays before each attempt, each counted from the end of the attempt before.

    `jitter` is the fraction by which a delay is made shorter or longer, so that deliveries that
    failed together are not retried together. `max_retry_after` bounds the receiver's `Retry-After`:
    `max_duration` plus a day must not exceed the retention of results (`core.retention`).
    """

    delays: tuple[timedelta, ...] = (
        timedelta(0),
        timedelta(seconds=5),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=16),
        timedelta(hours=22),
        timedelta(hours=29),
    )
    jitter: float = 0.1
    max_retry_after: timedelta = timedelta(hours=6)
    busy_delay: timedelta = timedelta(seconds=30)
    """The delay after an attempt that failed because of the gateway itself."""
    max_age: timedelta = MAX_DELIVERY_AGE

    @property
    def max_attempts(self) -> int:
        """The number of attempts, the first included."""
        return len(self.delays)

    @property
    def max_duration(self) -> timedelta:
        """The longest time from the first attempt to the last, without the attempts themselves."""
        delays = [max(delay, self.max_retry_after) for delay in self.delays[1:]]
        return sum(delays, timedelta(0)) * (1 + self.jitter)


def next_attempt_at(
    attempt_number: int,
    outcome: AttemptResult,
    now: datetime,
    rng: random.Random,
    policy: SchedulePolicy,
) -> datetime | None:
    """Return when the next attempt is due after number `attempt_number` (from 1) ended `now`.

    None if there is none. The receiver's `Retry-After` is honoured up to the policy's maximum.
    """
    if isinstance(outcome, AttemptFailed) and outcome.kind is FailureKind.BUSY:
        return now + policy.busy_delay * rng.uniform(1, 1 + policy.jitter)
    if (
        isinstance(outcome, Delivered)
        or outcome.kind is FailureKind.GONE
        or attempt_number >= policy.max_attempts
    ):
        return None
    delay = policy.delays[attempt_number] * rng.uniform(1 - policy.jitter, 1 + policy.jitter)
    requested = min(outcome.retry_after or timedelta(0), policy.max_retry_after)
    return now + max(delay, requested * rng.uniform(1, 1 + policy.jitter))
