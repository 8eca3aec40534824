"""Replay: resending the deliveries of a period, a few at a time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.errors import Conflict
from core.webhooks.delivery import UNDELIVERED_STATES, Delivery, DeliveryState

MAX_RANGES: Final = 20


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """The deliveries of `[since, until]` in one of `states`, of one endpoint or of all.

    They are read oldest first; `last_delivery_id` is the last one that was read.
    """

    since: datetime
    until: datetime
    states: frozenset[DeliveryState] = UNDELIVERED_STATES
    endpoint_id: str | None = None
    last_delivery_id: str | None = None

    def matches(self, delivery: Delivery) -> bool:
        """Return whether a delivery is to be resent; a pending one is sent anyway."""
        return (
            delivery.state in self.states
            and delivery.state is not DeliveryState.PENDING
            and self.endpoint_id in {None, delivery.endpoint_id}
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """The ranges of one tenant that are still to be resent, one after the other."""

    tenant: str
    version: int = 0
    ranges: tuple[ReplayRange, ...] = ()

    def with_range(self, replay_range: ReplayRange) -> "Replay":
        """Return the replay with one more range. Raises `Conflict` if there are too many."""
        if len(self.ranges) >= MAX_RANGES:
            raise Conflict("Too many replays are waiting already; try again when some have ended.")
        return self._next((*self.ranges, replay_range))

    def advance(self, scanned_ids: Sequence[str], *, limit: int) -> "Replay":
        """Return the replay after these ids were read; fewer than `limit` end the first range."""
        first, *rest = self.ranges
        if len(scanned_ids) < limit:
            return self._next(tuple(rest))
        return self._next((replace(first, last_delivery_id=scanned_ids[-1]), *rest))

    def _next(self, ranges: tuple[ReplayRange, ...]) -> "Replay":
        return replace(self, version=self.version + 1, ranges=ranges)
