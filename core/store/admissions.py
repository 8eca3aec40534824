"""How admissions are put to the store and how it answers: keys, arguments, tails of records."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from core.changes import Admission, Admitted, ReuseRequest
from core.clock import to_ms
from core.errors import (
    CallerError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotFound,
    NotPermitted,
    RequestDeleted,
    Unauthenticated,
)
from core.jobs import Errand, Job, JobRecord, JobState, Note, PublicStatus, TimelineEntry
from core.limits import Quota, spans_at
from core.listing import place_of, reference_number
from core.money import MicroUsd
from core.reuse import Reuse
from core.sharing import FROM_CACHE, next_check, time_limit
from core.store import keys
from core.store.connection import Argument
from core.store.doorbell import MESSAGE_LIFE, dispatch_template
from core.store.records import ENTRIES, JOBS
from core.store.refusals import read_quotas, refusal
from core.tenants import Scope

MILLISECOND: Final = timedelta(milliseconds=1)
WINDOW_LIVES: Final = (timedelta(days=40), timedelta(days=400))
"""How long a day's and a month's use is kept: longer than any job that may still settle in it."""
RING_GRACE: Final = timedelta(seconds=5)
"""How long a rung job may wait before the watchers look for it by themselves."""

JOINED: Final = "joined"
CACHE_HIT: Final = "cache_hit"
"""What the timeline says of a job that is not paid for."""
_LEADER: Final = "@leader@"
_SAVED: Final = "@saved@"
"""Places that the script fills in: only it learns what they hold."""
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


def admission_keys(admissions: Sequence[Admission]) -> list[str]:
    """The keys of one call; all jobs are of one tenant and one instant."""
    first = admissions[0]
    job, credential = first.job, first.credential
    digest = first.idempotency or ""
    return [
        keys.api_key(credential.digest),
        keys.tenant(credential.tenant),
        keys.DUE,
        keys.STATES,
        keys.rate(job.tenant),
        *(keys.use(job.tenant, span.name) for span in spans_at(job.created_at)),
        keys.WALLET,
        keys.idempotency(job.tenant, digest),
        *(
            key
            for admission in admissions
            for key in (keys.job(admission.job.id), keys.timeline(admission.job.id))
        ),
    ]


def admission_arguments(
    admissions: Sequence[Admission], now: datetime, *, whole: bool = True
) -> list[Argument]:
    """The arguments of one call. `whole`: all jobs or none."""
    first = admissions[0]
    return [
        to_ms(now),
        first.credential.tenant,
        Scope.SUBMIT,
        int(whole),
        int(first.dry_run),
        int(first.idempotency is not None),
        first.job.fingerprint,
        first.job.id,
        dispatch_template(now),
        MESSAGE_LIFE // MILLISECOND,
        to_ms(now + RING_GRACE),
        *((span.resets_at - now) // MILLISECOND for span in spans_at(first.job.created_at)),
        *(int(life.total_seconds()) for life in WINDOW_LIVES),
        *(argument for admission in admissions for argument in _item(admission, now)),
    ]


def _item(admission: Admission, now: datetime) -> tuple[Argument, ...]:
    job, reuse = admission.job, admission.reuse
    limit, check = time_limit(job), next_check(job, now)
    return (
        job.id,
        job.version,
        JOBS.write(job)[:_OPEN_END],
        *_tails(job, check, now),
        *_entries(admission.entry),
        admission.input,
        to_ms(job.created_at),
        job.model_id,
        int(job.priority),  # an IntEnum would be written by its name
        "" if job.estimate is None else int(job.estimate),
        "" if limit is None else to_ms(limit),
        to_ms(check),
        "+inf" if job.finish_by is None else to_ms(job.finish_by),
        job.fingerprint,
        *_reuse(reuse),
        place_of(job),
        "" if job.reference is None else reference_number(job.reference),
    )


def _reuse(reuse: ReuseRequest) -> tuple[Argument, ...]:
    return reuse.asked or "", reuse.usual.mode, reuse.usual.lifetime // MILLISECOND


def _tails(job: Job, check: datetime, now: datetime) -> tuple[bytes, bytes, bytes]:
    """What closes the record of a job that is paid for, of one that joins, of one that has it."""
    return (
        _tail({"due_at": now + RING_GRACE} if job.due_at is None else {}),
        _tail({"state": JobState.FOLLOWING, "due_at": check, "leader": _LEADER}),
        _tail(
            {
                "state": JobState.SUCCEEDED,
                "due_at": now,
                "finished_at": now,
                "cost": 0,
                "cost_source": FROM_CACHE,
                "errand": Errand.NOTIFY,
                "leader": _LEADER,
                "saved": _SAVED,
            }
        ),
    )


def _tail(fields: dict[str, Any]) -> bytes:
    return b"," + orjson.dumps(fields)[1:] if fields else b"}"


def _entries(entry: TimelineEntry) -> tuple[bytes, bytes, bytes]:
    return (
        ENTRIES.write(entry),
        ENTRIES.write(
            TimelineEntry(
                entry.at,
                Note.ADMITTED,
                JOINED,
                JobState.FOLLOWING,
                _LEADER,
                status=PublicStatus.IN_QUEUE,
            )
        ),
        ENTRIES.write(
            TimelineEntry(entry.at, Note.ADMITTED, CACHE_HIT, JobState.SUCCEEDED, _LEADER)
        ),
    )


def read_admitted(answers: list[Any]) -> tuple[Admitted | CallerError, ...]:
    """What became of each job. Raises what concerns the call as a whole."""
    verdict = answers[0][0]
    raise_refusal(verdict)
    if verdict == b"replayed":
        return (_replayed(answers[0]),)
    quotas = read_quotas(answers[-1])
    return tuple(_admitted(answer, quotas) for answer in answers[:-1])


def _replayed(answer: list[bytes]) -> Admitted:
    if not answer[2]:
        raise RequestDeleted
    record = JobRecord(JOBS.read(answer[2]), output=answer[3] or None)
    return Admitted(running=False, reserved=MicroUsd(0), reuse=Reuse.REPLAYED, record=record)


def _admitted(answer: list[bytes], quotas: tuple[Quota, ...]) -> Admitted | CallerError:
    if answer[0] == b"refused":
        return refusal(answer[1].decode(), float(answer[2]), quotas)
    _, slot, reserved, fate, document, output = answer
    return Admitted(
        running=slot == b"1",
        reserved=MicroUsd(int(reserved)),
        quotas=quotas,
        reuse=Reuse(fate.decode()),
        record=JobRecord(JOBS.read(document), output=output or None) if document else None,
    )
