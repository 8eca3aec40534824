"""How long, how often and how many times: the numbers of a job's life, as values.

Reads no settings.
"""

from dataclasses import dataclass
from datetime import timedelta

from core.backoff import Backoff, ProportionalInterval
from core.retention import LATE_RESULT_TIMEOUT
from core.tenants.tenant import DoubtPolicy

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AdaptivePolling:
    """How looks are spent where a model's last runs tell when its jobs end.

    Found by simulating days (`the polling benchmark`): of waits that make as many calls, none
    found ends sooner.
    """

    target_lag: timedelta = 0.15 * SECOND
    """See `RunHistory.optimal_poll_delay`. More saves calls and finds ends later."""
    max_delay_early: timedelta = 15 * SECOND
    """The longest wait before the share `early_ratio` of the last runs had ended."""
    early_ratio: float = 0.02
    max_delay_young: timedelta = 2.5 * SECOND
    """The longest wait from then on, in a job's first minute (`old_after`)."""
    max_delay_old: timedelta = 5 * SECOND
    """The same of an older job."""
    old_after: timedelta = MINUTE
    jitter: float = 0.05


@dataclass(frozen=True, slots=True)
class LifecyclePolicy:
    """The numbers of a job's life with us."""

    lease: timedelta = 15 * SECOND
    """How long a worker may hold a job without a sign of life; a dead one's jobs wait this long."""
    renew_interval: timedelta = 4 * SECOND
    """How often a worker renews the lease of a submit that is on its way."""
    initial_poll_delay: timedelta = 2 * SECOND
    polling: ProportionalInterval = ProportionalInterval(
        min_delay=SECOND, max_delay=15 * SECOND, ratio=0.1
    )
    """Where little is known of a model. Its bounds hold for every wait."""
    adaptive_polling: AdaptivePolling = AdaptivePolling()
    outage_polling: ProportionalInterval = ProportionalInterval(
        min_delay=2 * SECOND, max_delay=MINUTE, ratio=0.3
    )
    """Between reads while RunComfy gives no usable answer."""
    resubmit_backoff: Backoff = Backoff(initial_delay=SECOND, max_delay=MINUTE, jitter=0.2)
    """Before a submit that surely did not leave is tried again."""
    not_found_timeout: timedelta = MINUTE
    """How long RunComfy may say that it does not know an id before it is believed."""
    min_not_found_polls: int = 4
    """How many times in a row it must have said so by then."""
    result_fetch_timeout: timedelta = HOUR
    """How long the result of a finished job is asked for."""
    doubt_policy: DoubtPolicy = DoubtPolicy.HOLD
    doubt_hold: timedelta = 15 * MINUTE
    cost_read_delays: tuple[timedelta, ...] = (
        10 * SECOND,
        MINUTE,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        12 * HOUR,
    )
    """When a cost that was absent at the end is read again, each counted from the one before."""
    late_result_polling: ProportionalInterval = ProportionalInterval(
        min_delay=5 * SECOND, max_delay=30 * MINUTE, ratio=0.2
    )
    late_result_timeout: timedelta = LATE_RESULT_TIMEOUT
    max_concurrent_submits: int = 10
    max_pending_submits: int = 50
    """Under way or waiting for a place; fewer than a worker's jobs, so that polls keep going while
    RunComfy's submits hang."""
