"""The times and limits of a job's life in the worker, as values."""

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
    """Polling of a model with enough known runs to predict when its jobs end.

    The figures come from simulated days (`tests/bench/scenarios/polling.py`): no other delays that
    make as many calls detected the ends sooner.
    """

    target_lag: timedelta = 0.15 * SECOND
    """See `RunHistory.optimal_poll_delay`. A higher value saves calls and detects ends later."""
    max_delay_early: timedelta = 15 * SECOND
    """Maximum delay until a fraction `early_ratio` of the last runs had ended."""
    early_ratio: float = 0.02
    max_delay_young: timedelta = 2.5 * SECOND
    """Maximum delay after that, until the job is `old_after` old."""
    max_delay_old: timedelta = 5 * SECOND
    """Maximum delay after that."""
    old_after: timedelta = MINUTE
    jitter: float = 0.05


@dataclass(frozen=True, slots=True)
class LifecyclePolicy:
    """The times and limits of a job's life."""

    lease: timedelta = 15 * SECOND
    """How long a worker holds a job without renewal; the jobs of a dead worker wait this long."""
    renew_interval: timedelta = 4 * SECOND
    """How often a worker renews the lease of a submit in flight: three tries fit into one lease."""
    initial_poll_delay: timedelta = 2 * SECOND
    polling: ProportionalInterval = ProportionalInterval(
        min_delay=SECOND, max_delay=15 * SECOND, ratio=0.1
    )
    """For a model with few known runs. Its minimum and maximum hold for all polling."""
    adaptive_polling: AdaptivePolling = AdaptivePolling()
    outage_polling: ProportionalInterval = ProportionalInterval(
        min_delay=2 * SECOND, max_delay=MINUTE, ratio=0.3
    )
    """Between calls while RunComfy gives no usable answer."""
    resubmit_backoff: Backoff = Backoff(initial_delay=SECOND, max_delay=MINUTE, jitter=0.2)
    """Before a submit that certainly was not sent is tried again."""
    source_retries: ProportionalInterval = ProportionalInterval(
        min_delay=2 * SECOND, max_delay=MINUTE, ratio=0.5
    )
    """Between reads of a private source that does not answer."""
    source_timeout: timedelta = 15 * MINUTE
    """How long a job waits for one."""
    step_backoff: Backoff = Backoff(initial_delay=SECOND, max_delay=MINUTE, jitter=0.2)
    """Before a step that raised an exception runs again."""
    max_step_failures: int = 8
    """How many steps in one state may raise until the job ends."""
    not_found_timeout: timedelta = MINUTE
    """How long RunComfy must answer 404 for a known id before the job fails."""
    min_not_found_polls: int = 4
    """How many times in a row it must have answered 404 by then."""
    result_fetch_timeout: timedelta = HOUR
    """How long the fetch of a finished job's result is retried."""
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
    """When a cost that was absent at the end is read again, each after the read before."""
    late_result_polling: ProportionalInterval = ProportionalInterval(
        min_delay=5 * SECOND, max_delay=30 * MINUTE, ratio=0.2
    )
    late_result_timeout: timedelta = LATE_RESULT_TIMEOUT
    max_concurrent_submits: int = 10
    max_pending_submits: int = 50
    """Submits in flight or waiting for one of the slots. Lower than a worker's concurrency, so that
    polls continue while submits hang."""
