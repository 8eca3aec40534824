"""Opens what a command works with: settings, and the stores in Redis."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import SecretStr

# Typer has its own copy of Click, and this function under no other name.
from typer._click.globals import get_current_context

from core.clock import SystemClock
from core.observability.events import Event
from core.settings.definitions import ObjectSettings
from core.store.client import RedisClient, build_connection_pool
from core.store.encryption import SecretCipher
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.admin.operators import acting_as, log_in
from service.admin.roles import ROLE_OF_COMMAND
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
    objects: ObjectSettings


async def run_session(
    settings: ServiceSettings,
    action: Callable[[CommandContext], Coroutine[Any, Any, T]],
    actor: str,
) -> T:
    """Return what `action` returns; `actor` is the name in the audit log.

    Raises `GatewayError`.
    """
    async with RedisClient(build_connection_pool(settings.redis, "cli")) as client:
        scripts, cipher = LuaScripts(client, load_scripts()), SecretCipher(settings.secret_keys)
        clock = SystemClock()
        stores = open_stores(client, scripts, clock, cipher)
        admin = build_admin_context(settings, stores, actor, discard_event, clock)
        admin = await log_in_operator(admin, settings.operator_token)
        webhooks = build_webhook_service(settings, stores, clock)
        return await action(CommandContext(admin, webhooks, settings.objects))


async def log_in_operator(admin: AdminContext, token: SecretStr | None) -> AdminContext:
    """Return the context of the operator whose token is set, if the roles allow this command.

    Without a token the account that runs the command acts: it has Redis, and with it everything.
    Raises `Unauthenticated`, `NotPermitted`.
    """
    if token is None:
        return admin
    login = await log_in(admin, token.get_secret_value())
    login.check(ROLE_OF_COMMAND[running_command()])
    return acting_as(admin, login)


def running_command() -> str:
    """Return the words of the command that runs, such as `tenant list`."""
    names, context = [], get_current_context()
    while context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))


def discard_event(_: Event) -> None:
    """Ignore an event: a command has no log beside its own output."""
