"""How long, how often and how many times: the numbers of a job's life, as values.

Reads no settings.
"""

from dataclasses import dataclass
from datetime import timedelta

from core.backoff import Backoff, Cadence
from core.tenants.tenant import DoubtPolicy

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Foresight:
    """How looks are spent where a model's last runs tell when its jobs end.

    Found by simulating days (`tests/bench/polling.py`): of waits that make as many calls, none
    found ends sooner.
    """

    patience: timedelta = 0.15 * SECOND
    """See `RunHistory.look_in`. More saves calls and finds ends later."""
    quiet: timedelta = 15 * SECOND
    """The longest wait before the share `quiet_share` of the last runs had ended."""
    quiet_share: float = 0.02
    young: timedelta = 2.5 * SECOND
    """The longest wait from then on, in a job's first minute (`old_from`)."""
    old: timedelta = 5 * SECOND
    """The same of an older job."""
    old_from: timedelta = MINUTE
    spread: float = 0.05


@dataclass(frozen=True, slots=True)
class LifecyclePolicy:
    """The numbers of a job's life with us."""

    lease: timedelta = 15 * SECOND
    """How long a worker may hold a job without a sign of life; a dead one's jobs wait this long."""
    renew_every: timedelta = 4 * SECOND
    """How often a worker renews the lease of a submit that is on its way."""
    first_poll: timedelta = 2 * SECOND
    polling: Cadence = Cadence(least=SECOND, most=15 * SECOND, share=0.1)
    """Where little is known of a model. Its bounds hold for every wait."""
    foresight: Foresight = Foresight()
    trouble: Cadence = Cadence(least=2 * SECOND, most=MINUTE, share=0.3)
    """Between reads while RunComfy gives no usable answer."""
    resubmit: Backoff = Backoff(first=SECOND, most=MINUTE, spread=0.2)
    """Before a submit that surely did not leave is tried again."""
    gone_after: timedelta = MINUTE
    """How long RunComfy may say that it does not know an id before it is believed."""
    gone_looks: int = 4
    """How many times in a row it must have said so by then."""
    collect_for: timedelta = HOUR
    """How long the result of a finished job is asked for."""
    doubt: DoubtPolicy = DoubtPolicy.HOLD
    doubt_hold: timedelta = 15 * MINUTE
    cost_reads: tuple[timedelta, ...] = (
        10 * SECOND,
        MINUTE,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        12 * HOUR,
    )
    """When a cost that was absent at the end is read again, each counted from the one before."""
    late_watch: Cadence = Cadence(least=5 * SECOND, most=30 * MINUTE, share=0.2)
    late_for: timedelta = timedelta(days=6)
    """How long after its end a job's paid result is still waited for."""
    submits_at_once: int = 10
    submits_queued: int = 50
    """Under way or waiting for a place; fewer than a worker's jobs, so that polls keep going while
    RunComfy's submits hang."""
