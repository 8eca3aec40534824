"""The journal's objects as files. What every storage does: `tests/contract`."""

import asyncio
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.journal.files import FileStorage, FolderSync
from core.journal.objects import JournalUnavailable


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[FileStorage]:
    made = FileStorage(tmp_path / "journal")
    yield made
    await made.close()


@contextmanager
def max_file_size(size: int) -> Iterator[None]:
    """Let a file take so many bytes and no more, as a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_deleted_object_is_gone_with_its_empty_folder(
    storage: FileStorage, tmp_path: Path
) -> None:
    await storage.create("d/1/a", b"")
    await storage.create("d/2/b", b"")
    await storage.delete(["d/1/a"])
    assert await storage.read("d/1/a") is None
    assert [path.name for path in (tmp_path / "journal" / "d").iterdir()] == ["2"]


async def test_only_the_owner_can_read_the_journal(storage: FileStorage, tmp_path: Path) -> None:
    await storage.create("d/a", b"")
    assert (tmp_path / "journal" / "d").stat().st_mode & 0o077 == 0
    assert (tmp_path / "journal" / "d" / "a").stat().st_mode & 0o077 == 0


async def test_file_and_folders_are_synced_before_an_object_counts(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    await storage.create("d/1/a", b"x")
    assert sorted(synced) == sorted(["a", "1", "d", "journal", tmp_path.name])
    synced.clear()
    files = [f"f{number}" for number in range(40)]  # more than there are threads for folders
    assert all(await asyncio.gather(*(storage.create(f"d/1/{name}", b"x") for name in files)))
    assert Counter(synced) == Counter([*files, *("1" for _ in files)])


@pytest.mark.parametrize("failing", ["a", "d"])
async def test_an_object_whose_file_or_folder_is_not_synced_is_not_reported_as_written(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """It stays: its writer may have been answered too late, and have used it."""

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == failing:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(JournalUnavailable, match="Input/output error"):
        await storage.create("d/a", b"x")
    assert await storage.read("d/a") == b"x"


async def test_a_full_disk_leaves_no_incomplete_object(storage: FileStorage) -> None:
    """It would count as a submit without an answer, and nothing was sent."""
    with max_file_size(1000), pytest.raises(JournalUnavailable, match="File too large"):
        await storage.create("d/a", b"x" * 5000)
    assert await storage.list("") == ()
    assert await storage.create("d/a", b"x" * 5000)
    assert await storage.read("d/a") == b"x" * 5000


async def test_a_disk_that_fails_is_a_journal_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    storage = FileStorage(tmp_path / "file")
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        await storage.create("a", b"")
    with pytest.raises(JournalUnavailable):
        await storage.replace("a", b"")
    await storage.close()


async def test_a_file_that_was_not_finished_is_no_object(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    await storage.create("a", b"")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalUnavailable, match="No space left"):
        await storage.replace("store.json", b"1")
    monkeypatch.undo()
    assert [info.name for info in await storage.list("")] == ["a"]
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["a"]


def test_a_folder_is_synced_although_the_process_ends(tmp_path: Path) -> None:
    folders = FolderSync()
    folders.close()
    for _ in range(3):
        folders.begin([tmp_path])()
    with pytest.raises(FileNotFoundError):
        folders.begin([tmp_path / "gone"])()
