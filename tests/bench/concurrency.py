"""Runs many calls with a bounded concurrency."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def run_in_batches(calls: Sequence[Callable[[], Awaitable[T]]], size: int = 200) -> list[T]:
    """Run the calls, `size` at a time, so that no script waits behind ten thousand others."""
    done: list[T] = []
    for start in range(0, len(calls), size):
        done += await asyncio.gather(*(call() for call in calls[start : start + size]))
    return done
