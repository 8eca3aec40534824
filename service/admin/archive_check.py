"""Operators' use case: compare the storage with the records of files and with the requests.

Every difference is read again before it is reported: files come and go during a check.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Final

from pydantic import Field

from core.errors import ObjectMissing
from core.files.records import FILES_FOLDER, CountedFile
from core.jobs.job import Job
from core.jobs.query import MAX_JOBS_PER_PAGE, JobQuery
from core.objects.archive_audit import (
    Difference,
    Finding,
    compare_object,
    files_named_by,
    files_needed_by,
    is_overdue,
    must_count,
)
from core.objects.object_store import ObjectStore, StoredObject
from core.page import Page
from service.operator_context import EVERYBODY, AdminContext
from service.parsing.request_models import Document
from service.tenants.tenants import load_tenant_or_deleted

MAX_FINDINGS: Final = 1_000
"""That are listed; all are counted."""
_PAGE: Final = 500


class ListedFinding(Document):
    """A difference, and where."""

    difference: Difference
    tenant: str
    file_id: str | None
    request_id: str | None = Field(description="The request that names the file.")
    detail: str
    repaired: bool


class CheckResult(Document):
    """What was compared, and what differs."""

    ok: bool = Field(default=True, description="Whether nothing differs, or all was repaired.")
    objects: int = 0
    bytes: int = Field(0, description="Of these objects.")
    files: int = 0
    requests: int = Field(0, description="Requests that name a file.")
    users: int = Field(0, description="Users that the files count.")
    ended_users: int = Field(
        0, description="Of these, requests that are deleted: each is dropped when its file expires."
    )
    differences: Counter[Difference] = Field(default_factory=Counter)
    findings: list[ListedFinding] = Field([], description="The first 1,000 of them.")


async def check_archive(
    admin: AdminContext, objects: ObjectStore, tenant: str | None = None
) -> CheckResult:
    """Compare, and change nothing. Raises `NotFound` for an unknown tenant."""
    return await _Comparison(admin, objects).run(tenant)


async def repair_archive(
    admin: AdminContext,
    objects: ObjectStore,
    tenant: str | None = None,
    *,
    delete_objects: bool = False,
) -> CheckResult:
    """Do the same, and repair what can be without a loss; a repair is in the audit log.

    A request that names a file becomes its user. With `delete_objects`, a content without a record
    is deleted that no request of its tenant names. Only a person knows whether the records are
    complete, and those of the gateway that writes to this storage.
    """
    comparison = _Comparison(admin, objects, repairs=True, deletes_objects=delete_objects)
    result = await comparison.run(tenant)
    change = f"{comparison.repaired} of {result.differences.total()} differences"
    if comparison.repaired:
        await admin.record_action("archive.repair", tenant or EVERYBODY, change)
    return result


class _Comparison:
    """One check: objects first, then what the store has of them.

    An object without a record is handled last: a request may name it, whose output it would be.
    """

    def __init__(
        self,
        admin: AdminContext,
        objects: ObjectStore,
        *,
        repairs: bool = False,
        deletes_objects: bool = False,
    ) -> None:
        self.result = CheckResult()
        self.repaired = 0
        self._live_users = 0
        self._admin = admin
        self._objects = objects
        self._repairs = repairs
        self._deletes_objects = deletes_objects
        self._files = admin.stores.files
        self._now = admin.clock.now()
        self._seen: set[str] = set()
        self._orphans: dict[str, Finding] = {}
        """Objects without a record, by name."""
        self._named_by: dict[str, str | None] = {}
        """Their ids, each with a request that names it."""

    async def run(self, tenant: str | None) -> CheckResult:
        """Compare everything, or what is a tenant's. Raises `NotFound` for an unknown one."""
        if tenant is None:
            names, folder = sorted(await self._admin.stores.tenants.list_names()), FILES_FOLDER
        else:
            names = [(await load_tenant_or_deleted(self._admin, tenant)).name]
            folder = f"{FILES_FOLDER}{names[0]}/"
        await self._read_objects(folder)
        for name in names:
            await self._read_files(name)
            await self._read_requests(name)
        await self._report_orphans(names)
        return self.result

    async def _read_objects(self, folder: str) -> None:
        """Compare each object with its record."""
        async for batch in self._objects.list(folder):
            await asyncio.gather(*map(self._check_object, batch))

    async def _check_object(self, found: StoredObject) -> None:
        tenant, _, file_id = found.name.removeprefix(FILES_FOLDER).partition("/")
        self.result.objects += 1
        self.result.bytes += found.size
        self._seen.add(file_id)
        entry = await self._files.load(file_id)
        finding = compare_object(found, tenant, file_id, entry, self._now)
        if finding is None:
            return
        if finding.difference is Difference.RECORD_MISSING:
            self._orphans[found.name] = finding
            self._named_by[file_id] = None
        elif await self._exists(found.name):  # a worker may have deleted it since it was listed
            await self._report(finding)

    async def _read_files(self, tenant: str) -> None:
        """Compare each record with its object, and their sum with the tenant's usage."""
        before, stored = await self._counted_bytes(tenant), 0
        async for page in self._file_pages(tenant):
            stored += sum(each.entry.file.bytes for each in page)
            await asyncio.gather(*map(self._check_file, page))
        after = await self._counted_bytes(tenant)
        if before == after != stored:
            detail = f"{after} counted instead of {stored}"
            await self._report(Finding(Difference.BYTES_DIFFER, tenant, detail=detail))

    async def _counted_bytes(self, tenant: str) -> int:
        return (await self._files.read_usage(tenant, self._now)).stored_bytes

    async def _file_pages(self, tenant: str) -> AsyncIterator[Sequence[CountedFile]]:
        cursor: str | None = ""
        while cursor is not None:
            page: Page[CountedFile, str] = await self._files.list_counted(tenant, cursor, _PAGE)
            yield page.items
            cursor = page.cursor

    async def _check_file(self, counted: CountedFile) -> None:
        file = counted.entry.file
        self.result.files += 1
        self.result.users += counted.users
        if is_overdue(counted.entry, self._now):
            await self._report_file(Difference.OVERDUE, counted)
        if file.id not in self._seen and not await self._exists(file.object_name):
            await self._report_file(Difference.OBJECT_MISSING, counted)

    async def _report_file(self, difference: Difference, counted: CountedFile) -> None:
        """Report a difference of a record unless it was changed or deleted meanwhile."""
        file = counted.entry.file
        if await self._files.load(file.id) == counted.entry:
            detail = f"{file.bytes} bytes, {file.media_type}"
            await self._report(Finding(difference, file.tenant, file.id, detail=detail))

    async def _read_requests(self, tenant: str) -> None:
        """Compare each request with the files that it names."""
        query = JobQuery(limit=MAX_JOBS_PER_PAGE)
        while True:
            page = await self._admin.stores.job_index.list_page_for_tenant(tenant, query)
            await asyncio.gather(*map(self._check_job, page.items))
            if page.cursor is None:
                return
            query = replace(query, cursor=page.cursor)

    async def _check_job(self, job: Job) -> None:
        named = sorted(files_named_by(job))
        self.result.requests += bool(named)
        self._named_by |= {file_id: job.id for file_id in named if file_id in self._named_by}
        for finding in await self._compare_users(job, named):
            # It may have been deleted, or have changed, since it was listed.
            record = await self._admin.stores.jobs.load(job.id)
            if record is not None and await self._compare_users(record.job, [finding.file_id]):
                await self._report(finding)

    async def _compare_users(self, job: Job, file_ids: Iterable[str | None]) -> Collection[Finding]:
        found = []
        for file_id in files_named_by(job).intersection(file_ids):
            difference = await self._difference_of(job, file_id)
            if difference is not None:
                found.append(Finding(difference, job.tenant, file_id, job.id))
        return found

    async def _difference_of(self, job: Job, file_id: str) -> Difference | None:
        if await self._files.is_user(job.id, file_id):
            self._live_users += 1
            return None
        entry = await self._files.load(file_id)
        if entry is None:
            return Difference.FILE_MISSING if file_id in files_needed_by(job) else None
        return Difference.USER_MISSING if must_count(job, entry) else None

    async def _report_orphans(self, tenants: Collection[str]) -> None:
        """Report the objects without a record, after the requests of these tenants were read.

        Of other tenants nothing is deleted: a deleted one, whose requests were not read, or one of
        another gateway.
        """
        for name, found in self._orphans.items():
            file_id = found.file_id or ""
            entry = await self._files.load(file_id)
            has_record = entry is not None and entry.file.object_name == name
            if has_record or not await self._exists(name):
                continue
            finding = replace(found, request_id=self._named_by[file_id])
            is_unneeded = finding.request_id is None and finding.tenant in tenants
            is_deleted = is_unneeded and self._deletes_objects
            if is_deleted:
                await self._objects.delete([name])
            self._add(finding, repaired=is_deleted)
        self.result.ended_users = max(self.result.users - self._live_users, 0)

    async def _exists(self, name: str) -> bool:
        try:
            await self._objects.read(name, 0, 1)
        except ObjectMissing:
            return False
        return True

    async def _report(self, finding: Finding) -> None:
        self._add(finding, repaired=self._repairs and await self._repair(finding))

    async def _repair(self, finding: Finding) -> bool:
        """Repair what can be without a loss; return whether it is repaired."""
        if finding.difference is not Difference.USER_MISSING:
            return False
        file_id, job_id = finding.file_id or "", finding.request_id or ""
        return await self._files.use(finding.tenant, job_id, [file_id])

    def _add(self, finding: Finding, *, repaired: bool) -> None:
        self.result.differences[finding.difference] += 1
        self.repaired += repaired
        self.result.ok &= repaired
        if len(self.result.findings) < MAX_FINDINGS:
            self.result.findings.append(ListedFinding(**asdict(finding), repaired=repaired))
