"""An operator's command: settings, a desk over the store, one act, and what went wrong in one line.

Commands work on Redis themselves, so that the first tenant needs no service.
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

from cli.settings_errors import load_settings
from core.clock import SystemClock
from core.errors import GatewayError, InvalidInput
from core.observability.events import Event
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.composition import build_admin_context, build_webhook_service
from service.operator_context import AdminContext
from service.settings import ServiceSettings
from service.webhooks.webhook_service import WebhookService

T = TypeVar("T")
EXIT_FAILED: Final = 1
"""Exit status of a command that could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Where an operator works: the desk, and the mailroom for what is done with callbacks."""

    admin: AdminContext
    webhooks: WebhookService


def run_admin(action: Callable[[AdminContext], Coroutine[Any, Any, T]]) -> T:
    """Do `act` to its end. What goes wrong ends the process with one line on stderr."""
    return run_command(lambda room: action(room.admin))


def run_command(action: Callable[[CommandContext], Coroutine[Any, Any, T]]) -> T:
    """As `perform`, for what needs more than the desk."""
    settings = load_settings(ServiceSettings)
    try:
        return asyncio.run(_run(settings, action))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None


async def _run(
    settings: ServiceSettings, action: Callable[[CommandContext], Coroutine[Any, Any, T]]
) -> T:
    async with RedisClient(build_connection_pool(settings.redis, "cli")) as wire:
        stores = open_stores(wire, LuaScripts(wire, load_scripts()), SystemClock())
        admin = build_admin_context(settings, stores, audit_actor(), _discard_event)
        return await action(CommandContext(admin, build_webhook_service(settings, stores)))


def audit_actor() -> str:
    """Whom the audit log names: the account that runs this, whatever its environment says."""
    number = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # a container's user need not have a name
        return f"cli:uid-{number}"


def _discard_event(_: Event) -> None:
    """A command has no log beside its own output."""


def load_toml(path: Path) -> Mapping[str, object]:
    """A file's tables. Raises `InvalidInput`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.") from error
    except ValueError as error:  # TOML's and UTF-8's errors alike
        raise InvalidInput(f"{path}: {error}.") from error
