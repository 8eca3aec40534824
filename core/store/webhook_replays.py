"""Replays of webhook deliveries: one record per tenant."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.clock import Clock, to_ms
from core.retention import DELIVERY_RETENTION
from core.store import keys
from core.store.client import RedisClient, ttl_seconds
from core.store.codecs import REPLAY_CODEC, decode_readable
from core.store.scripts import LuaScripts
from core.webhooks.replay import Replay


class ReplayStore:
    """The tenants' replays in Redis. Any worker claims the next step of one."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def load(self, tenant: str) -> Replay:
        """Return a tenant's replay; an empty one if none was requested."""
        document = await self._client.execute("HGET", keys.replay(tenant), "doc")
        return Replay(tenant) if document is None else REPLAY_CODEC.decode(document)

    async def claim_due(self, lease: timedelta, limit: int) -> Sequence[Replay]:
        """Claim replays whose next step is due; no other worker gets them during `lease`."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.REPLAYS, keys.LIMITS, keys.POLL_RATE],
            [keys.REPLAY_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return decode_readable(REPLAY_CODEC, documents)

    async def update(self, before: Replay, after: Replay, due_at: datetime) -> bool:
        """Store a replay's progress; its next step is `due_at`. False if it has changed since."""
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
