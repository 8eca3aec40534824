"""Works off what is to be sent anew: a few events at a time, so that a receiver is not flooded."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from core.clock import Clock
from core.store.deliveries import Span
from core.webhooks.delivery import Delivery
from core.webhooks.replay import Replay, Stretch

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """At most `per_second` events of a tenant are sent anew; a step looks at `batch`."""

    per_second: int = 20
    batch: int = 20
    lease: timedelta = timedelta(seconds=30)
    at_once: int = 10


class Replays(Protocol):
    """What the replayer asks of the store of replays."""

    async def load(self, tenant: str) -> Replay:
        """A tenant's replay as it stands."""
        ...

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        """Replays whose next step is due, under a lease."""
        ...

    async def move(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """Store how far it is, unless somebody was first."""
        ...


class Posts(Protocol):
    """What the replayer asks of the outbox."""

    async def oldest_first(self, tenant: str, span: Span, limit: int) -> Sequence[str]:
        """Ids of a tenant's deliveries."""
        ...

    async def load(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        ...

    async def post(self, before: Delivery | None, after: Delivery) -> bool:
        """Write a delivery to be sent when it is due."""
        ...


class Replayer:
    """Any worker's; each tenant's replay is one worker's at a time."""

    def __init__(self, replays: Replays, outbox: Posts, clock: Clock, policy: ReplayPolicy) -> None:
        """Steps are `policy.batch` events, paced to `policy.per_second`."""
        self._replays = replays
        self._outbox = outbox
        self._clock = clock
        self._policy = policy

    async def run_once(self) -> None:
        """Take every replay that is due one step on."""
        for replay in await self._replays.claim_due(self._policy.lease, self._policy.at_once):
            await self._step(replay)

    async def _step(self, replay: Replay) -> None:
        """A death in between repeats the step: what was sent anew is pending, and passed over."""
        if not replay.stretches:
            await self._replays.move(replay, replay, self._clock.now())
            return
        stretch, asked = replay.stretches[0], self._policy.batch
        span = Span(stretch.since, stretch.until, stretch.after)
        ids = await self._outbox.oldest_first(replay.tenant, span, asked)
        sent = [await self._resend(name, stretch) for name in ids].count(True)
        due_at = self._clock.now() + timedelta(seconds=sent / self._policy.per_second)
        held = replay
        for _ in range(_TRIES):
            if held.stretches[:1] != (stretch,):
                return
            if await self._replays.move(held, held.past(ids, asked=asked), due_at):
                return
            held = await self._replays.load(replay.tenant)

    async def _resend(self, delivery_id: str, stretch: Stretch) -> bool:
        delivery = await self._outbox.load(delivery_id)
        if delivery is None or not stretch.takes(delivery):
            return False
        return await self._outbox.post(delivery, delivery.resent(self._clock.now()))
