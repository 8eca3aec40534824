"""Sending a stretch of events anew, a few at a time: the record and its steps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.errors import Conflict
from core.webhooks.delivery import MISSED, Delivery, DeliveryState

MOST_STRETCHES: Final = 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """The deliveries of `[since, until]` in one of `states`, for one endpoint or all.

    `after` is the last delivery that was looked at, oldest first.
    """

    since: datetime
    until: datetime
    states: frozenset[DeliveryState] = MISSED
    endpoint: str | None = None
    after: str | None = None

    def takes(self, delivery: Delivery) -> bool:
        """Whether a delivery is to be sent anew. What is under way anyhow is not."""
        return (
            delivery.state in self.states
            and delivery.state is not DeliveryState.PENDING
            and self.endpoint in {None, delivery.endpoint}
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What is still to be sent anew for one tenant, one stretch after the other."""

    tenant: str
    version: int = 0
    stretches: tuple[Stretch, ...] = ()

    def adding(self, stretch: Stretch) -> "Replay":
        """With one more stretch. Raises `Conflict` when too many wait already."""
        if len(self.stretches) >= MOST_STRETCHES:
            raise Conflict("Too many replays wait already; they go on by themselves.")
        return self._next((*self.stretches, stretch))

    def past(self, looked_at: Sequence[str], *, asked: int) -> "Replay":
        """After a look at these ids; fewer than `asked` say that the stretch has ended."""
        first, *rest = self.stretches
        if len(looked_at) < asked:
            return self._next(tuple(rest))
        return self._next((replace(first, after=looked_at[-1]), *rest))

    def _next(self, stretches: tuple[Stretch, ...]) -> "Replay":
        return replace(self, version=self.version + 1, stretches=stretches)
