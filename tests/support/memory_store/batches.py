"""The fake of the batch store: it admits job by job, and counts the jobs at each read."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

from core.batches import AdmissionMode, Batch, BatchCounts, BatchItem, BatchSnapshot
from core.clock import from_ms, to_ms
from core.errors import (
    CallerError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotFound,
)
from core.jobs.job import Job
from core.page import Page
from core.quotas import QuotaPolicy
from core.retention import RETENTION
from core.store.codecs import JOB_CODEC
from core.tenants.api_keys import Credential, Scope
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
    IdempotencyClaim,
)
from core.webhooks.delivery import Delivery
from tests.support.memory_store.admission import (
    admit_without_key,
    authenticate,
    authenticate_call,
    take_call,
)
from tests.support.memory_store.state import BatchRow, MemoryState, due_members
from tests.support.memory_store.webhooks import enqueue_delivery


class MemoryBatchStore:
    """Fake of `core.store.batches.BatchStore`."""

    def __init__(self, memory: MemoryState) -> None:
        """Share `memory` with the other stores."""
        self._memory = memory

    async def admit(self, admission: BatchAdmission) -> BatchAdmissionResult:
        memory, batch = self._memory, admission.batch
        authenticate(memory, admission.admissions[0].credential, Scope.SUBMIT)
        earlier = _find_existing(memory, admission)
        if earlier is not None:
            return BatchAdmissionResult((), stored=False, existing_batch_id=earlier)
        # Tried on a copy first: either all items are admitted, or nothing changes.
        found = _admit_each(_copy(memory), admission.admissions)
        refused = [verdict for verdict in found if isinstance(verdict, CallerError)]
        if len(refused) == len(found) or (
            refused and batch.admission_mode is AdmissionMode.ALL_OR_NOTHING
        ):
            kept = tuple(v if isinstance(v, CallerError) else None for v in found)
            return BatchAdmissionResult(kept, stored=False)
        verdicts = _admit_each(memory, admission.admissions)
        memory.batches[batch.id] = BatchRow(batch, _items(admission, verdicts))
        if admission.idempotency is not None:
            claim = admission.idempotency
            memory.idempotency[batch.tenant, claim.digest] = (claim.fingerprint, batch.id)
        _close(memory, batch.id)
        return BatchAdmissionResult(verdicts, stored=True)

    async def find_replay(self, credential: Credential, claim: IdempotencyClaim) -> str | None:
        authenticate(self._memory, credential, Scope.SUBMIT)
        return _find_replay(self._memory, credential.tenant, claim)

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        indexes: range,
        scope: Scope = Scope.READ,
    ) -> BatchSnapshot:
        memory = self._memory
        authenticate_call(memory, credential, scope)
        row = memory.batch(batch_id)
        if row is None or row.batch.tenant != credential.tenant:
            raise NotFound
        items = row.items[indexes.start : indexes.stop]
        return replace(_view(memory, row), items=tuple(_now(memory, item) for item in items))

    async def list_page(
        self, credential: Credential, after: str | None, limit: int
    ) -> Page[BatchSnapshot, str]:
        memory = self._memory
        authenticate_call(memory, credential, Scope.READ)
        own = [row for row in memory.batches.values() if row.batch.tenant == credential.tenant]
        own.sort(key=lambda row: (to_ms(row.batch.created_at), row.batch.id), reverse=True)
        names = [row.batch.id for row in own]
        start = names.index(after) + 1 if after is not None else 0
        page = names[start : start + limit]
        found = (memory.batch(name) for name in page)
        views = tuple(_view(memory, row) for row in found if row is not None)
        return Page(views, page[-1] if len(page) == limit else None)

    async def claim_completed(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        memory, claimed = self._memory, []
        for name in due_members(memory.completed_batches, memory.now, limit):
            row = memory.batch(name)
            if row is None:
                del memory.completed_batches[name]
                continue
            memory.completed_batches[name] = memory.ms_after(lease)
            claimed.append(row.batch)
        return claimed

    async def claim_unwritten(self, limit: int) -> Sequence[str]:
        """See `BatchStore.claim_unwritten`: here a batch is written as it is accepted."""
        del limit
        return ()

    async def write_rest(self, batch_id: str) -> None:
        """See `BatchStore.write_rest`."""

    async def load(self, batch_id: str) -> BatchSnapshot | None:
        row = self._memory.batch(batch_id)
        return None if row is None else _view(self._memory, row)

    async def list_jobs(self, batch_id: str) -> Sequence[Job]:
        return [job for job in self._memory.all_jobs() if job.batch == batch_id]

    async def complete(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        if self._memory.completed_batches.pop(batch.id, None) is None:
            return False
        for delivery in deliveries:
            enqueue_delivery(self._memory, delivery)
        return True


def record_end(memory: MemoryState, job: Job) -> None:
    """Note the end of a job, perhaps the last of its batch."""
    if job.is_final and job.batch is not None:
        _close(memory, job.batch)


def _close(memory: MemoryState, batch_id: str) -> None:
    row = memory.batches[batch_id]
    if row.finished_at is None and not _counts(memory, batch_id).open:
        row.finished_at = memory.completed_batches[batch_id] = memory.now
        row.expires_at = memory.ms_after(RETENTION)


def _find_existing(memory: MemoryState, admission: BatchAdmission) -> str | None:
    tenant, claim = admission.batch.tenant, admission.idempotency
    if claim is not None:
        return _find_replay(memory, tenant, claim)
    if memory.cache_policy_of(tenant).idempotency_required:
        raise IdempotencyKeyMissing
    return None


def _find_replay(memory: MemoryState, tenant: str, claim: IdempotencyClaim) -> str | None:
    known = memory.idempotency.get((tenant, claim.digest))
    if known is not None:
        take_call(memory, tenant, QuotaPolicy.CALLS)
    if known is not None and known[0] != claim.fingerprint:
        raise IdempotencyMismatch
    return None if known is None else known[1]


def _admit_each(
    memory: MemoryState, admissions: Sequence[Admission]
) -> tuple[AdmissionResult | CallerError, ...]:
    return tuple(_admit_one(memory, admission) for admission in admissions)


def _admit_one(memory: MemoryState, admission: Admission) -> AdmissionResult | CallerError:
    try:
        return admit_without_key(memory, admission)
    except CallerError as refusal:
        return refusal


def _copy(memory: MemoryState) -> MemoryState:
    shared = (
        memory.clock,
        memory.on_job_change,
        memory.on_wake,
        memory.on_due_change,
        memory.batches,
    )
    copied = deepcopy(memory, {id(part): part for part in shared})
    copied.on_job_change, copied.on_wake, copied.on_due_change = (
        _without_listeners,
        _without_listeners,
        _without_listeners,
    )
    return copied


def _without_listeners(*_: object, **__: object) -> None:
    """The listener of a trial copy: it notifies nothing."""


def _items(
    admission: BatchAdmission, results: tuple[AdmissionResult | CallerError, ...]
) -> tuple[BatchItem, ...]:
    refused = {i: BatchItem(i, rejection=problem) for i, problem in admission.rejected.items()}
    pairs = iter(zip(admission.admissions, results, strict=True))
    places = range(admission.batch.size)
    return tuple(refused.get(place) or _item(place, *next(pairs)) for place in places)


def _item(index: int, admission: Admission, result: AdmissionResult | CallerError) -> BatchItem:
    if isinstance(result, CallerError):
        return BatchItem(index, rejection=result)
    return BatchItem(index, admission.job.id, result.cache_status)


def _now(memory: MemoryState, item: BatchItem) -> BatchItem:
    row = None if item.job_id is None else memory.job(item.job_id)
    return item if row is None else replace(item, job=JOB_CODEC.decode(row.doc))


def _view(memory: MemoryState, row: BatchRow) -> BatchSnapshot:
    finished_at = None if row.finished_at is None else from_ms(row.finished_at)
    return BatchSnapshot(row.batch, _counts(memory, row.batch.id), finished_at)


def _counts(memory: MemoryState, batch_id: str) -> BatchCounts:
    jobs = [job for job in memory.all_jobs() if job.batch == batch_id]
    return BatchCounts(**Counter(str(job.status) for job in jobs))
