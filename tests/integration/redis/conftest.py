"""Batches over a real Redis, and a worker with a journal."""

from collections.abc import AsyncIterator

import pytest

from tests.support.batches import BatchHarness, open_batches
from tests.support.journalled_worker import JournalledWorker
from tests.support.redis import redis_client


@pytest.fixture
async def gateway(redis_flushed: str) -> AsyncIterator[BatchHarness]:
    """The stores, and batches of a process that dies after a number of scripts."""
    async with redis_client(redis_flushed) as wire:
        yield await open_batches(wire)


@pytest.fixture
def worker(gateway: BatchHarness) -> JournalledWorker:
    """A worker over these stores, called step by step."""
    return JournalledWorker(gateway.backend, gateway.backend.clock)
