"""The storage of objects: the fake and a folder behave the same, and nothing half is ever seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from obstore.store import MemoryStore
from pydantic import ValidationError

from core.errors import ObjectMissing, ObjectsUnavailable
from core.objects.object_store import ObjectStore
from core.objects.obstore_client import open_obstore
from core.objects.obstore_objects import ObstoreObjects
from core.objects.open import open_objects
from core.settings import JournalSettings, ObjectSettings
from tests.support.object_store import MemoryObjectStore

PIECE: Final = b"x" * 65_536
MINUTE: Final = timedelta(minutes=1)


@pytest.fixture(params=["memory", "folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "bucket":
        return ObstoreObjects(MemoryStore())
    return MemoryObjectStore() if request.param == "memory" else folder(tmp_path)


def folder(path: Path) -> ObjectStore:
    return ObstoreObjects(open_obstore(f"file://{path}", MINUTE))


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def content_of(objects: ObjectStore, *bounds: int, name: str = "a/b") -> bytes:
    return b"".join([chunk async for chunk in await objects.read(name, *bounds)])


async def names_in(objects: ObjectStore, prefix: str) -> set[str]:
    return {each.name async for batch in objects.list(prefix) for each in batch}


def files_in(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()]


async def test_an_object_is_read_whole_and_in_ranges(objects: ObjectStore) -> None:
    await objects.write("a/b", pieces(b"0123", b"456", b"789"))
    assert await content_of(objects) == b"0123456789"
    assert await content_of(objects, 2, 5) == b"234"
    assert await content_of(objects, 7) == b"789"
    assert await content_of(objects, 3, 3) == b""
    with objects.open("a/b", 10) as file:
        assert (file.read(3), file.seek(-2, 2), file.read(), file.tell()) == (b"012", 8, b"89", 10)


async def test_objects_are_listed_by_folder_and_deleted(objects: ObjectStore) -> None:
    for name in ("a/1", "a/b/2", "ab/3"):
        await objects.write(name, pieces(b"content"))
    assert await names_in(objects, "a/") == {"a/1", "a/b/2"}
    assert await names_in(objects, "none/") == set()
    await objects.delete(["a/1", "a/never"])
    assert await names_in(objects, "a/") == {"a/b/2"}
    with pytest.raises(ObjectMissing):
        await objects.read("a/1")


async def test_an_object_is_replaced_as_a_whole(objects: ObjectStore) -> None:
    await objects.write("a/b", pieces(b"long content"))
    await objects.write("a/b", pieces(b"short"))
    assert await content_of(objects) == b"short"


async def test_a_stream_that_fails_leaves_nothing(objects: ObjectStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield PIECE
        raise ConnectionError("the caller is gone")

    with pytest.raises(ConnectionError):
        await objects.write("a/b", broken())
    assert await names_in(objects, "a/") == set()
    assert files_in(tmp_path) == []


async def test_a_write_that_is_cancelled_leaves_nothing(
    objects: ObjectStore, tmp_path: Path
) -> None:
    began = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield PIECE
        began.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(objects.write("a/b", stuck()))
    await began.wait()
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    assert writing.cancelled()
    assert await names_in(objects, "a/") == set()
    assert files_in(tmp_path) == []


async def test_what_a_killed_upload_left_is_deleted_once_it_is_old(tmp_path: Path) -> None:
    objects = folder(tmp_path)
    await objects.write("a/b", pieces(PIECE))
    (tmp_path / "a" / "c#1").write_bytes(PIECE)
    now = datetime.now(UTC)
    await objects.delete_incomplete(now - MINUTE)
    assert len(files_in(tmp_path)) == 2
    await objects.delete_incomplete(now + MINUTE)
    assert files_in(tmp_path) == [tmp_path / "a" / "b"]


async def test_a_folder_that_cannot_be_written_is_said_to_be_away(tmp_path: Path) -> None:
    objects = folder(tmp_path / "objects")
    (tmp_path / "objects" / "a").write_bytes(b"a file where a folder must be")
    with pytest.raises(ObjectsUnavailable) as refused:
        await objects.write("a/b", pieces(PIECE))
    assert str(tmp_path) not in str(refused.value)
    assert refused.value.operator_detail


async def test_a_folder_has_no_addresses_of_its_own(tmp_path: Path) -> None:
    assert await folder(tmp_path).presign("a/b", MINUTE) is None


async def test_a_bucket_presigns_without_being_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    address = await ObstoreObjects(open_obstore("s3://bucket/prefix", MINUTE)).presign("a", MINUTE)
    assert address is not None
    assert address.startswith("https://s3.eu-west-1.amazonaws.com/bucket/prefix/a?")
    assert "X-Amz-Expires=60" in address
    assert "secret" not in address


def test_the_folder_of_the_settings_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "objects"
    assert open_objects(ObjectSettings(url=f"file://{path}")) is not None
    assert path.stat().st_mode & 0o777 == 0o700
    assert open_objects(ObjectSettings()) is None


def test_a_folder_that_cannot_be_created_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"[Nn]ot a directory|File exists"):
        open_objects(ObjectSettings(url=f"file://{tmp_path}/file/objects"))


@pytest.mark.parametrize("url", ["file:///", "s3:///x", "s3://", "gs://-x/y", "az://", "ftp://a/b"])
def test_a_url_without_a_folder_or_a_bucket_is_a_wrong_setting(url: str) -> None:
    for settings in (ObjectSettings, JournalSettings):
        with pytest.raises(ValidationError, match=r"names no|must start with"):
            settings(url=url)


async def test_a_sweep_leaves_an_object_whose_name_only_looks_staged(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    kept, staged = tmp_path / "files" / "notes#old.txt", tmp_path / "files" / "notes#12"
    for path in (kept, staged):
        path.write_bytes(b"x")
    await folder(tmp_path).delete_incomplete(datetime.now(UTC) + MINUTE)
    assert files_in(tmp_path) == [kept]
