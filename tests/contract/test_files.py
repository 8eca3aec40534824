"""Records of files: owned by one tenant, limited, and kept as long as a request uses them."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from core.archive import ArchivedOutput
from core.billing.usage import Budget
from core.errors import LimitReached, Unauthenticated
from core.files.records import (
    FILE_CHECK_INTERVAL,
    UNUSED_FILE_LIFETIME,
    FileEntry,
    FileRemoval,
    StoredFile,
)
from core.quotas import QuotaPolicy
from core.retention import RETENTION
from core.store.files import DueFile
from core.tenants.limits import Limits
from core.transactions.job_update import WriteResult
from tests.support.backends import StoreBackend
from tests.support.store_steps import admission_of, cancellation_change, new_job

SECOND: Final = timedelta(seconds=1)


def new_file(
    backend: StoreBackend, file_id: str, tenant: str = "ada", content: str = "", size: int = 10
) -> StoredFile:
    return StoredFile(
        file_id, tenant, backend.clock.now(), "image/png", size, content or file_id, "00"
    )


async def limit(backend: StoreBackend, limits: Limits) -> None:
    before = await backend.tenants.load("ada")
    assert before is not None
    assert await backend.tenants.change(
        before, replace(before, version=before.version + 1, limits=limits)
    )


async def test_a_file_is_stored_and_expires_after_a_day_without_use(backend: StoreBackend) -> None:
    file = new_file(backend, "file_1")
    added = await backend.files.add_upload(file)
    assert added == FileEntry(file, backend.clock.now() + UNUSED_FILE_LIFETIME)
    assert await backend.files.load("file_1") == added
    assert await backend.files.load("file_2") is None
    backend.clock.move(UNUSED_FILE_LIFETIME - SECOND)
    assert await backend.files.list_due(10) == []
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.IN_USE
    backend.clock.move(SECOND)
    assert await backend.files.list_due(10) == [DueFile("ada", "file_1")]
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.REMOVED
    assert await backend.files.load("file_1") is None
    assert await backend.files.list_due(10) == []


async def test_what_a_worker_keeps_has_an_hour_to_be_used(backend: StoreBackend) -> None:
    file = new_file(backend, "file_1")
    added = await backend.files.add(file)
    assert added == FileEntry(file, backend.clock.now() + FILE_CHECK_INTERVAL)


async def test_equal_content_is_one_file_of_each_tenant(backend: StoreBackend) -> None:
    first = await backend.files.add_upload(new_file(backend, "file_1", content="same"))
    backend.clock.move(SECOND)
    again = await backend.files.add_upload(new_file(backend, "file_2", content="same"))
    assert again == replace(first, expires_at=first.expires_at + SECOND)
    others = await backend.files.add_upload(new_file(backend, "file_3", "bob", content="same"))
    assert others.file.id == "file_3"
    usage = await backend.files.read_usage("ada", backend.clock.now())
    assert (usage.stored_bytes, usage.uploaded_bytes) == (10, 20)
    whole = await backend.tenants.read_usage("ada", Budget(Limits()), backend.clock.now())
    assert whole.files == usage


async def test_content_can_be_uploaded_again_after_its_file_was_removed(
    backend: StoreBackend,
) -> None:
    await backend.files.add_upload(new_file(backend, "file_1", content="same"))
    assert await backend.files.remove("ada", "file_1") is FileRemoval.REMOVED
    assert (
        await backend.files.add_upload(new_file(backend, "file_2", content="same"))
    ).file.id == ("file_2")


async def test_the_bytes_of_a_day_are_limited(backend: StoreBackend) -> None:
    await limit(backend, Limits(upload_bytes_per_day=25))
    await backend.files.add_upload(new_file(backend, "file_1", content="same"))
    await backend.files.add_upload(new_file(backend, "file_2", content="same"))
    with pytest.raises(LimitReached) as refused:
        await backend.files.add_upload(new_file(backend, "file_3"))
    assert refused.value.policy == QuotaPolicy.UPLOAD_BYTES_DAY
    assert refused.value.retry_after is not None
    backend.clock.move(refused.value.retry_after)
    await backend.files.add_upload(new_file(backend, "file_3"))


async def test_the_stored_bytes_are_limited_and_given_back(backend: StoreBackend) -> None:
    await limit(backend, Limits(storage_bytes=25))
    await backend.files.add_upload(new_file(backend, "file_1"))
    await backend.files.add_upload(new_file(backend, "file_2"))
    with pytest.raises(LimitReached) as refused:
        await backend.files.add_upload(new_file(backend, "file_3"))
    assert (refused.value.policy, refused.value.retry_after) == (QuotaPolicy.STORAGE_BYTES, None)
    assert await backend.files.remove("ada", "file_1") is FileRemoval.REMOVED
    await backend.files.add_upload(new_file(backend, "file_3"))


async def test_what_is_refused_for_want_of_room_counts_as_uploaded(backend: StoreBackend) -> None:
    """Else a tenant could upload without end, as long as nothing fits."""
    await limit(backend, Limits(storage_bytes=15, upload_bytes_per_day=25))
    await backend.files.add_upload(new_file(backend, "file_1"))
    for policy in (QuotaPolicy.STORAGE_BYTES, QuotaPolicy.UPLOAD_BYTES_DAY):
        with pytest.raises(LimitReached) as refused:
            await backend.files.add_upload(new_file(backend, "file_2"))
        assert refused.value.policy == policy


async def test_a_content_that_was_not_kept_is_only_found(backend: StoreBackend) -> None:
    with pytest.raises(LimitReached):
        await backend.files.find_upload(new_file(backend, "file_1", content="same"))
    assert await backend.files.load("file_1") is None
    await backend.files.add_upload(new_file(backend, "file_2", content="same"))
    found = await backend.files.find_upload(new_file(backend, "file_3", content="same"))
    assert found.file.id == "file_2"


async def test_files_are_listed_newest_first_in_pages(backend: StoreBackend) -> None:
    for number in range(5):
        await backend.files.add(new_file(backend, f"file_{number}"))
    await backend.files.add(new_file(backend, "file_9", "bob"))
    first = await backend.files.list_page("ada", "", 3)
    assert [entry.file.id for entry in first.items] == ["file_4", "file_3", "file_2"]
    second = await backend.files.list_page("ada", first.cursor or "", 3)
    assert [entry.file.id for entry in second.items] == ["file_1", "file_0"]
    assert second.cursor is None


async def test_another_tenants_file_can_neither_be_used_nor_removed(backend: StoreBackend) -> None:
    await backend.files.add(new_file(backend, "file_1"))
    await backend.files.add(new_file(backend, "file_2", "bob"))
    assert not await backend.files.use("bob", "req_1", ["file_2", "file_1"])
    assert await backend.files.remove("bob", "file_1") is FileRemoval.NOT_FOUND
    assert await backend.files.load("file_1") is not None
    assert not await backend.files.use("ada", "req_1", ["file_3"])


async def test_a_used_file_goes_with_its_last_request(backend: StoreBackend) -> None:
    await backend.files.add(new_file(backend, "file_1"))
    jobs = [new_job(backend.clock.now(), f"req_{number}", "ada") for number in range(2)]
    for job in jobs:
        assert await backend.files.use("ada", job.id, ["file_1"])
        await backend.jobs.admit(admission_of(job))
    assert await backend.files.remove("ada", "file_1") is FileRemoval.IN_USE
    backend.clock.move(UNUSED_FILE_LIFETIME)
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.IN_USE
    await backend.probe.forget_job("req_0")
    backend.clock.move(RETENTION)
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.IN_USE
    await backend.probe.forget_job("req_1")
    assert await backend.files.list_due(1) == []
    backend.clock.move(FILE_CHECK_INTERVAL)
    assert await backend.files.list_due(1) == [DueFile("ada", "file_1")]
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.REMOVED


async def test_a_file_whose_requests_have_ended_can_be_removed(backend: StoreBackend) -> None:
    await backend.files.add(new_file(backend, "file_1"))
    job = new_job(backend.clock.now(), "req_1", "ada")
    assert await backend.files.use("ada", job.id, ["file_1"])
    await backend.jobs.admit(admission_of(job))
    assert await backend.files.remove("ada", "file_1") is FileRemoval.IN_USE
    change = cancellation_change(job, backend.clock.now())
    assert await backend.jobs.store(change) is WriteResult.STORED
    assert await backend.files.remove("ada", "file_1") is FileRemoval.REMOVED


async def test_a_kept_output_goes_only_with_its_request(backend: StoreBackend) -> None:
    await backend.files.add(new_file(backend, "file_1"))
    job = new_job(backend.clock.now(), "req_1", "ada")
    assert await backend.files.use("ada", job.id, ["file_1"])
    await backend.jobs.admit(admission_of(job))
    change = cancellation_change(job, backend.clock.now())
    outputs = (ArchivedOutput("video", "https://media.runcomfy.net/1", "file_1"),)
    ended = replace(change, after=replace(change.after, outputs=outputs))
    assert await backend.jobs.store(ended) is WriteResult.STORED
    assert await backend.files.remove("ada", "file_1") is FileRemoval.IN_USE
    await backend.probe.forget_job("req_1")
    assert await backend.files.remove("ada", "file_1") is FileRemoval.REMOVED


async def test_a_submit_that_was_refused_keeps_its_file_for_an_hour_at_most(
    backend: StoreBackend,
) -> None:
    await backend.files.add(new_file(backend, "file_1"))
    backend.clock.move(UNUSED_FILE_LIFETIME - SECOND)
    assert await backend.files.use("ada", "req_never", ["file_1"])
    backend.clock.move(SECOND)
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.IN_USE
    backend.clock.move(FILE_CHECK_INTERVAL)
    assert await backend.files.expire(DueFile("ada", "file_1")) is FileRemoval.REMOVED


async def test_a_deleted_tenants_files_go_with_it_but_not_those_of_open_jobs(
    backend: StoreBackend,
) -> None:
    for number in (1, 2):
        await backend.files.add(new_file(backend, f"file_{number}"))
    job = new_job(backend.clock.now(), "req_1", "ada")
    assert await backend.files.use("ada", job.id, ["file_2"])
    await backend.jobs.admit(admission_of(job))
    before = await backend.tenants.load("ada")
    assert before is not None
    after = replace(before, version=before.version + 1, deleted_at=backend.clock.now())
    assert await backend.tenants.delete(before, after)
    due = sorted(await backend.files.list_due(10), key=lambda each: each.id)
    assert due == [DueFile("ada", "file_1"), DueFile("ada", "file_2")]
    assert [await backend.files.expire(each) for each in due] == [
        FileRemoval.REMOVED,
        FileRemoval.IN_USE,
    ]
    with pytest.raises(Unauthenticated):
        await backend.files.add(new_file(backend, "file_3"))
    change = cancellation_change(job, backend.clock.now())
    assert await backend.jobs.store(change) is WriteResult.STORED
    assert await backend.files.expire(due[1]) is FileRemoval.REMOVED
