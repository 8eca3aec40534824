"""Runs an operator's command: one action, and one line on stderr for an error.

Commands work on Redis directly, so that they need no running service: the first tenant is created
before there is one.
"""

import os
import pwd
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from core.errors import GatewayError, InvalidInput, StoreUnavailable, StoreUnsupported

if TYPE_CHECKING:
    from cli.command_session import CommandContext
    from service.operator_context import AdminContext

T = TypeVar("T")
EXIT_FAILED: Final = 1
"""Exit status of a command that failed."""


def run_admin(action: Callable[["AdminContext"], Coroutine[Any, Any, T]]) -> T:
    """Return what `action` returns. An error ends the process with one line on stderr."""
    return run_command(lambda context: action(context.admin))


def run_command(action: Callable[["CommandContext"], Coroutine[Any, Any, T]]) -> T:
    """Do the same for an action that needs webhooks too."""
    from cli.command_session import run_session  # noqa: PLC0415 - `--help` needs no Redis
    from cli.store_check import exit_for_store  # noqa: PLC0415 - as above

    try:
        return run_session(action, audit_actor())
    except StoreUnsupported as error:
        exit_for_store(error)
    except StoreUnavailable as error:
        print(f"gateway: {error.operator_detail}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None


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
