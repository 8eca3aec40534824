"""The journal's objects as files. What every storage does: `tests/contract`."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.journal.files import FileStorage
from core.journal.objects import JournalUnavailable


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[FileStorage]:
    made = FileStorage(tmp_path / "journal")
    yield made
    await made.close()


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
    assert synced == ["a", "1", "d", "journal", tmp_path.name]
    synced.clear()
    await storage.create("d/1/b", b"x")
    assert synced == ["b", "1"]


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
