"""Tenants' endpoints and secrets, and what is to be sent anew, in Redis."""

import asyncio
import hashlib
from dataclasses import dataclass

from core.clock import Clock, to_ms
from core.retention import DELIVERY_LIFE
from core.store import keys
from core.store.client import Wire
from core.store.codecs import REPLAYS, SETUPS, TENANTS
from core.store.deliveries import life_seconds, posted_arguments, posted_keys
from core.store.scripts import Scripts
from core.webhooks.config import MarkedSetup, WebhookSetup, reconciled, setup_of
from core.webhooks.delivery import Delivery
from core.webhooks.replay import Replay


@dataclass(frozen=True, slots=True)
class SetupChange:
    """A tenant's next setup, and what goes with it in the same step: callbacks, a replay."""

    before: WebhookSetup
    after: WebhookSetup
    deliveries: tuple[Delivery, ...] = ()
    replay_before: Replay | None = None
    replay_after: Replay | None = None


class WebhookStore:
    """One record for each tenant whose setup was ever changed."""

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def load(self, tenant: str) -> WebhookSetup | None:
        """A tenant's setup, at first what it was created with; None for an unknown tenant."""
        return read_setup(*await self._documents(tenant))

    async def marked(self, tenant: str) -> MarkedSetup:
        """A tenant's setup and its mark (see `Change.setup_mark`); empty for an unknown tenant."""
        documents = await self._documents(tenant)
        return MarkedSetup(read_setup(*documents) or WebhookSetup(tenant), mark_of(*documents))

    async def _documents(self, tenant: str) -> tuple[bytes | None, bytes | None]:
        known, changed = await asyncio.gather(
            self._wire.execute("HGET", keys.tenant(tenant), "doc"),
            self._wire.execute("HGET", keys.webhooks(tenant), "doc"),
        )
        return known, changed

    async def change(self, change: SetupChange) -> bool:
        """Make a change true, all of it; False when somebody was first."""
        now, tenant = self._clock.now(), change.after.tenant
        before, after = change.replay_before, change.replay_after
        changed = await self._scripts.call(
            "change_webhooks",
            [
                keys.webhooks(tenant),
                keys.OUTBOX,
                keys.REPLAYS,
                keys.replay(tenant),
                *posted_keys(change.deliveries),
            ],
            [
                change.before.version,
                change.after.version,
                SETUPS.write(change.after),
                before.version if before else 0,
                after.version if after else 0,
                REPLAYS.write(after) if after else "",
                tenant,
                to_ms(now),
                life_seconds(DELIVERY_LIFE),
                *posted_arguments(change.deliveries, now),
            ],
        )
        return bool(changed)


def read_setup(tenant: bytes | None, changed: bytes | None) -> WebhookSetup | None:
    """A setup by the tenant's record and, where there is one, its own; None without the first."""
    if tenant is None:
        return None
    record = TENANTS.read(tenant)
    return setup_of(record) if changed is None else reconciled(SETUPS.read(changed), record)


def mark_of(tenant: bytes | None, changed: bytes | None) -> str:
    """The mark of what these two records say, as `scripts/lib/setup.lua` finds it."""
    both = (tenant or b"") + b"\n" + (changed or b"")
    return hashlib.sha1(both, usedforsecurity=False).hexdigest()
