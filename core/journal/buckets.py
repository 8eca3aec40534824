"""The journal's objects in a bucket of S3, Google Cloud Storage or Azure, by obstore."""

from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from core.journal.objects import JournalUnavailable, ObjectInfo
from core.objects.obstore_client import is_absent, open_obstore

T = TypeVar("T")


def open_bucket(url: str, timeout: timedelta) -> "BucketStorage":
    """Return the storage at `s3://bucket/prefix`, `gs://…` or `az://…`.

    See `open_obstore`, also for what it raises.
    """
    return BucketStorage(open_obstore(url, timeout))


class BucketStorage:
    """`ObjectStorage` in a bucket."""

    is_mounted: Final = False

    def __init__(self, store: ObjectStore) -> None:
        """Nothing is sent yet."""
        self._store = store

    async def create(self, name: str, content: bytes) -> bool:
        """See `ObjectStorage.create`: a PUT with `If-None-Match: *`."""
        try:
            await obstore.put_async(self._store, name, content, mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise _unavailable(error) from error
        return True

    async def replace(self, name: str, content: bytes) -> None:
        """See `ObjectStorage.replace`."""
        await _answer(obstore.put_async(self._store, name, content))

    async def exists(self, name: str) -> bool:
        """See `ObjectStorage.exists`."""
        try:
            await obstore.head_async(self._store, name)
        except (BaseError, OSError) as error:
            if is_absent(error):
                return False
            raise _unavailable(error) from error
        return True

    async def read(self, name: str) -> bytes | None:
        """See `ObjectStorage.read`."""
        try:
            found = await obstore.get_async(self._store, name)
            return bytes(await found.bytes_async())
        except (BaseError, OSError) as error:
            if is_absent(error):
                return None
            raise _unavailable(error) from error

    async def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """See `ObjectStorage.list`."""
        # obstore compares whole path segments: the rest of the prefix is compared here.
        folder = prefix.rpartition("/")[0]
        found = await _answer(obstore.list(self._store, folder or None).collect_async())
        return tuple(
            ObjectInfo(each["path"], each["last_modified"])
            for each in found
            if each["path"].startswith(prefix)
        )

    async def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStorage.delete`."""
        if names:
            await _answer(obstore.delete_async(self._store, list(names)))

    async def close(self) -> None:
        """See `ObjectStorage.close`: obstore keeps no session."""


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except (BaseError, OSError) as error:
        raise _unavailable(error) from error


def _unavailable(error: BaseError | OSError) -> JournalUnavailable:
    first_line = str(error).strip().partition("\n")[0]
    return JournalUnavailable(f"The journal cannot be used: {first_line}")
