"""When to ask RunComfy again how far a job is: by what its model's last runs took.

Pure. Every wait is for one job alone; how many looks all jobs may have a second is the store's.
"""

from datetime import timedelta
from random import Random

from core.backoff import spread
from core.jobs.run_times import RunHistory
from worker.jobs.policies import Foresight, LifecyclePolicy


def first_look(history: RunHistory, policy: LifecyclePolicy, rng: Random) -> timedelta:
    """The wait from RunComfy's acceptance to the first look."""
    if not history.known:
        return policy.first_poll
    return next_look(timedelta(), history, policy, rng)


def next_look(
    elapsed: timedelta, history: RunHistory, policy: LifecyclePolicy, rng: Random
) -> timedelta:
    """The wait before the next look at a job that RunComfy has had for `elapsed`."""
    if not history.known:
        return policy.polling.wait(elapsed, rng)
    wait = history.look_in(elapsed, policy.foresight.patience)
    if wait is None:
        # It outlasted them all: often at first, then ever more rarely, as nobody knows why.
        return policy.polling.wait(elapsed - history.times[-1], rng)
    most = _longest(elapsed, wait, history, policy.foresight)
    within = min(max(wait, policy.polling.least), most, policy.polling.most)
    return spread(within, policy.foresight.spread, rng)


def _longest(
    elapsed: timedelta, wait: timedelta, history: RunHistory, foresight: Foresight
) -> timedelta:
    """Histories are short, and a failure ends sooner than any run: no wait is trusted too far."""
    dense = foresight.young if elapsed < foresight.old_from else foresight.old
    soon = elapsed + min(wait, foresight.old)
    return foresight.quiet if history.ended_by(soon) < foresight.quiet_share else dense
