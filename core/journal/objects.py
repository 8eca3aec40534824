"""Named objects in a folder or a bucket: what the journal needs of a storage, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class JournalUnavailable(Exception):
    """The journal of paid submits does not answer. Its text has the reason."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's name, and when it was last written (by the storage's clock, in UTC)."""

    name: str
    modified_at: datetime


class ObjectStorage(Protocol):
    """A storage with conditional creation. Names are relative paths with `/`.

    Every method may raise `JournalUnavailable`; a write that raised it may have been done.
    """

    @property
    def is_mounted(self) -> bool:
        """Whether it may be replaced by another one under the same name at any moment."""
        ...

    async def create(self, name: str, content: bytes) -> bool:
        """Write an object, durably; return False, and change nothing, if the name exists."""
        ...

    async def replace(self, name: str, content: bytes) -> None:
        """Write an object, durably, over any that exists."""
        ...

    async def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Return an object's content; None if there is none."""
        ...

    async def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """Return all objects whose names begin with `prefix`, in any order."""
        ...

    async def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that does not exist is no error."""
        ...

    async def close(self) -> None:
        """Finish what was begun, and free everything."""
        ...
