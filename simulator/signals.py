"""Turns "please stop" signals into an exception, so that every `with` block gets to clean up."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop. Not an `Exception`: no handler for failures may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells report it: 130 for Ctrl-C."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block the first stop signal raises `Stopped`; later ones are ignored.

    Cleaning up takes a moment, and an impatient second Ctrl-C must not cut it short.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    before = {each: signal.signal(each, stop) for each in STOPPING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
