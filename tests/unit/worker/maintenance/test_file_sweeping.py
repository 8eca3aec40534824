"""Files end with their time, and objects without a record do not stay."""

from datetime import datetime, timedelta
from typing import Final

import pytest

from core.errors import ObjectsUnavailable
from core.files.records import UNUSED_FILE_LIFETIME, FileEntry, StoredFile
from core.store.identity import StorePosition
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.support.clock import START, FakeClock
from tests.support.memory_store.stores import MemoryStores, memory_stores
from tests.support.object_store import MemoryObjectStore
from worker.maintenance.file_sweeping import ORPHAN_CHECK_INTERVAL, FileSweeper

DAY: Final = timedelta(days=1)


class Sweep:
    """A sweeper with a tenant's one file."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stores: MemoryStores = memory_stores(self.clock)
        self.objects = MemoryObjectStore(self.clock)
        self.stores.memory.position = StorePosition("here")
        self.is_store_known = True
        self.sweeper = self.sweeper_of(self.stores)

    def sweeper_of(self, stores: MemoryStores) -> FileSweeper:
        return FileSweeper("worker", self.objects, stores, self.clock, lambda: self.is_store_known)

    async def add_file(self, file_id: str = "file_1") -> StoredFile:
        now = self.clock.now()
        await self.stores.tenants.create(Tenant("ada", now), ApiKey("digest", "ada", now))
        file = StoredFile(file_id, "ada", now, "image/png", 3, file_id, "00")
        self.objects.put(file.object_name, b"png")
        await self.stores.files.add_upload(file)
        return file


async def test_a_file_that_no_request_uses_ends_after_a_day() -> None:
    sweep = Sweep()
    file = await sweep.add_file()
    await sweep.sweeper.expire_files()
    assert file.object_name in sweep.objects.contents
    sweep.clock.move(UNUSED_FILE_LIFETIME)
    await sweep.sweeper.expire_files()
    assert sweep.objects.contents == {}
    assert await sweep.stores.files.load(file.id) is None


async def test_a_content_that_could_not_be_deleted_goes_later() -> None:
    sweep = Sweep()
    await sweep.add_file()
    sweep.clock.move(UNUSED_FILE_LIFETIME)
    sweep.objects.is_down = True
    with pytest.raises(ObjectsUnavailable):
        await sweep.sweeper.expire_files()
    sweep.objects.is_down = False
    await sweep.sweeper.delete_orphans()
    assert sweep.objects.contents
    sweep.clock.move(2 * DAY)
    await sweep.sweeper.delete_orphans()
    assert sweep.objects.contents == {}


async def test_an_upload_in_progress_and_recorded_files_stay() -> None:
    sweep = Sweep()
    file = await sweep.add_file()
    assert await sweep.stores.files.use("ada", "req_1", [file.id])
    sweep.clock.move(10 * DAY)
    sweep.objects.put("files/ada/file_new", b"png")
    await sweep.sweeper.delete_orphans()
    assert set(sweep.objects.contents) == {file.object_name, "files/ada/file_new"}


async def test_one_worker_looks_for_orphans_each_six_hours() -> None:
    sweep = Sweep()
    await sweep.add_file()
    sweep.objects.put("files/ada/file_old", b"png")
    sweep.clock.move(3 * DAY)
    await sweep.sweeper.delete_orphans()
    sweep.objects.put("files/ada/file_later", b"png")
    sweep.objects.written["files/ada/file_later"] -= 10 * DAY
    sweep.clock.move(ORPHAN_CHECK_INTERVAL / 2)
    await sweep.sweeper_of(sweep.stores).delete_orphans()
    assert "files/ada/file_later" in sweep.objects.contents
    sweep.clock.move(ORPHAN_CHECK_INTERVAL / 2)
    await sweep.sweeper_of(sweep.stores).delete_orphans()
    assert "files/ada/file_later" not in sweep.objects.contents


async def sweep_after(position: StorePosition | None, *, days: int) -> Sweep:
    """Return a sweep that has run so many days after a file was stored that has no record."""
    sweep = Sweep()
    await sweep.add_file()
    sweep.objects.put("files/ada/file_old", b"png")
    sweep.stores.memory.position = position
    sweep.clock.move(days * DAY)
    await sweep.sweeper.delete_orphans()
    return sweep


@pytest.mark.parametrize(
    ("complete_since", "days", "stays"),
    [
        (None, 2, True),
        (None, 3, False),
        (START, 3, False),  # written in that instant, with its record
        (START + timedelta(seconds=1), 3, True),
        (START + timedelta(seconds=1), 30, True),
        (START + timedelta(seconds=1), 31, False),
    ],
)
async def test_what_may_have_lost_its_record_stays_for_a_month(
    complete_since: datetime | None, days: int, *, stays: bool
) -> None:
    """After a restored backup, outputs that were paid for were deleted two days later."""
    sweep = await sweep_after(StorePosition("here", complete_since=complete_since), days=days)
    assert ("files/ada/file_old" in sweep.objects.contents) is stays


@pytest.mark.parametrize(
    "position", [None, StorePosition("here", compare_since=START)], ids=["unknown", "went back"]
)
async def test_a_store_that_must_be_compared_deletes_nothing(
    position: StorePosition | None,
) -> None:
    sweep = await sweep_after(position, days=10)
    assert "files/ada/file_old" in sweep.objects.contents


async def test_a_store_that_goes_back_meanwhile_deletes_nothing() -> None:
    sweep = Sweep()
    await sweep.add_file()
    sweep.objects.put("files/ada/file_old", b"png")
    sweep.stores.memory.position = StorePosition("here", claims=5)
    sweep.clock.move(10 * DAY)
    load = sweep.stores.files.load

    async def go_back(file_id: str) -> FileEntry | None:
        sweep.stores.memory.position = StorePosition("here", claims=4)
        return await load(file_id)

    sweep.stores.files.load = go_back  # type: ignore[method-assign]  # a fake of our own
    await sweep.sweeper.delete_orphans()
    assert "files/ada/file_old" in sweep.objects.contents


async def test_before_the_store_is_known_nothing_is_deleted_and_no_check_is_used_up() -> None:
    sweep = Sweep()
    await sweep.add_file()
    sweep.objects.put("files/ada/file_old", b"png")
    sweep.clock.move(10 * DAY)
    sweep.is_store_known = False
    await sweep.sweeper.delete_orphans()
    assert "files/ada/file_old" in sweep.objects.contents
    sweep.is_store_known = True
    await sweep.sweeper.delete_orphans()
    assert "files/ada/file_old" not in sweep.objects.contents


async def test_nothing_of_an_unknown_tenant_is_deleted() -> None:
    sweep = Sweep()
    file = await sweep.add_file()
    sweep.clock.move(10 * DAY)
    empty = memory_stores(sweep.clock)
    sweeper = sweep.sweeper_of(empty)
    await sweeper.expire_files()
    await sweeper.delete_orphans()
    assert file.object_name in sweep.objects.contents
