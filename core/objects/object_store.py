"""What the gateway needs of a store of objects, and no more."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's name, its size in bytes, and when it was written (by the store's clock)."""

    name: str
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """A store of objects. Names are relative paths with `/`.

    Every method may raise `ObjectsUnavailable`.
    """

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """Write an object from a stream, with bounded memory; no reader sees a part of it.

        An error of `chunks`, or a cancellation, is raised after what was written is removed.
        """
        ...

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` to before `end` as a stream. Raises `ObjectMissing`."""
        ...

    def open(self, name: str, size: int) -> BinaryIO:
        """Return an object of `size` bytes as a file that can be read and sought in.

        Its methods block: call them in a thread.
        """
        ...

    def list(self, prefix: str) -> AsyncIterator[Sequence[StoredObject]]:
        """Yield the objects in the folder `prefix` (with its final `/`), some at a time."""
        ...

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that does not exist is no error."""
        ...

    async def delete_incomplete(self, before: datetime) -> None:
        """Delete what uploads left behind whose process was killed before this time.

        A bucket does it by a lifecycle rule of its own.
        """
        ...

    @property
    def write_buffer_bytes(self) -> int:
        """How many bytes one `write` holds in memory at most."""
        ...

    @property
    def can_presign(self) -> bool:
        """Whether `presign` returns addresses."""
        ...

    async def presign(self, name: str, lifetime: timedelta) -> str | None:
        """Return an address that serves the object without a key; None if the store has none."""
        ...
