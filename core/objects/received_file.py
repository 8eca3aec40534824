"""A file as it is received: its type, size and digest are found while it is stored."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.errors import BodyTooLarge, CallerError, ObjectsUnavailable, UnsupportedFile
from core.files.records import FileEntry, StoredFile, file_object_name
from core.objects.media_type import HEAD_BYTES, FileKind, detect_kind, measure_seconds
from core.objects.object_store import ObjectStore

_MEASURE_TIMEOUT: Final = timedelta(seconds=20)


def _accept(_: FileKind) -> None:
    return


@dataclass(frozen=True, slots=True)
class FileBounds:
    """What is accepted: `check` raises for a kind that is not; `max_bytes` None: its own."""

    max_bytes: int | None = None
    check: Callable[[FileKind], None] = _accept


UPLOAD_BOUNDS: Final = FileBounds()


class ReceivedFile:
    """A file as it is received: checked and measured chunk by chunk."""

    def __init__(self, bounds: FileBounds) -> None:
        """Nothing is received yet."""
        self._bounds = bounds
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.kind = FileKind("")

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the content; its first piece once the type is known.

        Raises `UnsupportedFile`, `BodyTooLarge`, and what `chunks` raises.
        """
        head = bytearray()
        async for chunk in chunks:
            self.size += len(chunk)
            if self.kind.media_type:
                self._check_size()
                self.sha256.update(chunk)
                yield chunk
                continue
            head += chunk
            if len(head) >= HEAD_BYTES:
                self._detect(bytes(head))
                yield bytes(head)
        if not self.kind.media_type:
            self._detect(bytes(head))
            yield bytes(head)

    def _detect(self, head: bytes) -> None:
        kind = detect_kind(head) if head else None
        if kind is None:
            raise UnsupportedFile
        self._bounds.check(kind)
        self.kind = kind
        self._check_size()
        self.sha256.update(head)

    def _check_size(self) -> None:
        most = self._bounds.max_bytes or self.kind.max_bytes
        if self.size > most:
            raise BodyTooLarge(f"A file of type {self.kind.media_type} has at most {most:,} bytes.")


async def measure_duration(objects: ObjectStore, name: str, received: ReceivedFile) -> float | None:
    """Return how many seconds a stored audio or video lasts; None if it is unknown, or neither."""
    if not received.kind.has_duration:
        return None
    file = objects.open(name, received.size)
    with suppress(TimeoutError):
        async with asyncio.timeout(_MEASURE_TIMEOUT.total_seconds()):
            return await asyncio.to_thread(measure_seconds, file)
    return None


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is known of a file before its content: `secret` as `StoredFile.secret`."""

    id: str
    tenant: str
    created_at: datetime
    secret: str


async def keep_file(
    objects: ObjectStore,
    add: Callable[[StoredFile], Awaitable[FileEntry]],
    new: NewFile,
    chunks: AsyncIterator[bytes],
    bounds: FileBounds = UPLOAD_BOUNDS,
) -> FileEntry:
    """Store a file from a stream; return the tenant's own one if it has the same content.

    `add` records it. After any error but `StoreUnavailable` nothing is left of it; after that one
    the record may exist, and its content stays. Raises `UnsupportedFile`, `BodyTooLarge`,
    `ObjectsUnavailable`, and what `add`, `chunks` and `bounds.check` raise.
    """
    name = file_object_name(new.tenant, new.id)
    received = ReceivedFile(bounds)
    try:
        await objects.write(name, received.read(chunks))
        seconds = await measure_duration(objects, name, received)
    except BaseException:
        await asyncio.shield(discard(objects, name))
        raise
    try:
        entry = await add(_complete(new, received, seconds))
    except CallerError:
        await discard(objects, name)
        raise
    if entry.file.id != new.id:
        await discard(objects, name)
    return entry


async def read_file(new: NewFile, chunks: AsyncIterator[bytes]) -> StoredFile:
    """Return the record of a file whose content is not kept, without its duration.

    Raises `UnsupportedFile`, `BodyTooLarge`, and what `chunks` raises.
    """
    received = ReceivedFile(UPLOAD_BOUNDS)
    async for _ in received.read(chunks):
        pass  # its digest is wanted
    return _complete(new, received, None)


def _complete(new: NewFile, received: ReceivedFile, seconds: float | None) -> StoredFile:
    return StoredFile(
        id=new.id,
        tenant=new.tenant,
        created_at=new.created_at,
        media_type=received.kind.media_type,
        bytes=received.size,
        sha256=received.sha256.hexdigest(),
        secret=new.secret,
        width=received.kind.width,
        height=received.kind.height,
        seconds=seconds,
    )


async def discard(objects: ObjectStore, name: str) -> None:
    """Delete an object without a record. What is left if that fails the sweeper deletes."""
    with suppress(ObjectsUnavailable):
        await objects.delete([name])
