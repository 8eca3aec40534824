"""What the operators' commands do in the store, so that the first tenant needs no service."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from cli.environment import read_settings
from core.clock import SystemClock
from core.errors import Conflict, GatewayError, InvalidInput, NotFound
from core.ids import IdSource, SystemIds
from core.settings import ProcessSettings
from core.store.connection import Wire, connection_source
from core.store.lua import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.targets import Refusal, check_url
from core.tenants import KeyRecord, Tenant, check_name, digest_of, mint_key, mint_webhook_secret
from service.settings import ServiceSettings

T = TypeVar("T")
FAILED: Final = 1
"""Exit status of a command that could not do what it was asked."""


def perform(work: Callable[[ServiceSettings], Coroutine[Any, Any, T]]) -> T:
    """Do `work` to its end. What goes wrong ends the process with one line on stderr."""
    settings = read_settings(ServiceSettings)
    try:
        return asyncio.run(work(settings))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant and what is shown of it once."""

    tenant: Tenant
    key: str
    webhook_secret: str


async def create_tenant(settings: ServiceSettings, name: str, webhook: str | None) -> NewTenant:
    """Raises `InvalidInput` for a name or URL, `Conflict` for a name that is taken."""
    check_name(name)
    judged = None if webhook is None else check_url(webhook, settings.target_policy())
    if isinstance(judged, Refusal):
        raise InvalidInput(f"--webhook: {judged.message}.")
    ids, now = SystemIds(), SystemClock().now()
    made = _mint(name, webhook, ids, now)
    record = KeyRecord(digest=digest_of(made.key), tenant=name, created_at=now)
    async with _tenants(settings) as tenants:
        if not await tenants.create(made.tenant, record):
            raise Conflict(f"The tenant {name} exists already.")
    return made


async def load_tenant(settings: ProcessSettings, name: str) -> Tenant:
    """Raises `NotFound`."""
    async with _tenants(settings) as tenants:
        tenant = await tenants.load(check_name(name))
    if tenant is None:
        raise NotFound(f"There is no tenant {name}.")
    return tenant


async def tenant_names(settings: ProcessSettings) -> list[str]:
    """Every tenant's name, sorted."""
    async with _tenants(settings) as tenants:
        return sorted(await tenants.names())


def _mint(name: str, webhook: str | None, ids: IdSource, now: datetime) -> NewTenant:
    secret = mint_webhook_secret(ids.secret())
    tenant = Tenant(name=name, created_at=now, webhook=webhook, webhook_secrets=(secret,))
    return NewTenant(tenant, mint_key(name, ids.secret()), secret)


@asynccontextmanager
async def _tenants(settings: ProcessSettings) -> AsyncIterator[TenantStore]:
    async with Wire(connection_source(settings.redis, "cli")) as wire:
        yield TenantStore(wire, Scripts(wire, read_scripts()), SystemClock())
