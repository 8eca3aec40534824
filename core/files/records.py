"""Files that callers upload: the record of one. Its content is an object. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

FILE_SCHEME: Final = "gateway-file:"
"""A media field of an input names a file as `gateway-file:{file_id}`."""

UNUSED_FILE_LIFETIME: Final = timedelta(days=1)
"""How long an upload is kept that no request uses."""
FILE_CHECK_INTERVAL: Final = timedelta(hours=1)
"""How long after the end of its last request a file is deleted at most. Longer than an admission
takes: a file is registered for a request before the request is admitted."""

ORPHAN_AGE: Final = timedelta(days=2)
"""How old an object without a record is when it is deleted. Longer than any upload takes, and than
a fail-over of Redis that forgot the record takes to be noticed."""
LOST_RECORD_AGE: Final = timedelta(days=30)
"""How long after the store was empty, or went back, an object from before then is kept without a
record: jobs that are restored may need it, and a newer copy of the store may be restored."""


def may_be_orphan(modified_at: datetime, complete_since: datetime | None, now: datetime) -> bool:
    """Return whether an object without a record may be deleted.

    `complete_since`: what was stored before then may have lost its record.
    """
    if modified_at >= now - ORPHAN_AGE:
        return False
    if complete_since is None or modified_at >= complete_since:
        return True
    return complete_since < now - LOST_RECORD_AGE


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file. `secret` signs its links, in hexadecimal digits."""

    id: str
    tenant: str
    created_at: datetime
    media_type: str
    bytes: int
    sha256: str
    secret: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    unknown_fields: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """What another release has stored; see `core.store.unknown_fields`."""

    @property
    def object_name(self) -> str:
        """The name of its content."""
        return file_object_name(self.tenant, self.id)

    @property
    def is_input_text(self) -> bool:
        """Whether it is part of a large input, and no caller's file."""
        return self.media_type == INPUT_TEXT


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file, and the earliest time at which it may be deleted: later while a request uses it."""

    file: StoredFile
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CountedFile:
    """A file, and how many jobs are registered as its users; some of them may exist no more."""

    entry: FileEntry
    users: int


class FileRemoval(StrEnum):
    """What became of the record of a file that was to be removed."""

    REMOVED = "removed"
    IN_USE = "in_use"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class FileUsage:
    """What a tenant's files take: bytes stored now, and bytes uploaded today (UTC)."""

    stored_bytes: int = 0
    uploaded_bytes: int = 0


INPUT_TEXT: Final = "application/vnd.runcomfy-gateway.input"
"""The media type of a text that was too large an input for Redis. No caller sees it as a file."""
MEDIA_EXTENSIONS: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
}
"""The types that a file may have, with their extensions. None can run in a browser."""
FILES_FOLDER: Final = "files/"


def file_object_name(tenant: str, file_id: str) -> str:
    """Return the name of a file's content."""
    return f"{FILES_FOLDER}{tenant}/{file_id}"
