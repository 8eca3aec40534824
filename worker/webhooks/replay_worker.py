"""Sends old deliveries again, a few at a time, so that a receiver is not overloaded."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.clock import Clock
from core.store.interfaces import DeliveryRepository, ReplayRepository
from core.webhooks.delivery import DeliveryRange
from core.webhooks.replay import Replay, ReplayRange

_MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """The pace of a tenant's replay: `batch_size` deliveries are examined in each step."""

    events_per_second: int = 20
    batch_size: int = 20
    lease: timedelta = timedelta(seconds=30)
    max_claims: int = 10


class ReplayWorker:
    """Runs replays on any worker; each tenant's replay is on one worker at a time."""

    def __init__(
        self,
        replays: ReplayRepository,
        deliveries: DeliveryRepository,
        clock: Clock,
        policy: ReplayPolicy,
    ) -> None:
        """Replays run at the pace of `policy`."""
        self._replays = replays
        self._deliveries = deliveries
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Advance every replay that is due by one step."""
        for replay in await self._replays.claim_due(self._policy.lease, self._policy.max_claims):
            await self._step(replay)

    async def _step(self, replay: Replay) -> None:
        """Send one batch again. A step that a dead worker left half done is repeated.

        What it had already sent again is pending by then, and is skipped.
        """
        if not replay.ranges:
            await self._replays.update(replay, replay, self._clock.now())
            return
        current, limit = replay.ranges[0], self._policy.batch_size
        remaining = DeliveryRange(current.since, current.until, current.last_delivery_id)
        ids = await self._deliveries.list_oldest_first(replay.tenant, remaining, limit)
        sent = [await self._resend(delivery_id, current) for delivery_id in ids].count(True)
        due_at = self._clock.now() + timedelta(seconds=sent / self._policy.events_per_second)
        before = replay
        for _ in range(_MAX_TRIES):
            if before.ranges[:1] != (current,):
                return
            if await self._replays.update(before, before.advance(ids, limit=limit), due_at):
                return
            before = await self._replays.load(replay.tenant)

    async def _resend(self, delivery_id: str, replay_range: ReplayRange) -> bool:
        delivery = await self._deliveries.load(delivery_id)
        if delivery is None or not replay_range.matches(delivery):
            return False
        return await self._deliveries.enqueue(delivery, delivery.resend(self._clock.now()))
