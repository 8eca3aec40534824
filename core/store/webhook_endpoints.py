"""Tenants' endpoints and secrets, and what is to be sent anew, in Redis."""

import asyncio
import hashlib
from dataclasses import dataclass

from core.clock import Clock, to_ms
from core.retention import DELIVERY_RETENTION
from core.store import keys
from core.store.client import RedisClient, ttl_seconds
from core.store.codecs import REPLAY_CODEC, TENANT_CODEC, WEBHOOK_CONFIG_CODEC
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.scripts import LuaScripts
from core.webhooks.config import VersionedConfig, WebhookConfig, initial_config, reconcile
from core.webhooks.delivery import Delivery
from core.webhooks.replay import Replay


@dataclass(frozen=True, slots=True)
class WebhookConfigUpdate:
    """A tenant's next setup, and what goes with it in the same step: callbacks, a replay."""

    before: WebhookConfig
    after: WebhookConfig
    deliveries: tuple[Delivery, ...] = ()
    replay_before: Replay | None = None
    replay_after: Replay | None = None


class WebhookConfigStore:
    """One record for each tenant whose setup was ever changed."""

    def __init__(self, wire: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def load(self, tenant: str) -> WebhookConfig | None:
        """A tenant's setup, at first what it was created with; None for an unknown tenant."""
        return parse_webhook_config(*await self._load_documents(tenant))

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        """Return a tenant's config and its digest; empty for an unknown tenant."""
        documents = await self._load_documents(tenant)
        return VersionedConfig(
            parse_webhook_config(*documents) or WebhookConfig(tenant), version_digest(*documents)
        )

    async def _load_documents(self, tenant: str) -> tuple[bytes | None, bytes | None]:
        known, changed = await asyncio.gather(
            self._wire.execute("HGET", keys.tenant(tenant), "doc"),
            self._wire.execute("HGET", keys.webhooks(tenant), "doc"),
        )
        return known, changed

    async def update(self, update: WebhookConfigUpdate) -> bool:
        """Make a change true, all of it; False when somebody was first."""
        now, tenant = self._clock.now(), update.after.tenant
        before, after = update.replay_before, update.replay_after
        changed = await self._scripts.call(
            "change_webhooks",
            [
                keys.webhooks(tenant),
                keys.OUTBOX,
                keys.REPLAYS,
                keys.replay(tenant),
                *new_delivery_keys(update.deliveries),
            ],
            [
                update.before.version,
                update.after.version,
                WEBHOOK_CONFIG_CODEC.encode(update.after),
                before.version if before else 0,
                after.version if after else 0,
                REPLAY_CODEC.encode(after) if after else "",
                tenant,
                to_ms(now),
                ttl_seconds(DELIVERY_RETENTION),
                *new_delivery_arguments(update.deliveries, now),
            ],
        )
        return bool(changed)


def parse_webhook_config(
    tenant_document: bytes | None, config_document: bytes | None
) -> WebhookConfig | None:
    """A setup by the tenant's record and, where there is one, its own; None without the first."""
    if tenant_document is None:
        return None
    record = TENANT_CODEC.decode(tenant_document)
    return (
        initial_config(record)
        if config_document is None
        else reconcile(WEBHOOK_CONFIG_CODEC.decode(config_document), record)
    )


def version_digest(tenant_document: bytes | None, config_document: bytes | None) -> str:
    """Digest of the two records, as `lib/webhook_config_version.lua` computes it."""
    both = (tenant_document or b"") + b"\n" + (config_document or b"")
    return hashlib.sha1(both, usedforsecurity=False).hexdigest()
