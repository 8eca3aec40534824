"""Webhook replays: one record per tenant."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.clock import Clock, to_ms
from core.retention import DELIVERY_RETENTION
from core.store import keys
from core.store.client import RedisClient, ttl_seconds
from core.store.codecs import REPLAY_CODEC
from core.store.scripts import LuaScripts
from core.webhooks.replay import Replay


class ReplayStore:
    """One replay for each tenant, worked off by whichever worker claims it."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def load(self, tenant: str) -> Replay:
        """What is still to be sent anew; nothing, where nothing was asked for."""
        document = await self._wire.execute("HGET", keys.replay(tenant), "doc")
        return Replay(tenant) if document is None else REPLAY_CODEC.decode(document)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        """Replays whose next step is due, now under a lease."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.REPLAYS, keys.LIMITS, keys.POLL_RATE],
            [keys.REPLAY_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return [REPLAY_CODEC.decode(document) for document in documents]

    async def update(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """Store how far it is, to go on at `due_at`; False when somebody was first."""
        moved = await self._scripts.call(
            "update_replay",
            [keys.replay(after.tenant), keys.REPLAYS],
            [
                before.version,
                after.version,
                REPLAY_CODEC.encode(after),
                after.tenant,
                to_ms(due_at) if after.ranges else "",
                ttl_seconds(DELIVERY_RETENTION),
            ],
        )
        return bool(moved)
