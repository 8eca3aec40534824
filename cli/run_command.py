"""Runs an operator's command: one action, and one line on stderr for an error.

Commands work on Redis directly, so that they need no running service: the first tenant is created
before there is one.
"""

import asyncio
import os
import pwd
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from core.errors import GatewayError, InvalidInput, StoreUnavailable, StoreUnsupported

if TYPE_CHECKING:
    from cli.command_session import CommandContext
    from service.operator_context import AdminContext

T = TypeVar("T")
EXIT_FAILED: Final = 1
"""Exit status of a command that failed."""
EXIT_UNSUPPORTED: Final = 2
"""Exit status for a store that no retry will make usable."""


def run_admin(action: Callable[["AdminContext"], Coroutine[Any, Any, T]]) -> T:
    """Return what `action` returns. An error ends the process with one line on stderr."""
    return run_command(lambda context: action(context.admin))


def run_command(action: Callable[["CommandContext"], Coroutine[Any, Any, T]]) -> T:
    """Do the same for an action that needs webhooks too."""
    from cli.command_session import run_session  # noqa: PLC0415 - `--help` needs no Redis
    from cli.settings_errors import load_settings  # noqa: PLC0415 - as above
    from service.settings import ServiceSettings  # noqa: PLC0415 - as above

    return run_or_exit(run_session(load_settings(ServiceSettings), action, audit_actor()))


def run_or_exit(action: Coroutine[Any, Any, T]) -> T:
    """Run an action. An error ends the process with one line on stderr."""
    try:
        return asyncio.run(action)
    except StoreUnsupported as error:
        exit_with(str(error), EXIT_UNSUPPORTED)
    except StoreUnavailable as error:
        exit_with(error.operator_detail, EXIT_FAILED)
    except GatewayError as error:
        exit_with(str(error), EXIT_FAILED)


def exit_with(line: str, status: int) -> NoReturn:
    """Print why the process ends on stderr, and end it."""
    print(f"gateway: {line}", file=sys.stderr)
    raise SystemExit(status)


def audit_actor() -> str:
    """Return the audit log's name for the account that runs this; `USER` could be forged."""
    uid = os.getuid()
    try:
        return f"cli:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # a container's user may have no name
        return f"cli:uid-{uid}"


def load_toml(path: Path) -> Mapping[str, object]:
    """Return a file's tables. Raises `InvalidInput`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}.") from error
    except ValueError as error:  # the base of TOML's and UTF-8's errors
        raise InvalidInput(f"{path}: {error}.") from error
