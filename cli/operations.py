"""An operator's command: settings, a desk over the store, one act, and what went wrong in one line.

Commands work on Redis themselves, so that the first tenant needs no service.
"""

import asyncio
import os
import pwd
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from cli.environment import read_settings
from core.errors import GatewayError, InvalidInput
from core.events import Event
from core.store.connection import Wire, connection_source
from service.administration.desk import Desk
from service.resources import open_desk
from service.settings import ServiceSettings

T = TypeVar("T")
FAILED: Final = 1
"""Exit status of a command that could not do what it was asked."""


def perform(act: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    """Do `act` to its end. What goes wrong ends the process with one line on stderr."""
    return perform_over(lambda settings, wire: act(desk_over(settings, wire)))


def perform_over(act: Callable[[ServiceSettings, Wire], Coroutine[Any, Any, T]]) -> T:
    """As `perform`, for what needs more than the desk."""
    settings = read_settings(ServiceSettings)
    try:
        return asyncio.run(_over_wire(settings, act))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None


async def _over_wire(
    settings: ServiceSettings, act: Callable[[ServiceSettings, Wire], Coroutine[Any, Any, T]]
) -> T:
    async with Wire(connection_source(settings.redis, "cli")) as wire:
        return await act(settings, wire)


def desk_over(settings: ServiceSettings, wire: Wire) -> Desk:
    """The desk of whoever runs this."""
    return open_desk(wire, actor(), settings.target_policy(), _untold)


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
