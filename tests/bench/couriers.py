"""A courier over a real Redis and real sockets; a receiver that answers, one that never does."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from core.clock import SystemClock
from core.ids import SystemIds
from core.observability.events import DeliveryAttempted, OperationalWarning
from core.settings import RedisPolicy
from core.store.client import Wire, connection_source
from core.store.deliveries import DeliveryStore
from core.store.jobs import JobStore
from core.store.scripts import Scripts, read_scripts
from core.store.tenants import TenantStore
from core.store.webhook_endpoints import WebhookStore
from core.tenants.api_keys import KeyRecord
from core.tenants.tenant import Tenant
from core.webhooks.secrets import mint_webhook_secret
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from tests.builders import delivery_to
from tests.fakes.outbox import MemorySinks
from worker.scheduling.lease_loop import LeasedLoop, LoopPolicy, Work
from worker.webhooks.delivery_worker import Courier, CourierHands, CourierPolicy, Sinks
from worker.webhooks.sender import SenderPolicy, open_sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from core.observability.events import Event

TENANT: Final = "bench"
LEASE: Final = timedelta(seconds=30)
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


DATA: Final = '{"prompt":"The camera slowly dollies in."}'


@dataclass
class Receiver:
    """Takes what comes; answers at once, or never."""

    answers: bool
    port: int = 0
    connections: int = 0
    taken: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.taken += 1
                writer.write(ANSWER)
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*, answers: bool) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(answers)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, backlog=1024)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@dataclass
class Office:
    """A running courier. `done` is when each delivery's first attempt ended, by id."""

    outbox: DeliveryStore
    done: dict[str, float] = field(default_factory=dict)
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, count: int, urls: Sequence[str]) -> list[str]:
        """So many deliveries for each of the URLs, all due now; their ids."""
        now, ids = SystemClock().now(), SystemIds()
        posted = [
            delivery_to(url, TENANT, now, id=ids.delivery_id(now), data=DATA)
            for _ in range(count)
            for url in urls
        ]
        await asyncio.gather(*(self.outbox.post(None, delivery) for delivery in posted))
        return [delivery.id for delivery in posted]

    def told(self, event: Event) -> None:
        """An attempt ended."""
        assert not isinstance(event, OperationalWarning), event
        if isinstance(event, DeliveryAttempted):
            self.done.setdefault(event.delivery_id, time.monotonic())
            self.progress.set()

    async def finished(self, ids: Sequence[str]) -> None:
        """Return when each of them was tried once."""
        while not self.done.keys() >= set(ids):
            self.progress.clear()
            await self.progress.wait()


def opened(redis_url: str) -> Wire:
    """A connection to this Redis."""
    patience = timedelta(seconds=5)
    policy = RedisPolicy(SecretStr(redis_url), (), "", patience, patience)
    return Wire(connection_source(policy, "bench"))


@asynccontextmanager
async def couriers(
    redis_url: str, at_once: int, pace: CourierPolicy | None = None, sinks: Sinks | None = None
) -> AsyncIterator[tuple[Office, LeasedLoop[object]]]:
    """One worker's courier, not yet running."""
    targets = TargetPolicy(AllowedTargets.parse(["127.0.0.0/8"]))
    clock = SystemClock()
    async with (
        opened(redis_url) as wire,
        open_sender(SenderPolicy(targets=targets, connections=at_once), clock) as sender,
    ):
        scripts = Scripts(wire, read_scripts())
        now = clock.now()
        tenant = Tenant(TENANT, now, webhook_secrets=(mint_webhook_secret(b"s" * 32),))
        await TenantStore(wire, scripts, clock).create(tenant, KeyRecord("digest", TENANT, now))
        office = Office(DeliveryStore(wire, scripts, clock))
        courier = Courier(
            CourierHands(
                outbox=office.outbox,
                jobs=JobStore(wire, scripts, clock),
                setups=WebhookStore(wire, scripts, clock),
                sender=sender,
                sinks=sinks or MemorySinks(),
                clock=clock,
                rng=Random(1),
                ids=SystemIds(),
                emit=office.told,
            ),
            pace or CourierPolicy(),
        )
        work = Work(
            name="delivery_step",
            claim=lambda room: office.outbox.claim_due(LEASE, room),
            handle=courier.deliver,
            identity=lambda claimed: claimed.delivery.id,
        )
        loop = LeasedLoop(work, LoopPolicy(at_once=at_once), clock, office.told)
        yield office, loop  # type: ignore[misc]  # a test only runs it


@asynccontextmanager
async def running(loop: LeasedLoop[object]) -> AsyncIterator[None]:
    """Claim and deliver for the length of the block."""
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await loop.drain(timedelta())
