"""Work over the many items of one call, during which other calls are served."""

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

MANY: Final = 25
"""Items whose work takes about a millisecond."""

P = ParamSpec("P")
T = TypeVar("T")


async def call_with_many(
    count: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return what `function` returns, which works on `count` items: for many in a thread.

    It must be pure: the event loop goes on meanwhile.
    """
    if count <= MANY:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


async def give_turn(number: int) -> None:
    """Let other calls go on, if `number` is that of each `MANY`th item."""
    if number % MANY == MANY - 1:
        await asyncio.sleep(0)  # noqa: TID251 - a turn, not a time
