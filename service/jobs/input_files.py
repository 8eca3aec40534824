"""Files in inputs: loads those that an input names, and moves large texts out of Redis."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from core.clock import Clock
from core.errors import CallerError, FieldError, InvalidInput
from core.files.delivery import DeliveryPolicy, FileDelivery
from core.files.records import INPUT_TEXT, FileEntry, StoredFile, file_object_name
from core.ids import IdSource
from core.jobs.input_parts import (
    MAX_REFERENCES,
    InputPart,
    LargeText,
    find_large_texts,
    find_references,
    replace_texts,
)
from core.objects.object_store import ObjectStore
from core.objects.received_file import discard
from core.private_sources import NO_PRIVATE_SOURCES, PrivateSources
from core.runtime.many_items import give_turn
from core.runtime.statically_frozen import statically_frozen
from core.store.interfaces import FileRepository
from core.transactions.admission import Admission
from service.models import NamedFiles
from service.parsing.large_bodies import LargeBodies

_READS_AT_A_TIME: Final = 100
"""Of Redis, for a batch: they share a round trip."""
_PIECE_BYTES: Final = 256 * 1024


@statically_frozen
class CheckedInput:
    """An admission, and what of its input is kept as files."""

    admission: Admission
    named: tuple[InputPart, ...]
    """The files and private sources that the input names."""
    texts: tuple[LargeText, ...]
    """What is too large for Redis."""


@dataclass(slots=True)
class InputFiles:
    """The use cases. `objects` None: no input names a file or a source, and all stays in Redis."""

    objects: ObjectStore | None
    files: FileRepository
    clock: Clock
    ids: IdSource
    delivery: DeliveryPolicy
    min_input_bytes: int
    large_bodies: LargeBodies
    sources: PrivateSources = NO_PRIVATE_SOURCES
    _unnamed: NamedFiles = field(init=False, repr=False)
    """Of a body that names no file: what its media may be."""

    @property
    def chosen_delivery(self) -> FileDelivery | None:
        """How RunComfy gets files; None where there are none."""
        if self.objects is None:
            return None
        return self.delivery.choose(can_presign=self.objects.can_presign)

    def __post_init__(self) -> None:
        """Prepare what nearly every body gets."""
        is_inline = self.chosen_delivery is FileDelivery.DATA_URI
        self._unnamed = NamedFiles(
            max_bytes=self.delivery.max_data_uri_bytes if is_inline else None,
            sources=NO_PRIVATE_SOURCES if self.objects is None else self.sources,
        )

    async def check(
        self, tenant: str, body: bytes, build: Callable[[NamedFiles], Admission]
    ) -> CheckedInput:
        """Return the admission that `build` makes of a body, and what of the body is kept as files.

        `build` gets the tenant's files that the body names, and what else its media may be. It must
        be pure. A large body is worked on in one turn, or in two if it names files: the store is
        read between them.
        """
        size, call = len(body), self.large_bodies.call
        found = await call(tenant, size, self._check_if_unnamed, body, build)
        if isinstance(found, CheckedInput):
            return found
        (files,) = await self._load_named(tenant, [[part.file_id for part in found]])
        return await call(tenant, size, self._check, build, files, found)

    def _check_if_unnamed(
        self, body: bytes, build: Callable[[NamedFiles], Admission]
    ) -> CheckedInput | tuple[InputPart, ...]:
        """Return the references to files, if there are any; else what `check` returns."""
        return find_references(body) or self._check(build, self._unnamed, ())

    def _check(
        self,
        build: Callable[[NamedFiles], Admission],
        files: NamedFiles,
        references: tuple[InputPart, ...],
    ) -> CheckedInput:
        return self._find_parts(build(files), references)

    def _find_parts(
        self, admission: Admission, references: tuple[InputPart, ...] | None = None
    ) -> CheckedInput:
        """Return what of an admitted input is kept as files; `references` None: to be found."""
        body = admission.input
        found = find_references(body) if references is None else references
        named = (*found, *admission.job.input_parts)
        keeps = self.objects is not None and not admission.dry_run
        texts = find_large_texts(body, self.min_input_bytes, named) if keeps else ()
        return CheckedInput(admission, named, texts)

    async def load_all(self, tenant: str, bodies: Iterable[bytes]) -> Sequence[NamedFiles]:
        """Return what `check` gives to `build`, of each body."""
        named = []
        for number, body in enumerate(bodies):
            found = await self.large_bodies.call(tenant, len(body), find_references, body)
            named.append([part.file_id for part in found])
            await give_turn(number)
        return await self._load_named(tenant, named)

    async def _load_named(
        self, tenant: str, named: Sequence[Sequence[str]]
    ) -> Sequence[NamedFiles]:
        """Return the tenant's files of each list. Of one that is too long none is read."""
        wanted = {each for ids in named if len(ids) <= MAX_REFERENCES for each in ids}
        own = await self._load_own(tenant, sorted(wanted)) if wanted else {}
        return [_with_files(self._unnamed, ids, own) if ids else self._unnamed for ids in named]

    async def _load_own(self, tenant: str, file_ids: Sequence[str]) -> Mapping[str, StoredFile]:
        if self.objects is None:
            return {}
        found: list[FileEntry | None] = []
        for start in range(0, len(file_ids), _READS_AT_A_TIME):
            some = file_ids[start : start + _READS_AT_A_TIME]
            found += await asyncio.gather(*(self.files.load(each) for each in some))
        files = (entry.file for entry in found if entry is not None)
        return {file.id: file for file in files if file.tenant == tenant and not file.is_input_text}

    async def store(self, checked: CheckedInput) -> Admission:
        """Keep what the input names, and store its large texts; return what Redis is to store.

        Raises `InvalidInput` if a file was deleted meanwhile, `LimitReached` (`storage_bytes`), and
        `ObjectsUnavailable`.
        """
        admission, named, texts = checked.admission, checked.named, checked.texts
        if self.objects is None or admission.dry_run or not (texts or named):
            return admission
        moved = [await self._move(self.objects, admission, text) for text in texts]
        stored, parts = replace_texts(admission.input, named, texts, moved)
        job = replace(admission.job, input_parts=parts)
        used = {part.file_id for part in parts if part.file_id}
        if used and not await self.files.use(job.tenant, job.id, used):
            raise _invalid("names a file that was deleted")
        return replace(admission, job=job, input=stored)

    async def store_all(self, admissions: Sequence[Admission]) -> tuple[Admission, ...]:
        """As `store`, one after the other: their texts may be large."""
        if self.objects is None:
            return tuple(admissions)
        stored = []
        for number, each in enumerate(admissions):
            owner, size = each.job.tenant, len(each.input)
            found = await self.large_bodies.call(owner, size, self._find_parts, each)
            stored.append(await self.store(found))
            await give_turn(number)
        return tuple(stored)

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


def _with_files(
    none: NamedFiles, file_ids: Sequence[str], own: Mapping[str, StoredFile]
) -> NamedFiles:
    by_id = {each: own[each] for each in file_ids if each in own}
    return replace(
        none,
        by_id=by_id,
        references=len(file_ids),
        names_others=any(each not in by_id for each in file_ids),
    )


async def _pieces(content: memoryview) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield bytes(content[start : start + _PIECE_BYTES])


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(f"The input {message}.", fields=(FieldError("", message),))
