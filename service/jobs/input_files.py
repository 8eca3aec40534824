"""Files in inputs: loads those that an input names, and moves large texts out of Redis."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.clock import Clock
from core.errors import CallerError, FieldError, InvalidInput
from core.file_delivery import DeliveryPolicy, FileDelivery
from core.files import INPUT_TEXT, StoredFile, file_object_name
from core.ids import IdSource
from core.jobs.input_parts import LargeText, find_large_texts, find_references, replace_texts
from core.objects.object_store import ObjectStore
from core.objects.received_file import discard
from core.store.interfaces import FileRepository
from core.transactions.admission import Admission
from service.models import NO_NAMED_FILES, NamedFiles

MAX_REFERENCES: Final = 100
"""Files that one body may name: each is a read of Redis."""
_PIECE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The use cases. `objects` None: no input names a file, and all of it stays in Redis."""

    objects: ObjectStore | None
    files: FileRepository
    clock: Clock
    ids: IdSource
    delivery: DeliveryPolicy
    min_input_bytes: int

    @property
    def chosen_delivery(self) -> FileDelivery | None:
        """How RunComfy gets files; None where there are none."""
        if self.objects is None:
            return None
        return self.delivery.choose(can_presign=self.objects.can_presign)

    async def load(self, tenant: str, body: bytes) -> NamedFiles:
        """Return the tenant's files that a body names. Raises `InvalidInput` for too many."""
        references = find_references(body)
        if not references:
            return NO_NAMED_FILES
        if len(references) > MAX_REFERENCES:
            raise _invalid(f"names more than {MAX_REFERENCES} files")
        found = [
            entry.file
            for file_id in {each.file_id for each in references}
            if self.objects is not None and (entry := await self.files.load(file_id)) is not None
        ]
        own = {file.id: file for file in found if file.tenant == tenant and not file.is_input_text}
        is_inline = self.chosen_delivery is FileDelivery.DATA_URI
        return NamedFiles(
            own, len(references), self.delivery.max_data_uri_bytes if is_inline else None
        )

    async def store(self, admission: Admission) -> Admission:
        """Keep what the input names, and store its large texts; return what Redis is to store.

        Raises `InvalidInput` if a file was deleted meanwhile, `LimitReached` (`storage_bytes`), and
        `ObjectsUnavailable`.
        """
        if self.objects is None or admission.dry_run:
            return admission
        body = admission.input
        if len(body) > self.min_input_bytes:
            texts = await asyncio.to_thread(find_large_texts, body, self.min_input_bytes)
        else:
            texts = ()
        if not texts and not find_references(body):
            return admission
        moved = [await self._move(self.objects, admission, text) for text in texts]
        stored, parts = replace_texts(body, texts, moved)
        job = replace(admission.job, input_parts=parts)
        if not await self.files.use(job.tenant, job.id, {part.file_id for part in parts}):
            raise _invalid("names a file that was deleted")
        return replace(admission, job=job, input=stored)

    async def store_all(self, admissions: Sequence[Admission]) -> tuple[Admission, ...]:
        """As `store`, one after the other: their texts may be large."""
        return tuple([await self.store(each) for each in admissions])

    async def _move(self, objects: ObjectStore, admission: Admission, text: LargeText) -> str:
        """Store a text of an input as a file. Returns its id; that of an equal one if it exists."""
        tenant, now = admission.job.tenant, self.clock.now()
        content = memoryview(admission.input)[text.start : text.end]
        file = await self._new_file(tenant, content, now)
        name = file_object_name(tenant, file.id)
        await objects.write(name, _pieces(content))
        try:
            entry = await self.files.add(file)
        except CallerError:
            # No record; after any other error there may be one, which needs its content.
            await asyncio.shield(discard(objects, name))
            raise
        if entry.file.id != file.id:
            await discard(objects, name)
        return entry.file.id

    async def _new_file(self, tenant: str, content: memoryview, now: datetime) -> StoredFile:
        digest = await asyncio.to_thread(hashlib.sha256, content)
        return StoredFile(
            id=self.ids.file_id(now),
            tenant=tenant,
            created_at=now,
            media_type=INPUT_TEXT,
            bytes=len(content),
            sha256=f"{digest.hexdigest()}:text",
            secret=self.ids.secret().hex(),
        )


async def _pieces(content: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield bytes(content[start : start + _PIECE_BYTES])


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(f"The input {message}.", fields=(FieldError("", message),))
