"""When a callback is tried again, and when no more. Knows no HTTP, no queue and no endpoint."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.observability.outcomes import FailureKind
from core.retention import MAX_DELIVERY_AGE
from worker.webhooks.outcomes import AttemptResult, Delivered


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """The waits before each attempt, each counted from the end of the attempt before.

    `jitter` is the part by which a wait may be shorter or longer, so that what failed together
    does not return together. `max_retry_after` bounds what a receiver may ask for: `longest`
    plus a day must fit into the time that results are kept.
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
    max_age: timedelta = MAX_DELIVERY_AGE

    @property
    def max_attempts(self) -> int:
        """How many attempts there are in all."""
        return len(self.delays)

    @property
    def max_duration(self) -> timedelta:
        """The latest that the last attempt can start after the first, not counting attempts."""
        waits = [max(wait, self.max_retry_after) for wait in self.delays[1:]]
        return sum(waits, timedelta(0)) * (1 + self.jitter)


def next_attempt_at(
    attempt_number: int,
    outcome: AttemptResult,
    now: datetime,
    rng: random.Random,
    policy: SchedulePolicy,
) -> datetime | None:
    """When to try again after the attempt of this number (from 1) ended `now`; None for never.

    Never earlier than the receiver asked by `Retry-After`, as far as the policy's bound goes.
    """
    if (
        isinstance(outcome, Delivered)
        or outcome.kind is FailureKind.GONE
        or attempt_number >= policy.max_attempts
    ):
        return None
    wait = policy.delays[attempt_number] * rng.uniform(1 - policy.jitter, 1 + policy.jitter)
    asked = min(outcome.retry_after or timedelta(0), policy.max_retry_after)
    return now + max(wait, asked * rng.uniform(1, 1 + policy.jitter))
