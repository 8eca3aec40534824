"""When to ask RunComfy again how far a job is: by what its model's last runs took.

Pure. Every wait is for one job alone; how many looks all jobs may have a second is the store's.
"""

from datetime import timedelta
from random import Random

from core.backoff import add_jitter
from core.jobs.run_times import RunHistory
from worker.jobs.policies import AdaptivePolling, LifecyclePolicy


def first_poll_delay(history: RunHistory, policy: LifecyclePolicy, rng: Random) -> timedelta:
    """The wait from RunComfy's acceptance to the first look."""
    if not history.has_enough_runs:
        return policy.initial_poll_delay
    return next_poll_delay(timedelta(), history, policy, rng)


def next_poll_delay(
    elapsed: timedelta, history: RunHistory, policy: LifecyclePolicy, rng: Random
) -> timedelta:
    """The wait before the next look at a job that RunComfy has had for `elapsed`."""
    if not history.has_enough_runs:
        return policy.polling.delay(elapsed, rng)
    wait = history.optimal_poll_delay(elapsed, policy.adaptive_polling.target_lag)
    if wait is None:
        # It outlasted them all: often at first, then ever more rarely, as nobody knows why.
        return policy.polling.delay(elapsed - history.times[-1], rng)
    most = _max_delay(elapsed, wait, history, policy.adaptive_polling)
    within = min(max(wait, policy.polling.min_delay), most, policy.polling.max_delay)
    return add_jitter(within, policy.adaptive_polling.jitter, rng)


def _max_delay(
    elapsed: timedelta, wait: timedelta, history: RunHistory, adaptive: AdaptivePolling
) -> timedelta:
    """Histories are short, and a failure ends sooner than any run: no wait is trusted too far."""
    dense = adaptive.max_delay_young if elapsed < adaptive.old_after else adaptive.max_delay_old
    soon = elapsed + min(wait, adaptive.max_delay_old)
    return (
        adaptive.max_delay_early if history.fraction_ended(soon) < adaptive.early_ratio else dense
    )
