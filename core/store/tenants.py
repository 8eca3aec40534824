"""Tenants, their API keys and their usage.

A key is stored as its digest only. Usage is written by scripts: `admit_jobs` reserves, `update_job`
settles.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from core.billing.usage import Budget, Usage
from core.billing.usage_history import DayUsage, Dimension, window_usage
from core.clock import MILLISECOND, Clock, from_ms, to_ms
from core.jobs.job import PublicStatus
from core.retention import DELETED_TENANT_RETENTION
from core.store import keys
from core.store.client import Argument, RedisClient, ttl_seconds
from core.store.codecs import API_KEY_CODEC, TENANT_CODEC, WEBHOOK_CONFIG_CODEC
from core.store.encryption import SecretCipher
from core.store.files import load_file_usage
from core.store.interfaces import UsageHistoryRepository
from core.store.scripts import LuaScripts
from core.store.wake_queue import dispatch_arguments
from core.tenants.addresses import network_bits
from core.tenants.api_keys import ApiKey, ApiKeyUsage, KeyLimits
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits, lua_pattern
from core.tenants.tenant import Tenant
from core.tenants.top_ups import TopUp
from core.tenants.windows import window_name
from core.webhooks.config import WebhookConfig

MAX_KEYS_PER_TENANT: Final = 20
_LONGEST_WINDOW: Final = timedelta(days=31)
"""Usage is read so far ahead too: a clock that went back left jobs in days to come."""


class TenantStore:
    """Tenants and API keys in Redis."""

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        usage_history: UsageHistoryRepository,
        cipher: SecretCipher | None = None,
    ) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._cipher = cipher or SecretCipher()
        self._usage_history = usage_history
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def create(
        self, tenant: Tenant, key: ApiKey, config: WebhookConfig | None = None
    ) -> bool:
        """Store a new tenant with its first API key; return False if the name is taken.

        Without `config` the tenant has no webhook endpoint and no secret.
        """
        config = config or WebhookConfig(tenant.name)
        created = await self._scripts.call(
            "create_tenant",
            [
                keys.tenant(tenant.name),
                keys.TENANTS,
                keys.api_key(key.digest),
                keys.tenant_keys(tenant.name),
                keys.PAUSES,
                keys.webhooks(tenant.name),
            ],
            [
                tenant.name,
                *_key_arguments(key),
                config.version,
                WEBHOOK_CONFIG_CODEC.encode(self._cipher.encrypt(config)),
                *tenant_fields(tenant),
            ],
        )
        return bool(created)

    async def load(self, name: str) -> Tenant | None:
        """Return a tenant; None if there is none. A deleted tenant is returned while it is kept."""
        document = await self._client.execute("HGET", keys.tenant(name), "doc")
        return None if document is None else TENANT_CODEC.decode(document)

    async def list_names(self) -> frozenset[str]:
        """Return the names of all tenants."""
        members = await self._client.execute("SMEMBERS", keys.TENANTS)
        return frozenset(name.decode() for name in members)

    async def change(self, before: Tenant, after: Tenant) -> bool:
        """Store a tenant's next record, in force from the next admission.

        Return False if the record has changed since `before` was read, or the tenant is deleted.
        Limits below the number of running or waiting jobs affect no job that was admitted.
        """
        now = self._clock.now()
        changed = await self._scripts.call(
            "change_tenant",
            [keys.tenant(after.name), keys.TENANTS],
            [
                before.version,
                after.name,
                to_ms(now),
                *dispatch_arguments(now),
                *tenant_fields(after),
            ],
        )
        return bool(changed)

    async def delete(self, before: Tenant, after: Tenant) -> bool:
        """Delete a tenant: its keys stop working; open jobs go on and send their webhooks."""
        revoked = await self._scripts.call(
            "delete_tenant",
            [
                keys.tenant(after.name),
                keys.TENANTS,
                keys.tenant_keys(after.name),
                keys.QUEUE_TAGS,
                keys.WAITING,
                keys.FILES,
                keys.tenant_files(after.name),
                *_tenant_owned_keys(after.name),
            ],
            [
                before.version,
                after.name,
                keys.api_key(""),
                ttl_seconds(DELETED_TENANT_RETENTION),
                *tenant_fields(after),
            ],
        )
        return int(revoked) >= 0

    async def add_key(self, key: ApiKey) -> bool:
        """Add an API key; return False if the tenant has the maximum, or does not exist.

        Expired keys stay listed until a new key needs their place.
        """
        added = await self._scripts.call(
            "add_key",
            [keys.TENANTS, keys.api_key(key.digest), keys.tenant_keys(key.tenant)],
            [
                key.tenant,
                *_key_arguments(key),
                MAX_KEYS_PER_TENANT,
                to_ms(self._clock.now()),
                keys.api_key(""),
                *_key_limit_fields(key.limits),
            ],
        )
        return int(added) == 1

    async def revoke_key(self, tenant: str, digest: str) -> bool:
        """Revoke an API key; its jobs go on. Return False if it is not a key of this tenant."""
        revoked = await self._scripts.call(
            "revoke_key", [keys.api_key(digest), keys.tenant_keys(tenant)], [digest]
        )
        return bool(revoked)

    async def list_keys(self, tenant: str) -> Sequence[ApiKeyUsage]:
        """Return a tenant's API keys with their last use, oldest first."""
        digests = await self._client.execute("SMEMBERS", keys.tenant_keys(tenant))
        rows = await asyncio.gather(
            *(
                self._client.execute("HMGET", keys.api_key(digest.decode()), "doc", "last_used_at")
                for digest in digests
            )
        )
        found = (_parse_key_usage(*row) for row in rows if row[0] is not None)
        return sorted(found, key=lambda use: use.api_key.created_at)

    async def read_usage(
        self, tenant: str, budget: Budget, now: datetime, *, by_model: bool = False
    ) -> Usage:
        """Return the tenant's usage in the windows of `now`, and its open jobs.

        `by_model` also reads each day of the windows, for the sums of each model.
        """
        history = self._usage_history
        windows = budget.calendar.windows_at(now)
        today, week, month, _ = windows
        first = min(day for day in (week.first_day, month.first_day) if day is not None)
        last = (today.first_day or first) + _LONGEST_WINDOW
        files, running, queued, waiting, kept, days = await asyncio.gather(
            load_file_usage(self._client, tenant, now),
            self._client.execute("HGET", keys.RUNNING, f"tenant:{tenant}"),
            self._client.execute("HGET", keys.WAITING, tenant),
            self._client.execute("HGET", keys.WAITING_FOR, f"tenant:{tenant}"),
            history.read_windows(tenant),
            _collect(history.read_days(tenant, first, last, Dimension.MODEL))
            if by_model
            else _none(),
        )
        return Usage(
            budget,
            tuple(window_usage(window, kept, days) for window in windows),
            int(running or 0),
            int(queued or 0) + int(waiting or 0),
            now,
            kept,
            files,
        )


async def _collect(days: AsyncIterator[DayUsage]) -> list[DayUsage]:
    return [day async for day in days]


async def _none() -> list[DayUsage]:
    return []


def _parse_key_usage(doc: bytes, used: bytes | None) -> ApiKeyUsage:
    return ApiKeyUsage(API_KEY_CODEC.decode(doc), None if used is None else from_ms(int(used)))


def _tenant_owned_keys(name: str) -> list[str]:
    # Keys with the tenant's lifetime: only its deletion sets their expiry.
    return [
        keys.webhooks(name),
        keys.tenant_jobs(name),
        keys.references(name),
        keys.budget_thresholds(name),
        keys.stored_bytes(name),
        keys.file_usage(name),
        keys.usage(name),
        *(keys.jobs_with_status(name, status) for status in PublicStatus),
    ]


def _key_arguments(key: ApiKey) -> list[Argument]:
    return [
        key.digest,
        ",".join(sorted(key.scopes)),
        "" if key.expires_at is None else to_ms(key.expires_at),
        API_KEY_CODEC.encode(key),
    ]


def _key_limit_fields(limits: KeyLimits) -> list[Argument]:
    """Return the fields of a key's own limits that scripts read, alternating with their values."""
    fields: dict[str, Argument] = {}
    if limits.addresses:
        fields["addresses"] = " ".join(map(network_bits, limits.addresses))
    if limits.models:
        fields["models"] = "\n".join(map(lua_pattern, limits.models))
    for name in ("usd_per_day", "usd_per_month"):
        budget = getattr(limits, name)
        if budget is not None:
            fields[name] = int(budget)
    return [part for pair in fields.items() for part in pair]


def tenant_fields(tenant: Tenant) -> list[Argument]:
    """Return a tenant's hash as alternating names and values: record and inputs of scripts."""
    limits = tenant.limits
    fields: dict[str, Argument] = {
        "version": tenant.version,
        "doc": TENANT_CODEC.encode(tenant),
        "disabled": int(tenant.disabled),
        "keep_inputs": int(tenant.keep_inputs),
        "result_ttl": "" if tenant.result_ttl is None else tenant.result_ttl // MILLISECOND,
        "models": "\n".join(lua_pattern(pattern) for pattern in limits.models),
        "calendar": str(tenant.calendar),
        "archive": _scalar_field(tenant.archive),
        "top_ups": "\n".join(_top_up_lines(tenant.top_ups)),
    }
    for name in _SCALAR_LIMIT_FIELDS:
        fields[name] = _scalar_field(getattr(limits, name))
    fields["calls_per_minute"] = _scalar_field(limits.effective_calls_per_minute)
    fields |= _cache_fields(tenant.cache_policy)
    return [part for pair in fields.items() for part in pair]


def _top_up_lines(top_ups: Sequence[TopUp]) -> Iterator[str]:
    """Yield a line for each window of each top-up, in the order in which they are used."""
    for one in sorted(top_ups, key=lambda one: (one.until, one.created_at)):
        for kind in one.windows:
            first, last = window_name(kind, one.first_day), window_name(kind, one.last_day)
            yield f"{kind} {int(one.amount)} {to_ms(one.until)} {first} {last}"


_SCALAR_LIMIT_FIELDS: Final = tuple(
    limit.name for limit in dataclasses.fields(Limits) if limit.name != "models"
)


def _cache_fields(policy: TenantCachePolicy) -> dict[str, Argument]:
    lifetime = policy.lifetime
    return {
        "cache": _scalar_field(policy.cache),
        "cache_ms": "" if lifetime is None else lifetime // MILLISECOND,
        "cache_shared": _flag_field(yes=policy.shared),
        "idempotency_required": _flag_field(yes=policy.idempotency_required),
        "promote": _flag_field(yes=policy.promote),
    }


def _flag_field(*, yes: bool) -> Argument:
    return "1" if yes else ""


def _scalar_field(value: float | str | None) -> Argument:
    # A script reads a number; Redis would get an IntEnum's name.
    if value is None:
        return ""
    return int(value) if isinstance(value, int) else value
