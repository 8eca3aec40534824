"""Sending a stretch of events anew, a few at a time: the record and its steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.errors import Conflict
from core.webhooks.delivery import UNDELIVERED_STATES, Delivery, DeliveryState

MAX_RANGES: Final = 20


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """The deliveries of `[since, until]` in one of `states`, for one endpoint or all.

    `after` is the last delivery that was looked at, oldest first.
    """

    since: datetime
    until: datetime
    states: frozenset[DeliveryState] = UNDELIVERED_STATES
    endpoint_id: str | None = None
    last_delivery_id: str | None = None

    def matches(self, delivery: Delivery) -> bool:
        """Whether a delivery is to be sent anew. What is under way anyhow is not."""
        return (
            delivery.state in self.states
            and delivery.state is not DeliveryState.PENDING
            and self.endpoint_id in {None, delivery.endpoint_id}
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What is still to be sent anew for one tenant, one stretch after the other."""

    tenant: str
    version: int = 0
    ranges: tuple[ReplayRange, ...] = ()

    def with_range(self, replay_range: ReplayRange) -> "Replay":
        """With one more stretch. Raises `Conflict` when too many wait already."""
        if len(self.ranges) >= MAX_RANGES:
            raise Conflict("Too many replays wait already; they go on by themselves.")
        return self._next((*self.ranges, replay_range))

    def advance(self, scanned_ids: Sequence[str], *, limit: int) -> "Replay":
        """After a look at these ids; fewer than `asked` say that the stretch has ended."""
        first, *rest = self.ranges
        if len(scanned_ids) < limit:
            return self._next(tuple(rest))
        return self._next((replace(first, last_delivery_id=scanned_ids[-1]), *rest))

    def _next(self, ranges: tuple[ReplayRange, ...]) -> "Replay":
        return replace(self, version=self.version + 1, ranges=ranges)
