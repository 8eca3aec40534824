"""The journal's objects as files, each synced to the disk before it counts as written.

Writes run in threads: the file system commits those that are synced at the same time together.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from itertools import count
from pathlib import Path
from threading import BoundedSemaphore
from typing import Final, TypeVar

from core.journal.objects import JournalUnavailable, ObjectInfo

T = TypeVar("T")
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_TEMPORARY: Final = ".writing-"
"""Prefix of a file that will replace another. A crash can leave one behind; no reader sees it."""
_THREADS: Final = 16
"""As many submits as a worker's default allows, and some reads. More threads than 8 write no faster
(measured), but each waits for a disk that hangs."""
_FOLDER_THREADS: Final = 2
"""While one of them is free, a folder is synced at the same time as the file in it: both wait for
the same commit of the file system. With more threads, concurrent writes are slower (measured)."""


class FileStorage:
    """`ObjectStorage` in a folder of a local or shared disk."""

    is_mounted: Final = True

    def __init__(self, root: Path) -> None:
        """Touch nothing: `root` is created with the first write."""
        self._root = root
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="journal")
        self._folders = FolderSync()
        self._numbers = count()

    async def create(self, name: str, content: bytes) -> bool:
        """See `ObjectStorage.create`. A crash of the machine can leave the file incomplete."""
        return await self._run(lambda: _create(self._root / name, content, self._folders))

    async def replace(self, name: str, content: bytes) -> None:
        """See `ObjectStorage.replace`."""
        mark = f"{_TEMPORARY}{os.getpid()}-{next(self._numbers)}"
        await self._run(lambda: _replace(self._root / name, content, mark))

    async def exists(self, name: str) -> bool:
        """See `ObjectStorage.exists`."""
        return await self._run(lambda: _exists(self._root / name))

    async def read(self, name: str) -> bytes | None:
        """See `ObjectStorage.read`."""
        return await self._run(lambda: _read(self._root / name))

    async def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """See `ObjectStorage.list`."""
        return await self._run(lambda: tuple(_list(self._root, prefix)))

    async def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStorage.delete`; folders that become empty are deleted too."""
        await self._run(lambda: _delete(self._root, names))

    async def close(self) -> None:
        """See `ObjectStorage.close`. A thread whose disk hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._folders.close()

    async def _run(self, action: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, action)
        except OSError as error:
            raise JournalUnavailable(f"The journal cannot be used: {error}.") from error


class FolderSync:
    """Syncs folders: beside what its caller does, while a thread is free."""

    def __init__(self) -> None:
        """No thread is started yet."""
        self._threads = ThreadPoolExecutor(_FOLDER_THREADS, thread_name_prefix="journal-folder")
        self._free = BoundedSemaphore(_FOLDER_THREADS)

    def begin(self, folders: Sequence[Path]) -> Callable[[], None]:
        """Begin to sync folders if a thread is free; return what ends it, and raises `OSError`."""
        if not self._free.acquire(blocking=False):
            return lambda: _sync_folders(folders)
        try:
            return self._threads.submit(self._sync, folders).result
        except RuntimeError:  # closed by a process that ends while an entry is written
            self._free.release()
            return lambda: _sync_folders(folders)

    def _sync(self, folders: Sequence[Path]) -> None:
        try:
            _sync_folders(folders)
        finally:
            self._free.release()

    def close(self) -> None:
        """End the threads. One whose disk hangs is left behind."""
        self._threads.shutdown(wait=False)


def _create(path: Path, content: bytes, folders: FolderSync) -> bool:
    changed = _create_folders(path.parent)
    try:
        descriptor = _open_new(path)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        end = folders.begin(changed)
        try:
            _write(file, content)
        except OSError:
            # Incomplete, it would count as a submit, and nothing was sent. Once it is complete it
            # stays, whatever fails: its claim may have found it meanwhile, and sent.
            path.unlink(missing_ok=True)
            raise
        os.fsync(descriptor)
        end()
    return True


def _replace(path: Path, content: bytes, mark: str) -> None:
    changed = _create_folders(path.parent)
    temporary = path.with_name(mark)
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folders(changed)


def _create_folders(folder: Path) -> list[Path]:
    """Create missing folders. Returns those that get a new name, the deepest first."""
    changed, missing = [folder], folder
    while not missing.is_dir():
        missing = missing.parent
        changed.append(missing)
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    return changed


def _write_synced(path: Path, content: bytes) -> None:
    """Create a file. Raises `FileExistsError`, and removes nothing that it did not write."""
    with os.fdopen(_open_new(path), "wb", buffering=0) as file:
        _write(file, content)
        os.fsync(file.fileno())


def _open_new(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)


def _write(file: FileIO, content: bytes) -> None:
    """Write all of it: one call may write less, as on a full disk."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _sync_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> bool:
    """As `Path.is_file`, which hides some errors of a disk."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _list(root: Path, prefix: str) -> Iterator[ObjectInfo]:
    folder, _, start = prefix.rpartition("/")
    for entry in _scan(root / folder):
        if not entry.name.startswith(start) or entry.name.startswith(_TEMPORARY):
            continue
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _list(root, f"{name}/")
            continue
        with suppress(FileNotFoundError):  # deleted meanwhile
            yield ObjectInfo(name, datetime.fromtimestamp(entry.stat().st_mtime, UTC))


def _scan(folder: Path) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return tuple(entries)
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _delete(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).unlink(missing_ok=True)
    for folder in {(root / name).parent for name in names} - {root}:
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
