"""Objects in a folder, or in a bucket of S3, Google Cloud Storage or Azure, by obstore.

obstore loads a library of several megabytes: this module is imported only where objects are kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from io import RawIOBase
from os import SEEK_SET
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from core.errors import ObjectMissing, ObjectsUnavailable
from core.objects.object_store import StoredObject
from core.objects.obstore_client import is_absent

if TYPE_CHECKING:  # obstore has this name for type checkers only
    from obstore import BytesStream, GetOptions

T = TypeVar("T")
_BUCKET_PART_BYTES: Final = 5 * 2**20
"""The smallest part of a multipart upload that S3 takes."""
_FOLDER_PART_BYTES: Final = 2**20
_STAGED: Final = "#"
"""Of a file that is not complete; no name of the gateway's has it."""
_PARTS_IN_FLIGHT: Final = 1
_READ_BYTES: Final = 256 * 1024
_SEEK_BYTES: Final = 64 * 1024


class ObstoreObjects:
    """`ObjectStore` over a client of obstore."""

    def __init__(self, store: ObjectStore) -> None:
        """Nothing is sent yet."""
        self._store = store
        self._part_bytes = (
            _FOLDER_PART_BYTES if isinstance(store, LocalStore) else _BUCKET_PART_BYTES
        )

    async def write(self, name: str, chunks: AsyncIterator[bytes]) -> None:
        """See `ObjectStore.write`. Holds two parts at most: one that is filled, one that is sent.

        obstore removes the parts of an upload whose stream fails, but not of one that is cancelled:
        so the stream alone is ended, by an error, and obstore ends by itself.
        """
        stream = _Stream()
        writing = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                name,
                stream,
                chunk_size=self._part_bytes,
                max_concurrency=_PARTS_IN_FLIGHT,
            )
        )
        try:
            async for chunk in chunks:
                if not await stream.send(chunk, writing):
                    break
            await stream.finish(writing)
        except BaseException:
            await stream.abort(writing)
            raise
        await _answer(writing)

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See `ObjectStore.read`."""
        if end is not None and end <= start:
            return _nothing()
        options: GetOptions = {"range": {"offset": start} if end is None else (start, end)}
        found = await _answer(obstore.get_async(self._store, name, options=options))
        return _chunks(found.stream(min_chunk_size=_READ_BYTES))

    def open(self, name: str, size: int) -> BinaryIO:
        """See `ObjectStore.open`."""
        return cast("BinaryIO", _RangeFile(self._store, name, size))

    async def list(self, prefix: str) -> AsyncIterator[Sequence[StoredObject]]:
        """See `ObjectStore.list`."""
        try:
            async for batch in obstore.list(self._store, prefix.rstrip("/")):
                yield [
                    StoredObject(each["path"], each["size"], each["last_modified"])
                    for each in batch
                ]
        except (BaseError, OSError) as error:
            if not is_absent(error):
                raise _unavailable(error) from error

    async def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        for name in names:
            with suppress(ObjectMissing):
                await _answer(obstore.delete_async(self._store, name))

    async def delete_incomplete(self, before: datetime) -> None:
        """See `ObjectStore.delete_incomplete`."""
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            await asyncio.to_thread(_delete_staged, Path(self._store.prefix), before)

    @property
    def write_buffer_bytes(self) -> int:
        """See `ObjectStore.write_buffer_bytes`: the part that is filled, and those sent."""
        return (1 + _PARTS_IN_FLIGHT) * self._part_bytes

    @property
    def can_presign(self) -> bool:
        """See `ObjectStore.can_presign`: a folder cannot."""
        return isinstance(self._store, S3Store | GCSStore | AzureStore)

    async def presign(self, name: str, lifetime: timedelta) -> str | None:
        """See `ObjectStore.presign`."""
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        return await _answer(obstore.sign_async(self._store, "GET", name, lifetime))


class _Stopped(Exception):
    """The upload is not to be completed."""


class _Stream:
    """The stream that obstore reads: one chunk at a time, as they are sent."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes | _Stopped | None] = asyncio.Queue(maxsize=1)

    def __aiter__(self) -> "_Stream":
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, _Stopped):
            raise chunk
        return chunk

    async def send(self, chunk: bytes | _Stopped | None, writing: asyncio.Future[T]) -> bool:
        """Hand a chunk over; return False, and do nothing, if the upload has failed."""
        sending = asyncio.ensure_future(self._chunks.put(chunk))
        try:
            await asyncio.wait((sending, writing), return_when=asyncio.FIRST_COMPLETED)
            return sending.done() and not writing.done()
        finally:
            sending.cancel()

    async def finish(self, writing: asyncio.Future[T]) -> None:
        """End the upload: the object is complete."""
        await self.send(None, writing)
        await asyncio.wait((writing,))

    async def abort(self, writing: asyncio.Future[T]) -> None:
        """End the upload without an object."""
        while not self._chunks.empty():
            self._chunks.get_nowait()
        await self.send(_Stopped(), writing)
        await asyncio.wait((writing,))
        with suppress(BaseException):
            writing.result()


class _RangeFile(RawIOBase):
    """A file whose reads are ranges of an object, with some read ahead."""

    def __init__(self, store: ObjectStore, name: str, size: int) -> None:
        super().__init__()
        self._store, self._name, self._size = store, name, size
        self._position, self._start, self._ahead = 0, 0, b""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        origin = (0, self._position, self._size)[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; fewer at the end only."""
        rest = self._size - self._position
        wanted = rest if size < 0 else min(size, rest)
        if wanted <= 0:
            return b""
        at = self._position - self._start
        if at < 0 or at + wanted > len(self._ahead):
            end = min(self._position + max(wanted, _SEEK_BYTES), self._size)
            self._start, at = self._position, 0
            self._ahead = bytes(
                obstore.get_range(self._store, self._name, start=self._start, end=end)
            )
        self._position += wanted
        return self._ahead[at : at + wanted]


def _delete_staged(folder: Path, before: datetime) -> None:
    """Delete old files that obstore writes before it renames them: `{name}#{number}`."""
    for path in folder.rglob(f"*{_STAGED}*"):
        with suppress(FileNotFoundError):  # its upload has ended meanwhile
            is_staged = path.name.rpartition(_STAGED)[2].isdecimal() and path.is_file()
            if is_staged and path.stat().st_mtime < before.timestamp():
                path.unlink()


async def _nothing() -> AsyncIterator[bytes]:
    no_chunks: tuple[bytes, ...] = ()
    for chunk in no_chunks:
        yield chunk


async def _chunks(stream: "BytesStream") -> AsyncIterator[bytes]:
    try:
        async for chunk in stream:
            yield bytes(chunk)
    except (BaseError, OSError) as error:
        raise _unavailable(error) from error


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except (BaseError, OSError) as error:
        raise (ObjectMissing() if is_absent(error) else _unavailable(error)) from error


def _unavailable(error: BaseError | OSError) -> ObjectsUnavailable:
    return ObjectsUnavailable(operator_detail=str(error).strip().partition("\n")[0])
