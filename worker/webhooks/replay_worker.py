"""Works off what is to be sent anew: a few events at a time, so that a receiver is not flooded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from core.clock import Clock
from core.store.deliveries import DeliveryRange
from core.webhooks.delivery import Delivery
from core.webhooks.replay import Replay, ReplayRange

_MAX_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """At most `per_second` events of a tenant are sent anew; a step looks at `batch`."""

    events_per_second: int = 20
    batch_size: int = 20
    lease: timedelta = timedelta(seconds=30)
    max_claims: int = 10


class ReplayRepository(Protocol):
    """What the replayer asks of the store of replays."""

    async def load(self, tenant: str) -> Replay:
        """A tenant's replay as it stands."""
        ...

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        """Replays whose next step is due, under a lease."""
        ...

    async def update(self, before: Replay, after: Replay, next_run_at: datetime) -> bool:
        """Store how far it is, unless somebody was first."""
        ...


class ReplayOutbox(Protocol):
    """What the replayer asks of the outbox."""

    async def list_oldest_first(
        self, tenant: str, delivery_range: DeliveryRange, limit: int
    ) -> Sequence[str]:
        """Ids of a tenant's deliveries."""
        ...

    async def load(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        ...

    async def enqueue(self, before: Delivery | None, after: Delivery) -> bool:
        """Write a delivery to be sent when it is due."""
        ...


class ReplayWorker:
    """Any worker's; each tenant's replay is one worker's at a time."""

    def __init__(
        self, replays: ReplayRepository, outbox: ReplayOutbox, clock: Clock, policy: ReplayPolicy
    ) -> None:
        """Steps are `policy.batch` events, paced to `policy.per_second`."""
        self._replays = replays
        self._outbox = outbox
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Take every replay that is due one step on."""
        for replay in await self._replays.claim_due(self._policy.lease, self._policy.max_claims):
            await self._step(replay)

    async def _step(self, replay: Replay) -> None:
        """A death in between repeats the step: what was sent anew is pending, and passed over."""
        if not replay.ranges:
            await self._replays.update(replay, replay, self._clock.now())
            return
        stretch, asked = replay.ranges[0], self._policy.batch_size
        span = DeliveryRange(stretch.since, stretch.until, stretch.last_delivery_id)
        ids = await self._outbox.list_oldest_first(replay.tenant, span, asked)
        sent = [await self._resend(name, stretch) for name in ids].count(True)
        due_at = self._clock.now() + timedelta(seconds=sent / self._policy.events_per_second)
        held = replay
        for _ in range(_MAX_TRIES):
            if held.ranges[:1] != (stretch,):
                return
            if await self._replays.update(held, held.advance(ids, limit=asked), due_at):
                return
            held = await self._replays.load(replay.tenant)

    async def _resend(self, delivery_id: str, replay_range: ReplayRange) -> bool:
        delivery = await self._outbox.load(delivery_id)
        if delivery is None or not replay_range.matches(delivery):
            return False
        return await self._outbox.enqueue(delivery, delivery.resend(self._clock.now()))
