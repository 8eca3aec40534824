"""The journal's objects in a bucket, over obstore's store in memory."""

import asyncio
from datetime import timedelta

import pytest
from obstore.store import MemoryStore

from core.journal.buckets import BucketStorage, open_bucket


@pytest.fixture
def storage() -> BucketStorage:
    return BucketStorage(MemoryStore())


async def test_only_one_of_many_creates_an_object(storage: BucketStorage) -> None:
    created = await asyncio.gather(*(storage.create("a/b.entry", b"%d" % n) for n in range(20)))
    assert sum(created) == 1
    assert await storage.read("a/b.entry") == b"%d" % created.index(True)


async def test_a_replaced_object_has_its_last_content(storage: BucketStorage) -> None:
    await storage.replace("store.json", b"1")
    await storage.replace("store.json", b"2")
    assert await storage.read("store.json") == b"2"


async def test_an_absent_object_is_none(storage: BucketStorage) -> None:
    assert await storage.read("a/b") is None
    assert await storage.list("a/") == ()
    await storage.delete([])


async def test_a_list_has_what_begins_with_the_prefix(storage: BucketStorage) -> None:
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
    await storage.close()


def test_a_url_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        open_bucket("nowhere://x", timedelta(seconds=1))
