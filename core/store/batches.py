"""The batch store: a batch's admission, how it stands, and the telling of its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from core.batches import Admit, Batch, BatchCounts, BatchItem, BatchView
from core.clock import Clock, from_ms, to_ms
from core.errors import NotFound
from core.jobs.job import PublicStatus
from core.store import keys
from core.store.admission import (
    Call,
    admission_arguments,
    admission_keys,
    raise_refusal,
    read_verdicts,
)
from core.store.client import Argument, Wire
from core.store.codecs import BATCHES, JOBS
from core.store.deliveries import posted_arguments, posted_keys
from core.store.jobs import key_pair
from core.store.refusals import refusal
from core.store.scripts import Scripts
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import Reuse
from core.transactions.admission import BatchAdmission, BatchAdmitted
from core.webhooks.delivery import Delivery

_COUNTS: Final = tuple(PublicStatus)
_ROW: Final = 2 + len(_COUNTS)
_UNDECIDED: Final = b"fits"
_LIMIT, _PROBLEM = b"! ", b"? "


@dataclass(frozen=True, slots=True)
class ItemSpan:
    """Which items of a batch are read."""

    offset: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Batches without their items; `cursor` is there while more may follow."""

    batches: tuple[BatchView, ...]
    cursor: str | None


class BatchStore:
    """Batches in Redis."""

    def __init__(self, wire: Wire, scripts: Scripts, clock: Clock) -> None:
        """Every instant that a script compares is this clock's."""
        self._wire = wire
        self._scripts = scripts
        self._clock = clock

    async def admit(self, admission: BatchAdmission) -> BatchAdmitted:
        """Take in all jobs of a batch or those that fit, as it asks, in one decision.

        Raises `Unauthenticated`, `NotPermitted`, `IdempotencyKeyMissing`, `IdempotencyMismatch`.
        """
        whole = admission.batch.admit is Admit.ALL
        call = Call(admission.admissions, whole, admission)
        arguments = admission_arguments(call, self._clock.now())
        answers = await self._scripts.call("admit_jobs", admission_keys(call), arguments)
        verdict = answers[0][0]
        raise_refusal(verdict)
        if verdict == b"replayed":
            return BatchAdmitted((), stored=False, earlier=answers[0][1].decode())
        return _admitted(answers)

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        span: ItemSpan,
        scope: Scope = Scope.READ,
    ) -> BatchView:
        """One of the credential's own batches. Raises `NotFound`, for another tenant's too."""
        answer = await self._scripts.call(
            "read_batch",
            [*key_pair(credential), keys.batch(batch_id), keys.batch_items(batch_id)],
            [*self._caller(credential, scope), span.offset, span.offset + span.limit - 1],
        )
        raise_refusal(answer[0])
        _, doc, finished_at, counts, rows, docs = answer
        view = _view([doc, finished_at, *counts], _items(span.offset, rows, docs))
        if view.batch.tenant != credential.tenant:
            raise NotFound
        return view

    async def newest_first(
        self, credential: Credential, after: str | None, limit: int
    ) -> BatchPage:
        """The credential's own batches, from the one after `after`."""
        answer = await self._scripts.call(
            "list_batches",
            [*key_pair(credential), keys.tenant_batches(credential.tenant)],
            [*self._caller(credential, Scope.READ), after or "", limit],
        )
        raise_refusal(answer[0])
        _, flat, cursor = answer
        rows = (flat[start : start + _ROW] for start in range(0, len(flat), _ROW))
        return BatchPage(tuple(_view(row) for row in rows), cursor.decode() or None)

    async def claim_ended(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        """Batches that have ended untold, now under a lease."""
        now = self._clock.now()
        documents = await self._scripts.call(
            "claim_due",
            [keys.BATCHES, keys.LIMITS, keys.POLL_RATE],
            [keys.BATCH_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return [BATCHES.read(document) for document in documents]

    async def load(self, batch_id: str) -> BatchView | None:
        """Any batch without its items, for a worker."""
        row = await self._wire.execute(
            "HMGET", keys.batch(batch_id), "doc", "finished_at", *_COUNTS
        )
        return None if row[0] is None else _view(row)

    async def tell(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        """Write the callbacks of a batch's end; False when somebody did so before."""
        told = await self._scripts.call(
            "complete_batch",
            [keys.BATCHES, keys.OUTBOX, *posted_keys(deliveries)],
            [batch.id, *posted_arguments(deliveries, self._clock.now())],
        )
        return bool(told)

    def _caller(self, credential: Credential, scope: Scope) -> tuple[Argument, ...]:
        return to_ms(self._clock.now()), credential.tenant, scope


def _admitted(answers: list[Any]) -> BatchAdmitted:
    decided = [answer for answer in answers[:-1] if answer[0] != _UNDECIDED]
    told = iter(read_verdicts([*decided, answers[-1]]))
    verdicts = tuple(None if answer[0] == _UNDECIDED else next(told) for answer in answers[:-1])
    return BatchAdmitted(verdicts, stored=any(answer[0] == b"admitted" for answer in answers[:-1]))


def _view(row: Sequence[bytes], items: tuple[BatchItem, ...] = ()) -> BatchView:
    doc, finished_at, *counts = row
    return BatchView(
        batch=BATCHES.read(doc),
        counts=BatchCounts(*map(int, counts)),
        finished_at=from_ms(int(finished_at)) if finished_at else None,
        items=items,
    )


def _items(offset: int, rows: Sequence[bytes], docs: Sequence[bytes]) -> tuple[BatchItem, ...]:
    return tuple(
        _item(offset + index, row, doc)
        for index, (row, doc) in enumerate(zip(rows, docs, strict=True))
    )


def _item(index: int, row: bytes, doc: bytes) -> BatchItem:
    if row.startswith(_PROBLEM):
        return BatchItem(index, refused=row.removeprefix(_PROBLEM))
    first, second, *rest = row.decode().split(" ")
    if row.startswith(_LIMIT):
        return BatchItem(index, refused=refusal(second, float(rest[0]), ()))
    return BatchItem(index, first, Reuse(second), JOBS.read(doc) if doc else None)
