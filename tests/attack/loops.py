"""What attacks are made of: loops until a time, connections from the attacker's address, counts."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.attack.http_client import Answer, Connection
from tests.attack.target import ATTACKER_ADDRESS, Target

Counts = Counter[str]
CUT: Final = (OSError, EOFError, TimeoutError)
"""What a connection ends with when the service closes it."""
BLOCK: Final = b"x" * 65536
PAUSE_SECONDS: Final = 0.05


async def in_parallel(
    number: int, once: Callable[[int], Awaitable[None]], until: float, counts: Counts
) -> None:
    """Run `number` loops of `once`. A closed connection is counted, and the loop goes on."""

    async def loop(index: int) -> None:
        while time.monotonic() < until:
            try:
                await once(index)
            except CUT as error:
                counts[f"cut ({type(error).__name__})"] += 1
                await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(loop(index)) for index in range(number)]
    _, waiting = await asyncio.wait(tasks, timeout=max(0.0, until - time.monotonic()))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_connection(target: Target, port: int | None = None) -> AsyncIterator[Connection]:
    async with await Connection.open(port or target.port, ATTACKER_ADDRESS) as connection:
        yield connection


async def send_many(
    connection: Connection, piece: bytes, size: int, until: float, counts: Counts
) -> None:
    sent = 0
    try:
        while sent < size and time.monotonic() < until:
            await connection.send(piece)
            sent += len(piece)
    finally:
        counts["KiB sent"] += sent // 1024


def note(counts: Counts, answer: Answer) -> None:
    counts[str(answer.status)] += 1


async def repeat(
    connections: int,
    requests: Callable[[], bytes],
    target: Target,
    until: float,
    counts: Counts,
) -> None:
    """Send requests one after the other over a few connections, as fast as they are answered."""

    async def once(_: int) -> None:
        async with open_connection(target) as connection:
            while time.monotonic() < until:
                note(counts, await connection.exchange(requests()))

    await in_parallel(connections, once, until, counts)
