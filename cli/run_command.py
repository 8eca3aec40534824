"""Runs an operator's command: settings, stores, one action, and one line on stderr for an error.

Commands work on Redis directly, so that they need no running service: the first tenant is created
before there is one.
"""

import asyncio
import os
import pwd
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import SecretStr

# Typer has its own copy of Click, and this function under no other name.
from typer._click.globals import get_current_context

from cli.settings_errors import load_settings
from cli.store_check import exit_for_store
from core.clock import SystemClock
from core.errors import GatewayError, InvalidInput, StoreUnavailable, StoreUnsupported
from core.observability.events import Event
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
EXIT_FAILED: Final = 1
"""Exit status of a command that failed."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What a command works with."""

    admin: AdminContext
    webhooks: WebhookService


def run_admin(action: Callable[[AdminContext], Coroutine[Any, Any, T]]) -> T:
    """Return what `action` returns. An error ends the process with one line on stderr."""
    return run_command(lambda context: action(context.admin))


def run_command(action: Callable[[CommandContext], Coroutine[Any, Any, T]]) -> T:
    """Do the same for an action that needs webhooks too."""
    settings = load_settings(ServiceSettings)
    try:
        return asyncio.run(_run(settings, action))
    except StoreUnsupported as error:
        exit_for_store(error)
    except StoreUnavailable as error:
        print(f"gateway: {error.operator_detail}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None


async def _run(
    settings: ServiceSettings, action: Callable[[CommandContext], Coroutine[Any, Any, T]]
) -> T:
    async with RedisClient(build_connection_pool(settings.redis, "cli")) as client:
        scripts, cipher = LuaScripts(client, load_scripts()), SecretCipher(settings.secret_keys)
        stores = open_stores(client, scripts, SystemClock(), cipher)
        admin = build_admin_context(settings, stores, audit_actor(), _discard_event)
        admin = await log_in_operator(admin, settings.operator_token)
        return await action(CommandContext(admin, build_webhook_service(settings, stores)))


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


def audit_actor() -> str:
    """Return the audit log's name for the account that runs this; `USER` could be forged."""
    uid = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user may have no name
        return f"cli:uid-{uid}"


def _discard_event(_: Event) -> None:
    """Ignore an event: a command has no log beside its own output."""


def load_toml(path: Path) -> Mapping[str, object]:
    """Return a file's tables. Raises `InvalidInput`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.") from error
    except ValueError as error:  # the base of TOML's and UTF-8's errors
        raise InvalidInput(f"{path}: {error}.") from error
