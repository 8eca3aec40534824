"""Slows the answers to callers who are refused again and again."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final

from core.clock import Clock
from service.tenants.token_bucket import TokenBucket

_MAX_OWNERS: Final = 10_000
_MAX_DELAYED: Final = 1_000
"""Answers that wait at a time: each holds a connection. Further ones are not delayed."""
_WRONG_KEYS: Final = TokenBucket(20, timedelta(seconds=1))
_IPV6_HOST_BITS: Final = 64
"""One caller has a whole network of IPv6."""


@dataclass(frozen=True, slots=True)
class DelayPolicy:
    """Answers that find a token in their owner's bucket are immediate; others take `delay`."""

    bucket: TokenBucket = _WRONG_KEYS
    delay: timedelta = timedelta(seconds=1)


REFUSALS: Final = TokenBucket(100, timedelta(milliseconds=10))
"""Of a tenant. A refusal costs as much as what it refuses: a caller who repeats it immediately, on
a few connections, else takes most of a process's time."""


class RefusalDelays:
    """Counts the refusals of each address, or tenant, in a bucket that fills again with time.

    Only refusals are delayed: callers with a valid key behind the same address, of a proxy for
    example, notice nothing.
    """

    def __init__(self, clock: Clock, policy: DelayPolicy) -> None:
        """Start without refusals."""
        self._clock = clock
        self._policy = policy
        self._full_at: dict[str, timedelta] = {}
        self._delayed = 0

    async def record(self, owner: str) -> None:
        """Count a refusal of an address or a tenant, and return when it may be answered."""
        if self._take(_network(owner)) or self._delayed >= _MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await self._clock.sleep(self._policy.delay)
        finally:
            self._delayed -= 1

    def _take(self, owner: str) -> bool:
        """Return whether the bucket had a token left, and take it."""
        now = self._clock.monotonic()
        has_token, full_at = self._policy.bucket.take(self._full_at.pop(owner, now), now)
        if len(self._full_at) >= _MAX_OWNERS:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[owner] = full_at
        return has_token


def _network(address: str) -> str:
    """Return the network of an address in IPv6; any other text as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))
