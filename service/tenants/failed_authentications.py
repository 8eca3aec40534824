"""Slows the answers to addresses that present one wrong key after the other."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final

from core.clock import Clock
from service.tenants.token_bucket import TokenBucket

_MAX_ADDRESSES: Final = 10_000
_MAX_DELAYED: Final = 1_000
"""Answers that wait at a time: each holds a connection. Further ones are not delayed."""
_BUCKET: Final = TokenBucket(20, timedelta(seconds=1))
_IPV6_HOST_BITS: Final = 64
"""One caller has a whole network of IPv6."""


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """Answers that find a token in their address's bucket are immediate; others take `delay`."""

    bucket: TokenBucket = _BUCKET
    delay: timedelta = timedelta(seconds=1)


class FailedAuthentications:
    """Counts the failures of each address, in a bucket that fills again with time.

    Only answers to wrong keys are delayed: callers with a valid key behind the same address, of a
    proxy for example, notice nothing.
    """

    def __init__(self, clock: Clock, policy: FailurePolicy) -> None:
        """Start without failures."""
        self._clock = clock
        self._policy = policy
        self._full_at: dict[str, timedelta] = {}
        self._delayed = 0

    async def record(self, address: str) -> None:
        """Count a failure, and return when it may be answered."""
        if self._take(_network(address)) or self._delayed >= _MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await self._clock.sleep(self._policy.delay)
        finally:
            self._delayed -= 1

    def _take(self, network: str) -> bool:
        """Return whether the bucket had a token left, and take it."""
        now = self._clock.monotonic()
        has_token, full_at = self._policy.bucket.take(self._full_at.pop(network, now), now)
        if len(self._full_at) >= _MAX_ADDRESSES:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[network] = full_at
        return has_token


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))
