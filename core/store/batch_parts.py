"""Admits large batches in parts, so that no script holds Redis for long.

The items are stored in parts (`stage_items`), then one script decides about all of them
(`accept_batch`), then their jobs are written part by part (`write_batch_part`). What was stored
expires unless the batch is accepted; what is accepted is written, by the service that admits it, by
a repetition or a reader of the batch, or by a worker.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from core.clock import MILLISECOND, Clock, to_ms
from core.errors import CallerError, StoreTimeout, StoreUnavailable, Unavailable
from core.quotas import Quota
from core.retention import RETENTION
from core.runtime.many_items import call_with_many
from core.store import keys
from core.store.admission import (
    AdmissionScriptCall,
    admission_keys,
    batch_arguments,
    held_until_argument,
    item_arguments,
    parse_admitted,
    price_argument,
    raise_if_rejected,
    unpaid_templates,
)
from core.store.booking import UsageRetention, row_lines, window_arguments
from core.store.calendars import TenantCalendars
from core.store.client import Argument, ttl_seconds
from core.store.refusals import build_limit_error, parse_quotas
from core.store.scripts import LuaScripts
from core.store.wake_queue import dispatch_arguments
from core.tenants.addresses import address_bits
from core.tenants.api_keys import Scope
from core.tenants.cache_policy import CacheOption, CacheStatus
from core.tenants.windows import AccountingCalendar
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
)

MAX_PART_ITEMS: Final = 25
"""A part takes Redis 2 to 4 ms."""
MAX_PART_BYTES: Final = 262_144
MAX_PAUSE: Final = timedelta(milliseconds=50)
"""After a part there is a pause as long as its call took: the calls of others are served then."""
PART_TTL: Final = timedelta(minutes=1)
"""How long the items of a batch that is never accepted are stored."""
WRITE_GRACE: Final = timedelta(seconds=10)
"""How long after the last written part a worker writes the next one."""
MAX_TRIES: Final = 3
_HOPELESS, _NOT_STAGED, _REPLAYED = b"hopeless", b"not_staged", b"replayed"
_REFUSED, _ACCEPTED, _ALL_ACCEPTED = b"refused", b"accepted", b"all_accepted"
_OFF: Final = b"off"
_CACHE_STATUSES: Final = frozenset(status.encode() for status in CacheStatus) - {_REPLAYED}

Part = Sequence[Admission]


def split_into_parts(admissions: Part, max_items: int = MAX_PART_ITEMS) -> list[list[Admission]]:
    """Return the items in their order, in parts of bounded number and bytes."""
    parts: list[list[Admission]] = [[]]
    stored = 0
    for one in admissions:
        if parts[-1] and (len(parts[-1]) >= max_items or stored + len(one.input) > MAX_PART_BYTES):
            parts.append([])
            stored = 0
        parts[-1].append(one)
        stored += len(one.input)
    return parts


class BatchParts:
    """Stages, accepts and writes batches."""

    def __init__(
        self,
        scripts: LuaScripts,
        clock: Clock,
        calendars: TenantCalendars,
        max_items: int = MAX_PART_ITEMS,
    ) -> None:
        """`max_items` of a part."""
        self._scripts = scripts
        self._clock = clock
        self._calendars = calendars
        self._max_items = max_items

    def is_large(self, admission: BatchAdmission) -> bool:
        """Return whether the batch has more than one part."""
        items = admission.admissions
        stored = sum(len(one.input) for one in items)
        return len(items) > self._max_items or (len(items) > 1 and stored > MAX_PART_BYTES)

    async def admit(
        self, admission: BatchAdmission, *, all_or_nothing: bool
    ) -> BatchAdmissionResult:
        """Admit a batch. Raises as `BatchStore.admit`, and `Unavailable`.

        After it was accepted the store's failures are `StoreTimeout`.
        """
        call = AdmissionScriptCall(admission.admissions, all_or_nothing, admission)
        tenant = admission.batch.tenant
        for _ in range(MAX_TRIES):
            answers = await self._calendars.call(tenant, partial(self._stage_and_accept, call))
            if answers[0][0] != _NOT_STAGED:
                return await self._read_answers(admission, answers)
        raise Unavailable("The batch could not be stored in time; try again.")

    async def write_rest(self, batch_id: str) -> list[Any] | None:
        """Write the jobs of an accepted batch that are not written yet.

        Returns the answers for all its jobs, or None if some had been written before.
        """
        answers: list[Any] = []
        numbers: list[int] = []
        write = partial(
            self._scripts.call,
            "write_batch_part",
            [keys.batch(batch_id), keys.batch_items(batch_id), keys.batch_rest(batch_id)],
            replicated=True,
        )
        while row := await self._paced(lambda: write(self._write_arguments(batch_id))):
            number, count, written = row
            answers += written
            numbers.append(number)
            if number == count:
                # Others may write parts, and a store that goes back has one written twice.
                return answers if numbers == [*range(1, count + 1)] else None
        return None

    async def claim_unwritten(self, limit: int) -> Sequence[str]:
        """Claim accepted batches of which no part was written for `WRITE_GRACE`."""
        now = self._clock.now()
        rows = await self._scripts.call(
            "claim_due",
            [keys.UNWRITTEN_BATCHES, keys.LIMITS, keys.POLL_RATE],
            [keys.BATCH_PREFIX, to_ms(now), to_ms(now + WRITE_GRACE), limit, ""],
        )
        return [name.decode() for name in rows[::2]]

    async def _stage_and_accept(
        self, call: AdmissionScriptCall, calendar: AccountingCalendar
    ) -> Sequence[Any]:
        """Return the answers of the script that ended the admission."""
        attempt = _Attempt(
            call.in_calendar(calendar), calendar, self._calendars.retention, self._clock.now()
        )
        parts = split_into_parts(attempt.call.admissions, self._max_items)
        found: list[Any] = []
        for number, part in enumerate(parts, 1):
            stage = partial(self._scripts.call, "stage_items", *attempt.stage_call(number, part))
            answers = await self._paced(stage)
            if answers[0][0] == _HOPELESS:
                return await self._accept(attempt, (), ())
            if answers[0][0] not in _CACHE_STATUSES:
                return list(answers)
            found += answers
        return await self._accept(attempt, [len(part) for part in parts], found)

    async def _paced(self, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - a script's answer
        """Return the answer of a call for a part, after the pause that follows it."""
        began = self._clock.monotonic()
        answer = await call()
        took = self._clock.monotonic() - began
        if took:
            await self._clock.sleep(min(took, MAX_PAUSE))
        return answer

    async def _accept(
        self, attempt: "_Attempt", part_sizes: Sequence[int], found: Sequence[Any]
    ) -> Sequence[Any]:
        count = len(attempt.call.admissions)
        call = await call_with_many(count, attempt.accept_call, part_sizes, found)
        answers: Sequence[Any] = await self._scripts.call("accept_batch", *call, replicated=True)
        return answers

    def _write_arguments(self, batch_id: str) -> list[Argument]:
        now = self._clock.now()
        return [
            batch_id,
            to_ms(now),
            *dispatch_arguments(now),
            ttl_seconds(RETENTION),
            unpaid_templates(),
            now.isoformat(),
            to_ms(now + WRITE_GRACE),
        ]

    async def _read_answers(
        self, admission: BatchAdmission, answers: Sequence[Any]
    ) -> BatchAdmissionResult:
        raise_if_rejected(answers[0][0])
        if answers[0][0] == _REPLAYED:
            return BatchAdmissionResult((), stored=False, existing_batch_id=answers[0][1].decode())
        *decided, rows = answers
        quotas = parse_quotas(rows)
        if decided[0][0] == _ALL_ACCEPTED:
            decided = [(_ACCEPTED,)] * len(admission.admissions)
        if not any(answer[0] == _ACCEPTED for answer in decided):
            return await _read_results(decided, quotas, (), stored=False)
        written = await self._write_accepted(admission.batch.id)
        if written is None:  # a worker, or a reader of the batch, was faster
            return BatchAdmissionResult((), stored=False, existing_batch_id=admission.batch.id)
        return await _read_results(decided, quotas, written, stored=True)

    async def _write_accepted(self, batch_id: str) -> list[Any] | None:
        """As `write_rest`. Raises `StoreTimeout` for every failure of the store."""
        try:
            return await self.write_rest(batch_id)
        except StoreUnavailable as error:
            # That means that nothing was accepted. But all is, and its caller may not repeat it.
            raise StoreTimeout(
                retry_after=error.retry_after, operator_detail=error.operator_detail
            ) from error


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt to admit a batch: all its scripts decide for one instant."""

    call: AdmissionScriptCall
    calendar: AccountingCalendar
    retention: UsageRetention
    now: datetime

    def stage_call(self, number: int, part: Part) -> tuple[list[str], list[Argument]]:
        """Return keys and arguments of `stage_items`. The first part checks the whole batch."""
        call = self.call
        api_key, tenant, rate, usage, _, _, idempotency = admission_keys(call)
        stored_under = keys.batch_part(call.idempotency_target, str(number))
        return [api_key, tenant, rate, usage, idempotency, stored_under], [
            *self._credential(),
            *self._claim(),
            window_arguments(self.calendar, part[0].job.usage_day, self.now)[0],
            int(call.all_or_nothing and number == 1),
            len(call.admissions),
            PART_TTL // MILLISECOND,
            *(argument for one in part for argument in item_arguments(one, self.now)),
        ]

    def accept_call(
        self, part_sizes: Sequence[int], found: Sequence[Any]
    ) -> tuple[list[str], list[Argument]]:
        """Return keys and arguments of `accept_batch`. Without `found` it reads the cache."""
        call, day = self.call, self.call.admissions[0].job.usage_day
        return admission_keys(call), [
            *self._credential(),
            int(call.all_or_nothing),
            *self._claim(),
            *window_arguments(self.calendar, day, self.now),
            *self.retention.arguments(day),
            *batch_arguments(call.batch),
            " ".join(map(str, part_sizes)),
            to_ms(self.now + WRITE_GRACE),
            *self._classes_and_items(found),
        ]

    def _credential(self) -> tuple[Argument, ...]:
        credential = self.call.admissions[0].credential
        address = address_bits(credential.address)
        return to_ms(self.now), credential.tenant, Scope.SUBMIT, address

    def _claim(self) -> tuple[Argument, ...]:
        claim = self.call.idempotency
        return int(claim is not None), claim.fingerprint if claim else "", str(self.calendar)

    def _classes_and_items(self, found: Sequence[Any]) -> list[Argument]:
        """Return the number of classes, the classes, and the items of `accept_batch`."""
        classes: dict[tuple[Argument, ...], int] = {}
        items: list[Argument] = []
        for position, one in enumerate(self.call.admissions):
            number = classes.setdefault(_class_of(one, self.now), len(classes) + 1)
            what = _found_lookup(one, found[position]) if found else _unknown_lookup(one)
            items += (number, one.job.id, *what)
        return [len(classes), *(argument for each in classes for argument in each), *items]


def _class_of(admission: Admission, now: datetime) -> tuple[Argument, ...]:
    """Return what decides about a job, and which many jobs of a batch have in common."""
    job = admission.job
    return (
        job.model_id,
        price_argument(job),
        int(job.priority),
        held_until_argument(job, now),
        row_lines(job),
        admission.archive.rule or "",
        admission.archive.default,
    )


def _found_lookup(admission: Admission, found: Sequence[Any]) -> tuple[int, str]:
    """Return the bytes to store, and what `stage_items` found as `accept_batch` reads it."""
    status, stored, *texts = found
    if status == _OFF:
        return stored, ""
    return stored, "|".join(
        (*(text.decode() for text in (status, *texts)), admission.job.fingerprint)
    )


def _unknown_lookup(admission: Admission) -> tuple[int, str]:
    cache, stored = admission.cache, len(admission.input)
    if cache.requested == CacheOption.OFF:
        return stored, ""
    modes = (cache.requested or "", cache.mode)
    return stored, "|".join(("unknown", *modes, "", admission.job.fingerprint))


async def _read_results(
    decided: Sequence[Sequence[Any]],
    quotas: tuple[Quota, ...],
    written: Sequence[Sequence[Any]],
    *,
    stored: bool,
) -> BatchAdmissionResult:
    def read() -> tuple[AdmissionResult | CallerError | None, ...]:
        rest = iter(written)
        return tuple(_read_answer(answer, quotas, rest) for answer in decided)

    return BatchAdmissionResult(await call_with_many(len(decided), read), stored=stored)


def _read_answer(
    answer: Sequence[Any], quotas: tuple[Quota, ...], written: Iterator[Sequence[Any]]
) -> AdmissionResult | CallerError | None:
    """Return the result of an item; `written` are those of the jobs that were written, in order."""
    if answer[0] == _REFUSED:
        return build_limit_error(answer[1].decode(), float(answer[2]), quotas)
    return parse_admitted([*next(written), b""], quotas) if answer[0] == _ACCEPTED else None
