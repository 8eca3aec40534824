"""What differs between the storage, the records of files, and the requests that use them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.files.records import FILE_CHECK_INTERVAL, ORPHAN_AGE, FileEntry
from core.jobs.job import Job
from core.objects.object_store import StoredObject


class Difference(StrEnum):
    """A kind of difference."""

    OBJECT_MISSING = "object_missing"
    SIZE_DIFFERS = "size_differs"
    RECORD_MISSING = "record_missing"
    OVERDUE = "overdue"
    FILE_MISSING = "file_missing"
    USER_MISSING = "user_missing"
    BYTES_DIFFER = "bytes_differ"


MEANINGS: Final[Mapping[Difference, str]] = {
    Difference.OBJECT_MISSING: "a file has a record, and no content",
    Difference.SIZE_DIFFERS: "a content has another size than its record has",
    Difference.RECORD_MISSING: "a content that is older than two days has no record",
    Difference.OVERDUE: "a file that expired over an hour ago is still there: no worker sweeps",
    Difference.FILE_MISSING: "a request names a file that has no record",
    Difference.USER_MISSING: "a request is no user of a file that it names, which may go before it",
    Difference.BYTES_DIFFER: "the bytes that are counted for a tenant are not those of its files",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `request_id` is that of the request which names the file."""

    difference: Difference
    tenant: str
    file_id: str | None = None
    request_id: str | None = None
    detail: str = ""


def compare_object(
    found: StoredObject, tenant: str, file_id: str, entry: FileEntry | None, now: datetime
) -> Finding | None:
    """Return how an object in a tenant's folder differs from the record of that id."""
    if entry is None or entry.file.object_name != found.name:
        if now - found.modified_at < ORPHAN_AGE:  # an upload whose record is still to come
            return None
        detail = f"{found.size} bytes"
        return Finding(Difference.RECORD_MISSING, tenant, file_id, detail=detail)
    if found.size == entry.file.bytes:
        return None
    detail = f"{found.size} bytes instead of {entry.file.bytes}"
    return Finding(Difference.SIZE_DIFFERS, tenant, file_id, detail=detail)


def is_overdue(entry: FileEntry, now: datetime) -> bool:
    """Return whether a file should have been deleted, or found in use, long ago."""
    return now - entry.expires_at > FILE_CHECK_INTERVAL


def files_needed_by(job: Job) -> frozenset[str]:
    """Return the ids of the files without which a job cannot go on, or has lost its result.

    An input of a job that has ended may be deleted: it is not needed any more.
    """
    outputs = {each.file_id for each in job.outputs if each.file_id is not None}
    return frozenset(outputs if job.is_final else outputs | files_named_by(job))


def files_named_by(job: Job) -> frozenset[str]:
    """Return the ids of all files that a job names: parts of its input, and its kept outputs."""
    inputs = {each.file_id for each in job.input_parts if each.file_id}
    return frozenset(inputs | {each.file_id for each in job.outputs if each.file_id is not None})


def must_count(job: Job, entry: FileEntry) -> bool:
    """Return whether a file must count a job that names it as its user.

    A part of an input goes with the input, which may go before the job.
    """
    return not (job.is_final and entry.file.is_input_text)
