"""The store of objects: in memory, as files, in a bucket of obstore's in memory, and on S3."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from obstore.store import MemoryStore

from core.errors import ObjectMissing, ObjectsUnavailable
from core.objects.object_store import ObjectStore
from core.objects.obstore_client import open_obstore
from core.objects.obstore_objects import ObstoreObjects
from tests.support.object_store import MemoryObjectStore
from tests.support.s3_server import PAGE, S3Faults, S3Server

PIECE: Final = b"x" * 65_536
PART_PIECES: Final = 90
"""More than the five megabytes of a part of an upload to S3."""
MINUTE: Final = timedelta(minutes=1)


@pytest.fixture(params=["memory", "folder", "bucket", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    match request.param:
        case "memory":
            return MemoryObjectStore()
        case "folder":
            return ObstoreObjects(open_obstore(f"file://{tmp_path}", MINUTE))
        case "bucket":
            return ObstoreObjects(MemoryStore())
        case _:
            return on_s3(request.getfixturevalue("s3_bucket"))


def on_s3(bucket: str) -> ObjectStore:
    return ObstoreObjects(open_obstore(f"{bucket}/files", MINUTE))


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


async def test_a_large_object_is_written_in_parts(objects: ObjectStore) -> None:
    await objects.write("a/b", pieces(*[PIECE] * PART_PIECES, b"end"))
    assert await content_of(objects, PART_PIECES * len(PIECE)) == b"end"


async def test_every_page_of_a_list_is_read(objects: ObjectStore) -> None:
    names = {f"a/{number}" for number in range(2 * PAGE + 1)}
    await asyncio.gather(*(objects.write(name, pieces(b"")) for name in names))
    assert await names_in(objects, "a/") == names


async def test_a_presigned_address_of_s3_serves_the_object(s3_bucket: str) -> None:
    objects = on_s3(s3_bucket)
    await objects.write("a/b", pieces(b"content"))
    address = await objects.presign("a/b", MINUTE)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(str(address))).content == b"content"


async def test_s3_that_fails_or_has_no_such_bucket_is_away(s3: S3Server, s3_bucket: str) -> None:
    """Neither is an object that is missing."""
    absent, failing = on_s3("s3://nobody-made-it"), on_s3(s3_bucket)
    await failing.write("a/b", pieces(b"content"))
    s3.fail(S3Faults(rate=1, status=403))
    with pytest.raises(ObjectsUnavailable):
        await failing.read("a/b")
    s3.fail(S3Faults())
    with pytest.raises(ObjectsUnavailable):
        await absent.write("a/b", pieces(b"content"))
    with pytest.raises(ObjectsUnavailable):
        await absent.read("a/b")
    with pytest.raises(ObjectsUnavailable):
        await names_in(absent, "a/")
