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

from cli.settings_errors import read_settings
from core.errors import GatewayError, InvalidInput
from core.observability.events import Event
from core.store.client import Wire, connection_source
from core.store.scripts import Scripts, read_scripts
from service.composition import open_desk, open_mailroom
from service.operator_context import Desk
from service.settings import ServiceSettings
from service.webhooks.webhook_service import Mailroom

T = TypeVar("T")
FAILED: Final = 1
"""Exit status of a command that could not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where an operator works: the desk, and the mailroom for what is done with callbacks."""

    desk: Desk
    mailroom: Mailroom


def perform(act: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    """Do `act` to its end. What goes wrong ends the process with one line on stderr."""
    return perform_in_room(lambda room: act(room.desk))


def perform_in_room(act: Callable[[Room], Coroutine[Any, Any, T]]) -> T:
    """As `perform`, for what needs more than the desk."""
    settings = read_settings(ServiceSettings)
    try:
        return asyncio.run(_in_room(settings, act))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None


async def _in_room(settings: ServiceSettings, act: Callable[[Room], Coroutine[Any, Any, T]]) -> T:
    async with Wire(connection_source(settings.redis, "cli")) as wire:
        scripts = Scripts(wire, read_scripts())
        desk = open_desk(settings, wire, scripts, actor(), _untold)
        return await act(Room(desk, open_mailroom(settings, wire, scripts)))


def actor() -> str:
    """Whom the audit log names: the account that runs this, whatever its environment says."""
    number = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # a container's user need not have a name
        return f"cli:uid-{number}"


def _untold(_: Event) -> None:
    """A command has no log beside its own output."""


def read_toml(path: Path) -> Mapping[str, object]:
    """A file's tables. Raises `InvalidInput`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.") from error
    except ValueError as error:  # TOML's and UTF-8's errors alike
        raise InvalidInput(f"{path}: {error}.") from error
