"""Computes when to poll a job next, from the run times of its model's last jobs. Pure.

The total rate of polls is limited elsewhere, in the script `claim_due`.
"""

from datetime import timedelta
from random import Random

from core.backoff import add_jitter
from core.jobs.run_times import RunHistory
from worker.jobs.policies import AdaptivePolling, LifecyclePolicy


def first_poll_delay(history: RunHistory, policy: LifecyclePolicy, rng: Random) -> timedelta:
    """Return the delay from RunComfy's acceptance to the first poll."""
    if not history.has_enough_runs:
        return policy.initial_poll_delay
    return next_poll_delay(timedelta(), history, policy, rng)


def next_poll_delay(
    elapsed: timedelta, history: RunHistory, policy: LifecyclePolicy, rng: Random
) -> timedelta:
    """Return the delay before the next poll of a job that RunComfy accepted `elapsed` ago."""
    if not history.has_enough_runs:
        return policy.polling.delay(elapsed, rng)
    delay = history.optimal_poll_delay(elapsed, policy.adaptive_polling.target_lag)
    if delay is None:
        # It has run longer than all known runs: poll often at first, then less and less often.
        return policy.polling.delay(elapsed - history.times[-1], rng)
    longest = _max_delay(elapsed, delay, history, policy.adaptive_polling)
    bounded = min(max(delay, policy.polling.min_delay), longest, policy.polling.max_delay)
    return add_jitter(bounded, policy.adaptive_polling.jitter, rng)


def _max_delay(
    elapsed: timedelta, delay: timedelta, history: RunHistory, adaptive: AdaptivePolling
) -> timedelta:
    """Bound the computed delay: histories are short, and failures end sooner than any run."""
    dense = adaptive.max_delay_young if elapsed < adaptive.old_after else adaptive.max_delay_old
    soon = elapsed + min(delay, adaptive.max_delay_old)
    return (
        adaptive.max_delay_early if history.fraction_ended(soon) < adaptive.early_ratio else dense
    )
