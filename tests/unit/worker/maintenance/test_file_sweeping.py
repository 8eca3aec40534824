"""Files end with their time, and objects without a record do not stay."""

from datetime import timedelta
from typing import Final

import pytest

from core.errors import ObjectsUnavailable
from core.files import UNUSED_FILE_LIFETIME, StoredFile
from core.tenants.api_keys import ApiKey
from core.tenants.tenant import Tenant
from tests.support.clock import FakeClock
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
        self.sweeper = self.sweeper_of(self.stores)

    def sweeper_of(self, stores: MemoryStores) -> FileSweeper:
        return FileSweeper("worker", self.objects, stores.files, stores.tenants, self.clock)

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


async def test_nothing_of_an_unknown_tenant_is_deleted() -> None:
    sweep = Sweep()
    file = await sweep.add_file()
    sweep.clock.move(10 * DAY)
    empty = memory_stores(sweep.clock)
    sweeper = sweep.sweeper_of(empty)
    await sweeper.expire_files()
    await sweeper.delete_orphans()
    assert file.object_name in sweep.objects.contents
