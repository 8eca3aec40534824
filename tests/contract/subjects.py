"""The two subjects of the contract: the twin in memory, and the stores over a real Redis."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.contract.gateway import Gateway, in_memory, in_redis, wire_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

SUBJECTS: Final = ("memory", "redis")


@asynccontextmanager
async def gateway_of(subject: str, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """An empty gateway; Redis is started only where it is asked for."""
    if subject == "memory":
        yield in_memory()[0]
        return
    async with wire_to(request.getfixturevalue("redis_flushed")) as wire:
        yield in_redis(wire)
