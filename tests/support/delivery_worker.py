"""A delivery worker over a real Redis and real sockets, and a receiver that may never answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

from core.clock import SystemClock
from core.ids import SystemIds
from core.observability.events import DeliveryAttempted, Event, OperationalWarning
from core.store.interfaces import DeliveryRepository, EventStreamWriter
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from core.webhooks.config import initial_config
from core.webhooks.secrets import encode_webhook_secret
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from tests.support.memory_store.webhooks import MemoryEventStreams
from tests.support.records import delivery_to
from tests.support.redis import redis_client
from worker.scheduling.lease_loop import LeaseLoop, LoopPolicy, WorkSource
from worker.webhooks.decisions import DeliveryRules
from worker.webhooks.delivery_source import DeliverySource
from worker.webhooks.delivery_worker import DeliveryWorker
from worker.webhooks.sender import SenderPolicy, open_sender
from worker.webhooks.transport import DeliveryTransport

TENANT: Final = "bench"
OTHER_TENANT: Final = "other"
LEASE: Final = timedelta(seconds=30)
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


DATA: Final = '{"prompt":"The camera slowly dollies in."}'


@dataclass
class CountingReceiver:
    """Counts what it receives; answers immediately, or never."""

    answers: bool
    port: int = 0
    connections: int = 0
    received: int = 0

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.received += 1
                writer.write(ANSWER)
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_receiver(
    *, answers: bool, address: str = "127.0.0.1"
) -> AsyncIterator[CountingReceiver]:
    """Run a receiver on a free port."""
    receiver = CountingReceiver(answers)
    server = await asyncio.start_server(receiver.serve, address, 0, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@dataclass
class DeliveryWorkerHarness:
    """A delivery worker's queue. `done`: when each delivery's first attempt ended, by id."""

    outbox: DeliveryRepository
    done: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def enqueue(self, count: int, urls: Sequence[str], tenant: str = TENANT) -> list[str]:
        """Enqueue `count` deliveries for each URL, all due now. Returns their ids."""
        now, ids = SystemClock().now(), SystemIds()
        posted = [
            delivery_to(url, tenant, now, id=ids.delivery_id(now), data=DATA)
            for _ in range(count)
            for url in urls
        ]
        await asyncio.gather(*(self.outbox.enqueue(None, delivery) for delivery in posted))
        return [delivery.id for delivery in posted]

    def on_event(self, event: Event) -> None:
        """Note the end of an attempt."""
        assert not isinstance(event, OperationalWarning), event
        if isinstance(event, DeliveryAttempted):
            self.done.setdefault(event.delivery_id, time.monotonic())
            self.changed.set()

    async def finished(self, ids: Sequence[str]) -> None:
        """Wait until each of them was attempted once."""
        while not self.done.keys() >= set(ids):
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def delivery_worker(
    redis_url: str,
    max_concurrency: int,
    pace: DeliveryRules | None = None,
    streams: EventStreamWriter | None = None,
) -> AsyncIterator[tuple[DeliveryWorkerHarness, LeaseLoop[object]]]:
    """A delivery worker and its loop, which does not run yet."""
    targets = TargetPolicy(AllowedTargets.parse(["127.0.0.0/8"]))
    clock = SystemClock()
    async with (
        redis_client(redis_url) as wire,
        open_sender(
            SenderPolicy(targets=targets, max_connections=max_concurrency), clock
        ) as sender,
    ):
        scripts = LuaScripts(wire, load_scripts())
        now = clock.now()
        for name in (TENANT, OTHER_TENANT):
            config = initial_config(name, None, encode_webhook_secret(b"s" * 32), now)
            await open_stores(wire, scripts, clock).tenants.create(
                Tenant(name, now), ApiKey(f"digest-{name}", name, now), config
            )
        stores = open_stores(wire, scripts, clock)
        harness = DeliveryWorkerHarness(stores.deliveries)
        worker = DeliveryWorker(
            stores,
            DeliveryTransport(sender, streams or MemoryEventStreams(), clock),
            DeliveryRules(Random(1)) if pace is None else pace,
            clock,
            SystemIds(),
            harness.on_event,
        )
        source = DeliverySource(harness.outbox, LEASE, worker.deliver)
        work = WorkSource(
            name="delivery_step",
            claim=source.claim,
            handle=source.handle,
            id_of=lambda claimed: claimed.delivery.id,
        )
        loop = LeaseLoop(work, LoopPolicy(max_concurrency=max_concurrency), clock, harness.on_event)
        yield harness, loop  # type: ignore[misc]  # a test only runs it


@asynccontextmanager
async def running_loop(loop: LeaseLoop[object]) -> AsyncIterator[None]:
    """Run the loop for the length of the block."""
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await loop.drain(timedelta())
