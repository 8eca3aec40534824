"""Python's garbage collector in a process that serves: seldom, and without what lives for ever.

What is large must therefore go without it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_THRESHOLDS: Final = (2_000, 5, 200)
"""New objects between two collections; collections of a generation between two of the next older.

Each stops the event loop. With 20,000 objects the first generation took up to 21 ms and the second
68 ms, with 2,000 connections open; with Python's default of 700 the collector scans the calls in
flight again and again, a tenth of the CPU of a poll. All is scanned as often as with 20,000."""


def drop_frames(error: BaseException) -> None:
    """Drop the frames that a handled error and its causes hold.

    An error that was raised from a variable is held by its own frame, and that of its caller: what
    they have, the body of a request for example, would stay until the next collection.
    """
    left, seen = [error], {id(error)}
    while left:
        held = left.pop()
        held.__traceback__ = None
        inner = held.exceptions if isinstance(held, BaseExceptionGroup) else ()
        for each in (held.__cause__, held.__context__, *inner):
            if each is not None and id(each) not in seen:  # `raise error from error` is a circle
                seen.add(id(each))
                left.append(each)


def spare_startup_objects() -> None:
    """Exclude all present objects from later collections; call it at the end of a start.

    They live as long as the process. Without it each full collection scans them again, which
    doubled the service's p99 latency. What is garbage then stays too: a quarter of a percent, for
    which a collection would take a tenth of a start.
    """
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage within the body, of which a collection would scan objects that stay.

    Imports create such: collections were a tenth of the CPU of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
