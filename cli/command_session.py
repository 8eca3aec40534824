"""Opens what a command works with: settings, and the stores in Redis."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from cli.settings_errors import load_settings
from core.clock import SystemClock
from core.observability.events import Event
from core.store.client import RedisClient, build_connection_pool
from core.store.encryption import SecretCipher
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.composition import build_admin_context, build_webhook_service
from service.operator_context import AdminContext
from service.settings import ServiceSettings
from service.webhooks.webhook_service import WebhookService

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What a command works with."""

    admin: AdminContext
    webhooks: WebhookService


def run_session(action: Callable[[CommandContext], Coroutine[Any, Any, T]], actor: str) -> T:
    """Return what `action` returns; `actor` is the name in the audit log.

    Raises `GatewayError`. Wrong settings end the process.
    """
    return asyncio.run(_run(load_settings(ServiceSettings), action, actor))


async def _run(
    settings: ServiceSettings,
    action: Callable[[CommandContext], Coroutine[Any, Any, T]],
    actor: str,
) -> T:
    async with RedisClient(build_connection_pool(settings.redis, "cli")) as client:
        scripts, cipher = LuaScripts(client, load_scripts()), SecretCipher(settings.secret_keys)
        stores = open_stores(client, scripts, SystemClock(), cipher)
        admin = build_admin_context(settings, stores, actor, _discard_event)
        return await action(CommandContext(admin, build_webhook_service(settings, stores)))


def _discard_event(_: Event) -> None:
    """Ignore an event: a command has no log beside its own output."""
