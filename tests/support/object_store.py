"""The storage of files in memory, and how it fails."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from typing import BinaryIO

from core.clock import Clock
from core.errors import ObjectMissing, ObjectsUnavailable
from core.files.delivery import DeliveryPolicy, FileDelivery
from core.objects.object_store import StoredObject
from core.store.stores import Stores
from tests.support.clock import FakeClock
from worker.jobs.input_assembly import InputAssembler


@dataclass
class MemoryObjectStore:
    """Fake of `core.objects.object_store.ObjectStore`.

    While `is_down` every call fails. `presigned_base`: it presigns addresses that begin so.
    """

    clock: Clock = field(default_factory=FakeClock)
    contents: dict[str, bytes] = field(default_factory=dict)
    written: dict[str, datetime] = field(default_factory=dict)
    is_down: bool = False
    presigned_base: str | None = None

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        content = b"".join([chunk async for chunk in chunks])
        self._fail()
        self.put(name, content)

    def put(self, name: str, content: bytes) -> None:
        """Store an object whatever was there."""
        self.contents[name] = content
        self.written[name] = self.clock.now()

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        self._fail()
        if name not in self.contents:
            raise ObjectMissing
        return _one_chunk(self.contents[name][start:end])

    def open(self, name: str, size: int) -> BinaryIO:
        return BytesIO(self.contents[name][:size])

    async def list(self, prefix: str) -> AsyncIterator[Sequence[StoredObject]]:
        self._fail()
        yield [
            StoredObject(name, len(content), self.written[name])
            for name, content in self.contents.items()
            if name.startswith(prefix)
        ]

    async def delete(self, names: Sequence[str]) -> None:
        self._fail()
        for name in names:
            self.contents.pop(name, None)
            self.written.pop(name, None)

    async def delete_incomplete(self, before: datetime) -> None:
        del before
        self._fail()

    @property
    def write_buffer_bytes(self) -> int:
        return 2**20

    @property
    def can_presign(self) -> bool:
        return self.presigned_base is not None

    async def presign(self, name: str, lifetime: timedelta) -> str | None:
        self._fail()
        base = self.presigned_base
        return None if base is None else f"{base}/{name}?lifetime={lifetime.total_seconds():.0f}"

    def _fail(self) -> None:
        if self.is_down:
            raise ObjectsUnavailable


async def _one_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


def input_assembler(
    stores: Stores,
    clock: Clock,
    objects: MemoryObjectStore | None = None,
    delivery: FileDelivery = FileDelivery.AUTO,
    public_url: str | None = None,
) -> InputAssembler:
    """What fills in the inputs of a worker's submits; without `objects` no input has a file."""
    policy = DeliveryPolicy(delivery, 2**20, public_url)
    return InputAssembler(objects, stores.files, clock, policy)
