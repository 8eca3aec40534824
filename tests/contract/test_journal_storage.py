"""The journal's objects: in memory, as files, in a bucket of obstore's in memory, and on S3."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from obstore.store import MemoryStore

from core.journal.buckets import BucketStorage, open_bucket
from core.journal.files import FileStorage
from core.journal.objects import JournalUnavailable, ObjectStorage
from tests.support.journal import JOURNAL_TIMEOUT, MemoryObjects
from tests.support.s3_server import PAGE, S3Faults, S3Server

WRITERS: Final = 20
SLOW: Final = timedelta(seconds=2)


@pytest.fixture(params=["memory", "folder", "bucket", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStorage]:
    opened = _open(request, tmp_path)
    yield opened
    await opened.close()


def _open(request: pytest.FixtureRequest, folder: Path) -> ObjectStorage:
    match request.param:
        case "memory":
            return MemoryObjects()
        case "folder":
            return FileStorage(folder / "journal")
        case "bucket":
            return BucketStorage(MemoryStore())
        case _:
            return on_s3(request.getfixturevalue("s3_bucket"))


def on_s3(bucket: str) -> BucketStorage:
    return open_bucket(f"{bucket}/journal", JOURNAL_TIMEOUT)


async def test_only_one_of_many_creates_an_object(storage: ObjectStorage) -> None:
    contents = [b"%d" % number for number in range(WRITERS)]
    created = await asyncio.gather(*(storage.create("a/b.entry", each) for each in contents))
    assert sum(created) == 1
    assert await storage.read("a/b.entry") == contents[created.index(True)]


async def test_a_replaced_object_has_its_last_content(storage: ObjectStorage) -> None:
    await storage.replace("store.json", b"1")
    await storage.replace("store.json", b"2")
    assert await storage.read("store.json") == b"2"
    assert [info.name for info in await storage.list("")] == ["store.json"]


async def test_an_object_exists_once_it_was_written(storage: ObjectStorage) -> None:
    assert not await storage.exists("a/b.entry")
    await storage.create("a/b.entry", b"1")
    assert await storage.exists("a/b.entry")
    assert not await storage.exists("a/b.entry/c")
    assert not await storage.exists("a/b")
    await storage.delete(["a/b.entry"])
    assert not await storage.exists("a/b.entry")


async def test_an_absent_object_is_none(storage: ObjectStorage) -> None:
    assert await storage.read("a/b") is None
    assert list(await storage.list("a/")) == []
    await storage.delete([])
    await storage.delete(["a/b"])


async def test_a_list_has_what_begins_with_the_prefix(storage: ObjectStorage) -> None:
    for name in ("d/1/a.1.entry", "d/1/a.1.accepted", "d/1/ab.1.entry", "d/2/c.1.entry", "e/x"):
        assert await storage.create(name, b"")
    assert {info.name for info in await storage.list("d/1/a.")} == {
        "d/1/a.1.entry",
        "d/1/a.1.accepted",
    }
    assert len(await storage.list("d/")) == 4
    assert len(await storage.list("")) == 5
    await storage.delete(["d/1/a.1.entry", "e/x"])
    assert len(await storage.list("")) == 3


async def test_a_list_is_complete_beyond_one_page(storage: ObjectStorage) -> None:
    names = [f"d/{number}" for number in range(2 * PAGE + 1)]
    await asyncio.gather(*(storage.create(name, b"") for name in names))
    assert {info.name for info in await storage.list("d/")} == set(names)


async def test_an_object_that_was_deleted_can_be_created_again(storage: ObjectStorage) -> None:
    assert await storage.create("a", b"1")
    await storage.delete(["a"])
    assert await storage.create("a", b"2")
    assert await storage.read("a") == b"2"


async def test_no_object_is_created_twice_while_s3_fails(s3: S3Server, s3_bucket: str) -> None:
    """Half of the calls that fail have been done."""
    storage = on_s3(s3_bucket)
    s3.fail(S3Faults(rate=0.3))
    names = [f"a/{number}" for number in range(100)]
    before = await asyncio.gather(
        *(storage.create(name, b"1") for name in names), return_exceptions=True
    )
    s3.fail(S3Faults())
    after = await asyncio.gather(*(storage.create(name, b"2") for name in names))
    contents = await asyncio.gather(*(storage.read(name) for name in names))
    for first, second, content in zip(before, after, contents, strict=True):
        assert isinstance(first, bool | JournalUnavailable)
        assert content == (b"2" if second else b"1")
        assert not (first is True and second)


async def test_a_refusal_by_s3_is_a_journal_that_is_away(s3: S3Server, s3_bucket: str) -> None:
    storage = on_s3(s3_bucket)
    s3.fail(S3Faults(rate=1, status=403))
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        await storage.create("a", b"")
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        await storage.read("a")


async def test_a_missing_bucket_is_a_journal_that_is_away(s3: S3Server) -> None:
    del s3  # only reachable
    storage = on_s3("s3://nobody-made-it")
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        await storage.create("a", b"")
    with pytest.raises(JournalUnavailable, match="cannot be used"):
        await storage.read("a")


async def test_concurrent_creations_on_s3_do_not_queue_behind_one_another(
    s3: S3Server, s3_bucket: str
) -> None:
    """Each call takes two seconds: all end long before a queue of them would."""
    storage = on_s3(s3_bucket)
    s3.fail(S3Faults(delay_seconds=SLOW.total_seconds()))
    creations = (storage.create(f"a/{number}", b"") for number in range(WRITERS))
    async with asyncio.timeout(WRITERS * SLOW.total_seconds() / 2):
        assert all(await asyncio.gather(*creations))
