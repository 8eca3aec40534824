"""A token bucket: some events together, then one per interval. Pure."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """`burst` tokens when full, and one more each `interval`.

    Its state is one instant: when it will be full again. A bucket in no one's records is full.
    """

    burst: int
    interval: timedelta

    def take(self, full_at: timedelta, now: timedelta) -> tuple[bool, timedelta]:
        """Return whether there was a token to take, and when the bucket is full after that.

        Times are those of one monotonic clock. An empty bucket stays as it is: what is refused
        does not add up.
        """
        full_at = max(now, full_at)
        if full_at + self.interval - now > self.burst * self.interval:
            return False, full_at
        return True, full_at + self.interval
