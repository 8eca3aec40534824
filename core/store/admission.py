"""How admissions are put to the store and how it answers: keys, arguments, tails of records."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import orjson

from core.clock import MILLISECOND, to_ms
from core.deduplication.coalescing import FROM_CACHE, next_check, time_limit
from core.errors import (
    CallerError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotFound,
    NotPermitted,
    RequestDeleted,
    Unauthenticated,
)
from core.jobs.job import Errand, JobRecord, JobState, PublicStatus
from core.jobs.query import place_of, reference_number
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd
from core.quotas import Quota
from core.retention import RETENTION
from core.store import keys
from core.store.client import Argument
from core.store.codecs import BATCHES, ENTRIES, JOBS
from core.store.refusals import read_quotas, refusal
from core.store.wake_queue import RING_GRACE, dispatch_arguments
from core.tenants.api_keys import Scope
from core.tenants.cache_policy import Reuse
from core.tenants.limits import spans_at
from core.transactions.admission import Admission, Admitted, BatchAdmission

WINDOW_LIVES: Final = (timedelta(days=40), timedelta(days=400))
"""How long a day's and a month's use is kept: longer than any job that may still settle in it."""

JOINED: Final = "joined"
CACHE_HIT: Final = "cache_hit"
"""What the timeline says of a job that is not paid for."""
_LEADER: Final = "@leader@"
"""A place that the script fills in: only it learns who that is."""
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ANY_TEXT: Final = b"2000-01-01T00:00:00Z"
_OPEN_END: Final = -1

REFUSALS: Final[dict[str, type[CallerError]]] = {
    "unauthenticated": Unauthenticated,
    "not_permitted": NotPermitted,
    "not_found": NotFound,
    "key_missing": IdempotencyKeyMissing,
    "key_reused": IdempotencyMismatch,
}


def raise_refusal(verdict: bytes) -> None:
    """Raise what a script's first word says, if it refuses."""
    refused = REFUSALS.get(verdict.decode())
    if refused is not None:
        raise refused


@dataclass(frozen=True, slots=True)
class Call:
    """One call's admissions, all of one tenant and one instant; with `batch`, those of a batch.

    `whole`: all jobs or none.
    """

    admissions: Sequence[Admission]
    whole: bool = True
    batch: BatchAdmission | None = None

    @property
    def first(self) -> Admission:
        """What they have in common, it has."""
        return self.admissions[0]

    @property
    def idempotency(self) -> str | None:
        """The digest of the caller's key."""
        return self.first.idempotency if self.batch is None else self.batch.idempotency

    @property
    def named(self) -> tuple[str, str]:
        """What the key must come with again, and the id that it names."""
        if self.batch is None:
            return self.first.job.fingerprint, self.first.job.id
        return self.batch.fingerprint, self.batch.batch.id


def admission_keys(call: Call) -> list[str]:
    """The keys of one call."""
    job, credential = call.first.job, call.first.credential
    digest = call.idempotency or ""
    return [
        keys.api_key(credential.digest),
        keys.tenant(credential.tenant),
        keys.rate(job.tenant),
        *(keys.use(job.tenant, span.name) for span in spans_at(job.created_at)),
        keys.idempotency(job.tenant, digest),
    ]


def admission_arguments(call: Call, now: datetime) -> list[Argument]:
    """The arguments of one call."""
    first = call.first
    return [
        to_ms(now),
        first.credential.tenant,
        Scope.SUBMIT,
        int(call.whole),
        int(first.dry_run),
        int(call.idempotency is not None),
        *call.named,
        *dispatch_arguments(now),
        *((span.resets_at - now) // MILLISECOND for span in spans_at(first.job.created_at)),
        *(int(life.total_seconds()) for life in WINDOW_LIVES),
        *_batch(call.batch),
        _unpaid(),
        now.isoformat(),
        *(argument for admission in call.admissions for argument in _item(admission, now)),
    ]


def _batch(admission: BatchAdmission | None) -> tuple[Argument, ...]:
    if admission is None:
        return "", "", "", ""
    refused = [(one.index, one.problem.decode()) for one in admission.refused]
    return (
        admission.batch.id,
        BATCHES.write(admission.batch),
        orjson.dumps(refused),
        int(RETENTION.total_seconds()),
    )


def _item(admission: Admission, now: datetime) -> tuple[Argument, ...]:
    job, reuse = admission.job, admission.reuse
    limit, check = time_limit(job), next_check(job, now)
    begun = JOBS.write(job)[:_OPEN_END]
    return (
        job.id,
        job.version,
        begun + _tail({"due_at": now + RING_GRACE} if job.due_at is None else {}),
        len(begun),
        ENTRIES.write(admission.entry),
        admission.input,
        to_ms(job.created_at),
        admission.entry.at.isoformat(),
        job.model_id,
        int(job.priority),  # an IntEnum would be written by its name
        "" if job.estimate is None else int(job.estimate),
        "" if limit is None else to_ms(limit),
        "+inf" if job.finish_by is None else to_ms(job.finish_by),
        to_ms(check),
        check.isoformat(),
        job.fingerprint,
        reuse.asked or "",
        reuse.usual.mode,
        reuse.usual.lifetime // MILLISECOND,
        place_of(job),
        "" if job.reference is None else reference_number(job.reference),
    )


@cache
def _unpaid() -> bytes:
    """The lines for a job that joins another and for one that has a result; `@…@` are places."""
    joins = {"state": JobState.FOLLOWING, "due_at": "@check@", "leader": _LEADER}
    served = {
        "state": JobState.SUCCEEDED,
        "due_at": "@now@",
        "finished_at": "@now@",
        "cost": 0,
        "cost_source": FROM_CACHE,
        "errand": Errand.NOTIFY,
        "leader": _LEADER,
        "saved": "@saved@",
    }
    joined = TimelineEntry(
        _ANY_TIME, Note.ADMITTED, JOINED, JobState.FOLLOWING, _LEADER, status=PublicStatus.IN_QUEUE
    )
    hit = TimelineEntry(_ANY_TIME, Note.ADMITTED, CACHE_HIT, JobState.SUCCEEDED, _LEADER)
    entries = (ENTRIES.write(entry).replace(_ANY_TEXT, b"@at@") for entry in (joined, hit))
    return b"\n".join((_tail(joins), _tail(served), *entries))


def _tail(fields: dict[str, Any]) -> bytes:
    return b"," + orjson.dumps(fields)[1:] if fields else b"}"


def read_admitted(answers: list[Any]) -> tuple[Admitted | CallerError, ...]:
    """What became of each job. Raises what concerns the call as a whole."""
    verdict = answers[0][0]
    raise_refusal(verdict)
    if verdict == b"replayed":
        return (_replayed(answers[0]),)
    return read_verdicts(answers)


def read_verdicts(answers: list[Any]) -> tuple[Admitted | CallerError, ...]:
    """What became of each job of a call that was decided."""
    quotas = read_quotas(answers[-1])
    return tuple(_admitted(answer, quotas) for answer in answers[:-1])


def _replayed(answer: list[bytes]) -> Admitted:
    if not answer[2]:
        raise RequestDeleted
    record = JobRecord(JOBS.read(answer[2]), output=answer[3] or None)
    return Admitted(running=False, reserved=MicroUsd(0), reuse=Reuse.REPLAYED, record=record)


def _admitted(answer: list[Any], quotas: tuple[Quota, ...]) -> Admitted | CallerError:
    if answer[0] == b"refused":
        return refusal(answer[1].decode(), float(answer[2]), quotas)
    _, slot, reserved, fate, document, output = answer
    return Admitted(
        running=slot == 1,
        reserved=MicroUsd(reserved),
        quotas=quotas,
        reuse=Reuse(fate.decode()),
        record=JobRecord(JOBS.read(document), output=output or None) if document else None,
    )
