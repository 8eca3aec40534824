"""Turns stop signals into an exception, so that every `with` block can clean up."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """A stop signal came. Not an `Exception`: no handler of errors may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells report it: 130 for Ctrl-C."""
        return 128 + self.signum


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """Raise `StopRequested` on the first stop signal within the block; ignore later ones.

    Cleaning up takes a moment; a second Ctrl-C must not interrupt it.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested(number)

    before = {each: signal.signal(each, stop) for each in STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
