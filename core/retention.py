"""How long records are kept. Every retention period of the store stands here."""

from datetime import timedelta
from typing import Final

MAX_CACHE_LIFETIME: Final = timedelta(days=7)
"""RunComfy keeps its outputs for 7 days (its API page); what is reused later would lead nowhere."""


MIN_CACHE_LIFETIME: Final = timedelta(seconds=1)


RETENTION = timedelta(days=7)
"""How long a finished job is kept: RunComfy's own time for outputs. It covers the last callback
attempt (84.7 hours after the end, with jitter and `Retry-After` at most 4.5 days) and a day."""


RESULT_GRACE_PERIOD: Final = timedelta(hours=24)
"""How long a result outlives the last callback that was tried or is due."""


DELIVERY_RETENTION: Final = 2 * RETENTION
"""How long a callback is kept after its last attempt: longer than its job, whose end may be a day
after its first callback, and whose life every attempt lengthens."""
