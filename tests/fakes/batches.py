"""The twin of the batch store: it admits job by job, and counts by looking at the jobs."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from core.batches import Admit, BatchCounts, BatchItem, BatchView
from core.clock import from_ms, to_ms
from core.errors import (
    CallerError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotFound,
)
from core.retention import RETENTION
from core.store.batches import BatchPage
from core.store.codecs import JOBS
from core.tenants.api_keys import Scope
from core.transactions.admission import BatchAdmitted
from tests.fakes.admissions import authenticate, take
from tests.fakes.memory import BatchRow, Memory, due_first
from tests.fakes.outbox import post

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from core.batches import Batch
    from core.jobs.job import Job
    from core.store.batches import ItemSpan
    from core.tenants.api_keys import Credential
    from core.transactions.admission import Admission, Admitted, BatchAdmission
    from core.webhooks.delivery import Delivery


class MemoryBatchStore:
    """Twin of `core.store.batches.BatchStore`."""

    def __init__(self, memory: Memory) -> None:
        """Over `memory`."""
        self._memory = memory

    async def admit(self, admission: BatchAdmission) -> BatchAdmitted:
        """See `BatchStore.admit`."""
        memory, batch = self._memory, admission.batch
        authenticate(memory, admission.admissions[0].credential, Scope.SUBMIT)
        earlier = _earlier(memory, admission)
        if earlier is not None:
            return BatchAdmitted((), stored=False, earlier=earlier)
        # What becomes of each is found out on a copy: either all of it comes true, or nothing does.
        found = _admit_each(_copy(memory), admission.admissions)
        refused = [verdict for verdict in found if isinstance(verdict, CallerError)]
        if len(refused) == len(found) or (refused and batch.admit is Admit.ALL):
            kept = tuple(v if isinstance(v, CallerError) else None for v in found)
            return BatchAdmitted(kept, stored=False)
        verdicts = _admit_each(memory, admission.admissions)
        memory.batches[batch.id] = BatchRow(batch, _items(admission, verdicts))
        if admission.idempotency is not None:
            key = (batch.tenant, admission.idempotency)
            memory.idempotency[key] = (admission.fingerprint, batch.id)
        _close(memory, batch.id)
        return BatchAdmitted(verdicts, stored=True)

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        span: ItemSpan,
        scope: Scope = Scope.READ,
    ) -> BatchView:
        """See `BatchStore.read`."""
        memory = self._memory
        authenticate(memory, credential, scope)
        row = memory.batch(batch_id)
        if row is None or row.batch.tenant != credential.tenant:
            raise NotFound
        items = row.items[span.offset : span.offset + span.limit]
        return replace(_view(memory, row), items=tuple(_now(memory, item) for item in items))

    async def newest_first(
        self, credential: Credential, after: str | None, limit: int
    ) -> BatchPage:
        """See `BatchStore.newest_first`."""
        memory = self._memory
        authenticate(memory, credential, Scope.READ)
        own = [row for row in memory.batches.values() if row.batch.tenant == credential.tenant]
        own.sort(key=lambda row: (to_ms(row.batch.created_at), row.batch.id), reverse=True)
        names = [row.batch.id for row in own]
        start = names.index(after) + 1 if after is not None else 0
        page = names[start : start + limit]
        found = (memory.batch(name) for name in page)
        views = tuple(_view(memory, row) for row in found if row is not None)
        return BatchPage(views, page[-1] if len(page) == limit else None)

    async def claim_ended(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        """See `BatchStore.claim_ended`."""
        memory, claimed = self._memory, []
        for name in due_first(memory.ended_batches, memory.now, limit):
            row = memory.batch(name)
            if row is None:
                del memory.ended_batches[name]
                continue
            memory.ended_batches[name] = memory.after(lease)
            claimed.append(row.batch)
        return claimed

    async def load(self, batch_id: str) -> BatchView | None:
        """See `BatchStore.load`."""
        row = self._memory.batch(batch_id)
        return None if row is None else _view(self._memory, row)

    async def tell(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        """See `BatchStore.tell`."""
        if self._memory.ended_batches.pop(batch.id, None) is None:
            return False
        for delivery in deliveries:
            post(self._memory, delivery)
        return True


def note_end(memory: Memory, job: Job) -> None:
    """A job has ended, perhaps the last of its batch."""
    if job.final and job.batch is not None:
        _close(memory, job.batch)


def _close(memory: Memory, batch_id: str) -> None:
    row = memory.batches[batch_id]
    if row.finished_at is None and not _counts(memory, batch_id).open:
        row.finished_at = memory.ended_batches[batch_id] = memory.now
        row.expires_at = memory.after(RETENTION)


def _earlier(memory: Memory, admission: BatchAdmission) -> str | None:
    tenant, digest = admission.batch.tenant, admission.idempotency
    if digest is None:
        if memory.reuse_of(tenant).idempotency_required:
            raise IdempotencyKeyMissing
        return None
    known = memory.idempotency.get((tenant, digest))
    if known is not None and known[0] != admission.fingerprint:
        raise IdempotencyMismatch
    return None if known is None else known[1]


def _admit_each(
    memory: Memory, admissions: Sequence[Admission]
) -> tuple[Admitted | CallerError, ...]:
    return tuple(_admit_one(memory, admission) for admission in admissions)


def _admit_one(memory: Memory, admission: Admission) -> Admitted | CallerError:
    try:
        return take(memory, admission)
    except CallerError as refusal:
        return refusal


def _copy(memory: Memory) -> Memory:
    shared = (memory.clock, memory.told, memory.rung, memory.changed, memory.batches)
    copied = deepcopy(memory, {id(part): part for part in shared})
    copied.told, copied.rung, copied.changed = _silent, _silent, _silent
    return copied


def _silent(*_: object, **__: object) -> None:
    """Nobody is told of what only might be."""


def _items(
    admission: BatchAdmission, verdicts: tuple[Admitted | CallerError, ...]
) -> tuple[BatchItem, ...]:
    refused = {one.index: BatchItem(one.index, refused=one.problem) for one in admission.refused}
    pairs = iter(zip(admission.admissions, verdicts, strict=True))
    places = range(admission.batch.size)
    return tuple(refused.get(place) or _item(place, *next(pairs)) for place in places)


def _item(index: int, admission: Admission, verdict: Admitted | CallerError) -> BatchItem:
    if isinstance(verdict, CallerError):
        return BatchItem(index, refused=verdict)
    return BatchItem(index, admission.job.id, verdict.reuse)


def _now(memory: Memory, item: BatchItem) -> BatchItem:
    row = None if item.job_id is None else memory.job(item.job_id)
    return item if row is None else replace(item, job=JOBS.read(row.doc))


def _view(memory: Memory, row: BatchRow) -> BatchView:
    finished_at = None if row.finished_at is None else from_ms(row.finished_at)
    return BatchView(row.batch, _counts(memory, row.batch.id), finished_at)


def _counts(memory: Memory, batch_id: str) -> BatchCounts:
    jobs = [job for job in memory.every_job() if job.batch == batch_id]
    return BatchCounts(**Counter(str(job.status) for job in jobs))
