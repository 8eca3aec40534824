"""What differs between storage, records and requests is found, and repaired where that is safe."""

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Final

import pytest

from core.archive import ArchivedOutput, ArchiveMode
from core.errors import NotFound
from core.files.records import FILE_CHECK_INTERVAL, ORPHAN_AGE, UNUSED_FILE_LIFETIME, StoredFile
from core.jobs.input_parts import InputPart
from core.jobs.job import Job, Trigger
from core.objects.archive_audit import Difference
from core.observability.events import Event
from core.transactions.job_update import Change, WriteResult
from core.webhooks.url_policy import TargetPolicy
from service.admin.archive_check import CheckResult, check_archive, repair_archive
from service.operator_context import AdminContext
from tests.support.backends import StoreBackend
from tests.support.ids import SeededIds
from tests.support.object_store import MemoryObjectStore
from tests.support.store_steps import admission_of, admit_job, apply_triggers, new_job

CONTENT: Final = b"0123456789"
SECOND: Final = timedelta(seconds=1)


def _ignore(_: Event) -> None:
    return


@dataclass
class Archive:
    """A storage beside a store, in which a file may lack what belongs to it."""

    backend: StoreBackend
    objects: MemoryObjectStore
    admin: AdminContext

    async def add_file(self, file_id: str, tenant: str = "ada") -> StoredFile:
        now = self.backend.clock.now()
        file = StoredFile(file_id, tenant, now, "video/mp4", len(CONTENT), file_id, "00")
        await self.backend.files.add_upload(file)
        self.objects.put(file.object_name, CONTENT)
        return file

    async def add_request(self, job_id: str, *file_ids: str, tenant: str = "ada") -> Job:
        """A completed request whose outputs are these files; none counts it as a user yet."""
        job = await admit_job(self.backend, job_id, tenant)
        before = await apply_triggers(
            self.backend, job, Trigger.CLAIMED, Trigger.ACCEPTED, Trigger.FINISHED
        )
        now = self.backend.clock.now()
        outputs = tuple(
            ArchivedOutput("video", f"https://a/{file_id}", file_id) for file_id in file_ids
        )
        after = before.transition(
            Trigger.COLLECTED,
            now,
            next_run_at=None,
            finished_at=now,
            archive=ArchiveMode.AFTER,
            outputs=outputs,
            archived_at=now,
        )
        assert await self.backend.jobs.store(Change(before, after)) is WriteResult.STORED
        return after

    async def check(self, tenant: str | None = None) -> CheckResult:
        return await check_archive(self.admin, self.objects, tenant)

    async def repair(self, *, delete_objects: bool = False) -> CheckResult:
        return await repair_archive(self.admin, self.objects, delete_objects=delete_objects)

    async def found(self) -> list[tuple[Difference, str | None, str | None]]:
        listed = (await self.check()).findings
        return [(each.difference, each.file_id, each.request_id) for each in listed]


@pytest.fixture
def archive(backend: StoreBackend) -> Archive:
    ids, targets = SeededIds(Random(1)), TargetPolicy()
    admin = AdminContext("cli:test", backend, backend.clock, ids, targets, _ignore)
    return Archive(backend, MemoryObjectStore(backend.clock), admin)


async def test_what_belongs_together_differs_in_nothing(archive: Archive) -> None:
    await archive.add_file("file_1")
    await archive.add_file("file_2", "bob")
    for job_id in ("req_1", "req_2"):
        await archive.backend.files.use("ada", job_id, ["file_1"])
        await archive.add_request(job_id, "file_1")
    result = await archive.check()
    assert (result.ok, result.findings, result.differences) == (True, [], {})
    assert (result.objects, result.bytes, result.files) == (2, 2 * len(CONTENT), 2)
    assert (result.requests, result.users, result.ended_users) == (2, 2, 0)
    one = await archive.check("bob")
    assert (one.ok, one.objects, one.files, one.requests) == (True, 1, 1, 0)
    with pytest.raises(NotFound):
        await archive.check("nobody")


async def test_a_record_without_its_content_or_with_another_one(archive: Archive) -> None:
    missing, cut = await archive.add_file("file_1"), await archive.add_file("file_2")
    await archive.objects.delete([missing.object_name])
    archive.objects.put(cut.object_name, CONTENT[1:])
    assert sorted(await archive.found()) == [
        (Difference.OBJECT_MISSING, "file_1", None),
        (Difference.SIZE_DIFFERS, "file_2", None),
    ]
    repaired = await archive.repair()
    assert (repaired.ok, {each.repaired for each in repaired.findings}) == (False, {False})


async def test_a_content_without_a_record_is_deleted_once_it_is_no_upload_any_more(
    archive: Archive,
) -> None:
    archive.objects.put("files/ada/file_1", CONTENT)
    archive.objects.put("files/stranger/file_2", CONTENT)
    archive.backend.clock.move(ORPHAN_AGE - SECOND)
    assert await archive.found() == []
    archive.backend.clock.move(SECOND)
    assert sorted(await archive.found()) == [
        (Difference.RECORD_MISSING, "file_1", None),
        (Difference.RECORD_MISSING, "file_2", None),
    ]
    kept = await archive.repair()
    assert (kept.ok, {each.repaired for each in kept.findings}) == (False, {False})
    assert len(archive.objects.contents) == 2
    repaired = await archive.repair(delete_objects=True)
    assert not repaired.ok
    # A tenant that this store does not know may be another gateway's.
    assert set(archive.objects.contents) == {"files/stranger/file_2"}
    assert {each.tenant: each.repaired for each in repaired.findings} == {
        "ada": True,
        "stranger": False,
    }


async def test_a_content_without_a_record_stays_while_a_request_names_it(archive: Archive) -> None:
    parts = (InputPart(0, 1, "file_2"),)
    job = replace(new_job(archive.backend.clock.now(), "req_2"), input_parts=parts)
    await archive.backend.jobs.admit(admission_of(job))
    await apply_triggers(archive.backend, job, Trigger.CANCEL_REQUESTED)
    await archive.add_request("req_1", "file_1")
    for number in (1, 2, 3):
        archive.objects.put(f"files/ada/file_{number}", CONTENT)
    archive.backend.clock.move(ORPHAN_AGE)
    repaired = await archive.repair(delete_objects=True)
    assert set(archive.objects.contents) == {"files/ada/file_1", "files/ada/file_2"}
    found = [
        (each.difference, each.file_id, each.request_id, each.repaired)
        for each in repaired.findings
    ]
    assert sorted(found, key=str) == [
        (Difference.FILE_MISSING, "file_1", "req_1", False),
        (Difference.RECORD_MISSING, "file_1", "req_1", False),
        (Difference.RECORD_MISSING, "file_2", "req_2", False),
        (Difference.RECORD_MISSING, "file_3", None, True),
    ]


async def test_nothing_of_a_tenant_is_deleted_whose_requests_were_not_read(
    archive: Archive,
) -> None:
    await archive.add_request("req_1", "file_1", tenant="bob")
    archive.objects.put("files/bob/file_1", CONTENT)
    archive.objects.put("files/bob/file_2", CONTENT)
    before = await archive.backend.tenants.load("bob")
    assert before is not None
    now = archive.backend.clock.now()
    after = replace(before, disabled=True, deleted_at=now, version=before.version + 1)
    assert await archive.backend.tenants.delete(before, after)
    archive.backend.clock.move(ORPHAN_AGE)
    repaired = await archive.repair(delete_objects=True)
    assert {each.repaired for each in repaired.findings} == {False}
    assert len(archive.objects.contents) == 2


async def test_a_request_that_its_output_does_not_count_would_lose_it(archive: Archive) -> None:
    await archive.add_file("file_1")
    await archive.add_request("req_1", "file_1", "file_gone")
    assert sorted(await archive.found()) == [
        (Difference.FILE_MISSING, "file_gone", "req_1"),
        (Difference.USER_MISSING, "file_1", "req_1"),
    ]
    repaired = await archive.repair()
    assert [each.repaired for each in repaired.findings if each.file_id == "file_1"] == [True]
    assert await archive.found() == [(Difference.FILE_MISSING, "file_gone", "req_1")]
    assert await archive.backend.files.is_user("req_1", "file_1")
    (entry,) = await archive.backend.audit.list_entries(10)
    assert (entry.action, entry.subject, entry.change) == (
        "archive.repair",
        "all",
        "1 of 2 differences",
    )


async def test_an_input_is_missed_only_while_its_request_goes_on(archive: Archive) -> None:
    parts = (InputPart(0, 1, "file_gone"),)
    job = replace(new_job(archive.backend.clock.now(), "req_1"), input_parts=parts)
    await archive.backend.jobs.admit(admission_of(job))
    assert await archive.found() == [(Difference.FILE_MISSING, "file_gone", "req_1")]
    ended = await apply_triggers(archive.backend, job, Trigger.CANCEL_REQUESTED)
    assert ended.is_final
    assert await archive.found() == []


async def test_a_deleted_request_is_no_difference_until_its_file_is_overdue(
    archive: Archive,
) -> None:
    await archive.add_file("file_1")
    await archive.backend.files.use("ada", "req_gone", ["file_1"])
    result = await archive.check()
    assert (result.ok, result.users, result.ended_users) == (True, 1, 1)
    archive.backend.clock.move(UNUSED_FILE_LIFETIME + FILE_CHECK_INTERVAL)
    assert await archive.found() == []
    archive.backend.clock.move(SECOND)
    assert await archive.found() == [(Difference.OVERDUE, "file_1", None)]
