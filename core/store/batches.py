"""Batches: admission, reads, and the completion event."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from core.batches import AdmissionMode, Batch, BatchCounts, BatchItem, BatchSnapshot
from core.clock import Clock, from_ms, to_ms
from core.jobs.job import Job, PublicStatus
from core.page import Page
from core.runtime.many_items import call_with_many
from core.store import keys
from core.store.admission import (
    AdmissionScriptCall,
    parse_item_answers,
    raise_if_rejected,
)
from core.store.batch_parts import MAX_PART_ITEMS, BatchParts
from core.store.calendars import TenantCalendars
from core.store.client import Argument, RedisClient
from core.store.codecs import BATCH_CODEC, JOB_CODEC, decode_readable
from core.store.deliveries import new_delivery_arguments, new_delivery_keys
from core.store.jobs import credential_keys
from core.store.refusals import build_limit_error
from core.store.scripts import LuaScripts
from core.tenants.addresses import address_bits
from core.tenants.api_keys import Credential, Scope
from core.tenants.cache_policy import CacheStatus
from core.transactions.admission import (
    BatchAdmission,
    BatchAdmissionResult,
    IdempotencyClaim,
)
from core.webhooks.delivery import Delivery

_COUNTED_STATUSES: Final = tuple(PublicStatus)
_ROW_LENGTH: Final = 2 + len(_COUNTED_STATUSES)
_UNDECIDED: Final = b"fits"
_UNWRITTEN: Final = b"unwritten"
_LIMIT_PREFIX, _PROBLEM_PREFIX = b"! ", b"? "


class BatchStore:
    """Batches in Redis."""

    def __init__(
        self,
        client: RedisClient,
        scripts: LuaScripts,
        clock: Clock,
        calendars: TenantCalendars | None = None,
        max_part_items: int = MAX_PART_ITEMS,
    ) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares.

        Batches of more than `max_part_items` are admitted in parts.
        """
        self._client = client
        self._scripts = scripts
        self._clock = clock
        self._calendars = calendars or TenantCalendars(scripts)
        self._parts = BatchParts(scripts, clock, self._calendars, max_part_items)

    async def admit(self, admission: BatchAdmission) -> BatchAdmissionResult:
        """Admit all jobs of a batch, or in partial mode those that fit, in one decision.

        Raises `Unauthenticated`, `NotPermitted`, `IdempotencyKeyMissing`, `IdempotencyMismatch`.
        """
        all_or_nothing = admission.batch.admission_mode is AdmissionMode.ALL_OR_NOTHING
        if self._parts.is_large(admission):
            return await self._parts.admit(admission, all_or_nothing=all_or_nothing)
        call = AdmissionScriptCall(admission.admissions, all_or_nothing, admission)
        answers = await self._calendars.admit(call, self._clock.now(), replicated=True)
        status = answers[0][0]
        raise_if_rejected(status)
        if status == b"replayed":
            return BatchAdmissionResult((), stored=False, existing_batch_id=answers[0][1].decode())
        return _parse_batch_admission(answers)

    async def find_replay(self, credential: Credential, claim: IdempotencyClaim) -> str | None:
        """Return the id of the batch of a repeated idempotency key; None for a new key.

        Raises `Unauthenticated`, `NotPermitted`, `IdempotencyMismatch`.
        """
        answer = await self._scripts.call(
            "find_replay",
            [*credential_keys(credential), keys.idempotency(credential.tenant, claim.digest)],
            [*self._authentication_arguments(credential, Scope.SUBMIT), claim.fingerprint],
        )
        raise_if_rejected(answer[0])
        return None if answer[0] == b"new" else str(answer[1].decode())

    async def read(
        self,
        credential: Credential,
        batch_id: str,
        indexes: range,
        scope: Scope = Scope.READ,
    ) -> BatchSnapshot:
        """Return one of the credential's batches, with the items at `indexes`.

        Jobs of it that are not written yet are written first. Raises `NotFound`, also for
        another tenant's.
        """
        answer = await self._read(credential, batch_id, indexes, scope)
        if answer[0] == _UNWRITTEN:
            await self._parts.write_rest(batch_id)
            answer = await self._read(credential, batch_id, indexes, scope)
        raise_if_rejected(answer[0])
        _, doc, finished_at, counts, rows, docs = answer
        items = await call_with_many(len(rows), _parse_items, indexes.start, rows, docs)
        return _parse_batch([doc, finished_at, *counts], items)

    async def _read(
        self, credential: Credential, batch_id: str, indexes: range, scope: Scope
    ) -> list[Any]:
        answer: list[Any] = await self._scripts.call(
            "read_batch",
            [
                *credential_keys(credential),
                keys.batch(batch_id),
                keys.batch_items(batch_id),
                keys.tenant_batches(credential.tenant),
            ],
            [
                *self._authentication_arguments(credential, scope),
                indexes.start,
                indexes.stop - 1,
                batch_id,
            ],
        )
        return answer

    async def list_page(
        self, credential: Credential, after: str | None, limit: int
    ) -> Page[BatchSnapshot, str]:
        """Return a page of the credential's batches, newest first, starting after batch `after`."""
        answer = await self._scripts.call(
            "list_batches",
            [*credential_keys(credential), keys.tenant_batches(credential.tenant)],
            [*self._authentication_arguments(credential, Scope.READ), after or "", limit],
        )
        raise_if_rejected(answer[0])
        _, flat, cursor = answer
        rows = (flat[start : start + _ROW_LENGTH] for start in range(0, len(flat), _ROW_LENGTH))
        return Page(tuple(_parse_batch(row) for row in rows), cursor.decode() or None)

    async def claim_completed(self, lease: timedelta, limit: int) -> Sequence[Batch]:
        """Claim finished batches without a completion event, for `lease` each."""
        now = self._clock.now()
        rows = await self._scripts.call(
            "claim_due",
            [keys.BATCHES, keys.LIMITS, keys.POLL_RATE],
            [keys.BATCH_PREFIX, to_ms(now), to_ms(now + lease), limit, ""],
        )
        return decode_readable(BATCH_CODEC, rows[1::2])

    async def claim_unwritten(self, limit: int) -> Sequence[str]:
        """Claim accepted batches whose service does not write their jobs any more."""
        return await self._parts.claim_unwritten(limit)

    async def write_rest(self, batch_id: str) -> None:
        """Write the jobs of an accepted batch that are not written yet."""
        await self._parts.write_rest(batch_id)

    async def load(self, batch_id: str) -> BatchSnapshot | None:
        """Return any tenant's batch without its items, for a worker."""
        row = await self._client.execute(
            "HMGET", keys.batch(batch_id), "doc", "finished_at", *_COUNTED_STATUSES
        )
        return None if row[0] is None else _parse_batch(row)

    async def list_jobs(self, batch_id: str) -> Sequence[Job]:
        """Return the stored jobs of any tenant's batch, for a worker.

        Jobs of it that are not written yet are written first.
        """
        await self._parts.write_rest(batch_id)
        rows = await self._client.execute("LRANGE", keys.batch_items(batch_id), 0, -1)
        refused = (_LIMIT_PREFIX, _PROBLEM_PREFIX)
        names = [row.decode().partition(" ")[0] for row in rows if not row.startswith(refused)]
        docs = await asyncio.gather(
            *(self._client.execute("HGET", keys.job(name), "doc") for name in names)
        )
        return decode_readable(JOB_CODEC, [doc for doc in docs if doc is not None])

    async def complete(self, batch: Batch, deliveries: tuple[Delivery, ...]) -> bool:
        """Store the deliveries of the completion event; return False if it was stored before."""
        completed = await self._scripts.call(
            "complete_batch",
            [keys.BATCHES, keys.OUTBOX, *new_delivery_keys(deliveries)],
            [batch.id, *new_delivery_arguments(deliveries, self._clock.now())],
        )
        return bool(completed)

    def _authentication_arguments(
        self, credential: Credential, scope: Scope
    ) -> tuple[Argument, ...]:
        return (
            to_ms(self._clock.now()),
            credential.tenant,
            scope,
            address_bits(credential.address),
        )


def _parse_batch_admission(answers: list[Any]) -> BatchAdmissionResult:
    decided = [answer for answer in answers[:-1] if answer[0] != _UNDECIDED]
    parsed = iter(parse_item_answers([*decided, answers[-1]]))
    results = tuple(None if answer[0] == _UNDECIDED else next(parsed) for answer in answers[:-1])
    return BatchAdmissionResult(
        results, stored=any(answer[0] == b"admitted" for answer in answers[:-1])
    )


def _parse_batch(row: Sequence[bytes], items: tuple[BatchItem, ...] = ()) -> BatchSnapshot:
    doc, finished_at, *counts = row
    return BatchSnapshot(
        batch=BATCH_CODEC.decode(doc),
        counts=BatchCounts(*map(int, counts)),
        finished_at=from_ms(int(finished_at)) if finished_at else None,
        items=items,
    )


def _parse_items(
    offset: int, rows: Sequence[bytes], docs: Sequence[bytes]
) -> tuple[BatchItem, ...]:
    return tuple(
        _parse_item(offset + index, row, doc)
        for index, (row, doc) in enumerate(zip(rows, docs, strict=True))
    )


def _parse_item(index: int, row: bytes, doc: bytes) -> BatchItem:
    if row.startswith(_PROBLEM_PREFIX):
        return BatchItem(index, rejection=row.removeprefix(_PROBLEM_PREFIX))
    first, second, *rest = row.decode().split(" ")
    if row.startswith(_LIMIT_PREFIX):
        return BatchItem(index, rejection=build_limit_error(second, float(rest[0]), ()))
    return BatchItem(index, first, CacheStatus(second), JOB_CODEC.decode(doc) if doc else None)
