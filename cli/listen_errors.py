"""Ends a process that cannot listen with one line, which names the setting."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from core.http_server.listener import CannotListen

EXIT_CANNOT_LISTEN: Final = 3
"""Exit status of a process whose address is in use, or not its own."""


@contextmanager
def exit_if_unable_to_listen() -> Iterator[None]:
    """End the process with one line on stderr if the body raises `CannotListen`."""
    try:
        yield
    except CannotListen as error:
        print(f"gateway: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CANNOT_LISTEN) from None
