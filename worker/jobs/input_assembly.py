"""Makes the body of a paid submit from a stored input: puts its files into it, or their addresses.

Done before the submit is claimed: while the storage is away nothing is claimed and nothing is sent.
"""

from base64 import b64encode
from dataclasses import dataclass

import orjson

from core.clock import Clock
from core.errors import ObjectMissing, ObjectsUnavailable
from core.files.delivery import DELIVERED_LINK_LIFETIME, DeliveryPolicy, FileDelivery
from core.files.records import StoredFile, file_object_name
from core.jobs.input_parts import InputPart, PartKind, fill_in
from core.jobs.job import Job
from core.objects.links import file_content_path, signed_path
from core.objects.object_store import ObjectStore
from core.store.interfaces import FileRepository
from worker.jobs.source_fetching import SourceKeeper


@dataclass(frozen=True, slots=True)
class InputAssembler:
    """Reads the files of inputs. `objects` None: this worker has no storage, and jobs wait.

    `sources` keeps the private ones as files before; None: nothing does.
    """

    objects: ObjectStore | None
    files: FileRepository
    clock: Clock
    delivery: DeliveryPolicy
    sources: SourceKeeper | None = None

    async def assemble(self, job: Job, stored: bytes) -> bytes:
        """Return the body for RunComfy.

        Raises `ObjectsUnavailable`, and `ObjectMissing` if a file is gone for good.
        """
        if not job.input_parts:
            return stored
        return fill_in(
            stored, job.input_parts, [await self._content(job, part) for part in job.input_parts]
        )

    async def _content(self, job: Job, part: InputPart) -> bytes:
        if self.objects is None:
            # Another worker may have it.
            raise ObjectsUnavailable(operator_detail="GATEWAY_OBJECTS__URL is not set.")
        if part.kind is PartKind.TEXT:
            # By its name alone: a job that the journal restores needs no record that Redis lost.
            return await _read(self.objects, file_object_name(job.tenant, part.file_id))
        entry = await self.files.load(part.file_id)
        if entry is None or entry.file.tenant != job.tenant:
            raise ObjectMissing
        return orjson.dumps(await self._address(self.objects, entry.file))

    async def _address(self, objects: ObjectStore, file: StoredFile) -> str:
        """Return what RunComfy gets for a file: an address, or a `data:` URI."""
        delivery = self.delivery.choose(can_presign=objects.can_presign)
        if delivery is FileDelivery.PRESIGNED:
            address = await objects.presign(file.object_name, DELIVERED_LINK_LIFETIME)
            if address is not None:
                return address
        if delivery is FileDelivery.LINK and self.delivery.public_url is not None:
            expires_at = self.clock.now() + DELIVERED_LINK_LIFETIME
            path = signed_path(bytes.fromhex(file.secret), file_content_path(file.id), expires_at)
            return f"{self.delivery.public_url}{path}"
        content = await _read(objects, file.object_name)
        return f"data:{file.media_type};base64,{b64encode(content).decode()}"


async def _read(objects: ObjectStore, name: str) -> bytes:
    chunks = await objects.read(name)
    return b"".join([chunk async for chunk in chunks])
