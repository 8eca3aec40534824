"""Tenants' webhook endpoints and secrets."""

import hashlib
from typing import Final

from core.clock import Clock, to_ms
from core.retention import DELIVERY_RETENTION
from core.store import keys
from core.store.client import RedisClient, ttl_seconds
from core.store.codecs import REPLAY_CODEC, WEBHOOK_CONFIG_CODEC
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.encryption import SecretCipher
from core.store.scripts import LuaScripts
from core.transactions.webhook_config_update import WebhookConfigUpdate
from core.webhooks.config import VersionedConfig, WebhookConfig

_SCAN_COUNT: Final = 1000


class WebhookConfigStore:
    """The tenants' webhook configs in Redis."""

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        cipher: SecretCipher | None = None,
    ) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._cipher = cipher or SecretCipher()
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def load(self, tenant: str) -> WebhookConfig | None:
        """Return a tenant's webhook config; None for an unknown tenant.

        Raises `SecretsUnreadable`.
        """
        document = await self._load_document(tenant)
        if document is None:
            return None
        return self._cipher.decrypt(WEBHOOK_CONFIG_CODEC.decode(document))

    async def load_versioned(self, tenant: str) -> VersionedConfig:
        """Return a tenant's config and its digest; empty for an unknown tenant.

        Secrets stay encrypted: a job's end must not depend on keys that only a delivery needs.
        """
        document = await self._load_document(tenant)
        config = (
            WebhookConfig(tenant) if document is None else WEBHOOK_CONFIG_CODEC.decode(document)
        )
        return VersionedConfig(config, version_digest(document))

    async def list_tenants(self) -> frozenset[str]:
        """Return the tenants that have a webhook config, deleted ones included."""
        pattern, found = keys.webhooks("*"), set[str]()
        prefix, suffix = pattern.split("*")
        cursor: bytes | int = 0
        while True:
            cursor, page = await self._client.execute(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT
            )
            found.update(key.decode().removeprefix(prefix).removesuffix(suffix) for key in page)
            if int(cursor) == 0:
                return frozenset(found)

    async def _load_document(self, tenant: str) -> bytes | None:
        document: bytes | None = await self._client.execute("HGET", keys.webhooks(tenant), "doc")
        return document

    async def update(self, update: WebhookConfigUpdate) -> bool:
        """Store an update atomically; return False if config or replay has changed since."""
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
                WEBHOOK_CONFIG_CODEC.encode(self._cipher.encrypt(update.after)),
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


def version_digest(document: bytes | None) -> str:
    """Return the digest of a config, as `lib/webhook_config_version.lua` computes it."""
    return hashlib.sha1(document or b"", usedforsecurity=False).hexdigest()
