"""Keys, arguments and answers of the admission script."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import orjson

from core.clock import MILLISECOND, to_ms
from core.deduplication.coalescing import COST_SOURCE_CACHE, first_deadline, next_follower_poll_at
from core.errors import (
    CallerError,
    GatewayError,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    NotFound,
    NotPermitted,
    RequestDeleted,
    StoreUnknown,
    Unauthenticated,
)
from core.jobs.job import FollowUp, Job, JobRecord, JobState, PublicStatus, WaitingFor
from core.jobs.query import reference_score, score_of
from core.jobs.timeline import CACHE_HIT, JOINED, TimelineEntry, TimelineKind, admitted_entry
from core.money import MicroUsd
from core.quotas import Quota
from core.retention import RETENTION
from core.store import keys
from core.store.booking import UsageRetention, day_text, row_lines, window_arguments
from core.store.client import Argument, ttl_seconds
from core.store.codecs import BATCH_CODEC, JOB_CODEC, TIMELINE_ENTRY_CODEC
from core.store.refusals import build_limit_error, parse_quotas
from core.store.wake_queue import WAKE_GRACE, dispatch_arguments
from core.tenants.addresses import address_bits
from core.tenants.api_keys import Scope
from core.tenants.cache_policy import CacheStatus
from core.tenants.windows import UTC_CALENDAR, AccountingCalendar
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    IdempotencyClaim,
)

_LEADER_PLACEHOLDER: Final = "@leader@"
"""Replaced by the script, which alone knows the leader."""
_PLACEHOLDER_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PLACEHOLDER_TIME_JSON: Final = b"2000-01-01T00:00:00Z"
_CLOSING_BRACE: Final = -1
_LIMITED: Final = b"limited "

REJECTION_ERRORS: Final[dict[str, type[GatewayError]]] = {
    "store_unknown": StoreUnknown,
    "unauthenticated": Unauthenticated,
    "not_permitted": NotPermitted,
    "not_found": NotFound,
    "key_missing": IdempotencyKeyMissing,
    "key_reused": IdempotencyMismatch,
}


def raise_if_rejected(status: bytes) -> None:
    """Raise the error that a script's first answer names, if it is a rejection.

    `limited <policy> <ms>` is that of a rate of calls (`lib/authenticate_call.lua`).
    """
    if status.startswith(_LIMITED):
        _, policy, retry_after = status.decode().split()
        raise build_limit_error(policy, float(retry_after), ())
    error = REJECTION_ERRORS.get(status.decode())
    if error is not None:
        raise error


@dataclass(frozen=True, slots=True)
class AdmissionScriptCall:
    """The admissions of one script call; `batch` is set if they are its items.

    All have one credential and one mode, so that the first stands for them.
    `all_or_nothing`: if one job is rejected, none is admitted.
    """

    admissions: Sequence[Admission]
    all_or_nothing: bool = True
    batch: BatchAdmission | None = None

    @property
    def idempotency(self) -> IdempotencyClaim | None:
        """The caller's idempotency key."""
        return self.admissions[0].idempotency if self.batch is None else self.batch.idempotency

    @property
    def idempotency_target(self) -> str:
        """The id of the job or batch that a repeated key returns."""
        return self.admissions[0].job.id if self.batch is None else self.batch.batch.id

    def in_calendar(self, calendar: AccountingCalendar) -> "AdmissionScriptCall":
        """Return the call with its jobs in the days of their tenant's calendar."""
        if calendar is UTC_CALENDAR:  # nearly every tenant's
            return self
        created_at = self.admissions[0].job.created_at
        day = calendar.day_of(created_at)
        if day == UTC_CALENDAR.day_of(created_at):
            return self
        return replace(
            self,
            admissions=tuple(
                replace(one, job=replace(one.job, accounting_day=day)) for one in self.admissions
            ),
        )


def admission_keys(call: AdmissionScriptCall) -> list[str]:
    """Return the script's keys."""
    first, claim = call.admissions[0], call.idempotency
    tenant, digest = first.job.tenant, first.credential.digest
    return [
        keys.api_key(digest),
        keys.tenant(first.credential.tenant),
        keys.rate(tenant),
        keys.usage(tenant),
        keys.usage_history(tenant, day_text(first.job.usage_day)),
        keys.key_usage(digest),
        keys.idempotency(tenant, claim.digest if claim else ""),
    ]


def admission_arguments(
    call: AdmissionScriptCall,
    calendar: AccountingCalendar,
    retention: UsageRetention,
    now: datetime,
) -> list[Argument]:
    """Return the script's arguments."""
    first, claim = call.admissions[0], call.idempotency
    day = first.job.usage_day
    return [
        to_ms(now),
        first.credential.tenant,
        Scope.SUBMIT,
        address_bits(first.credential.address),
        int(call.all_or_nothing),
        int(first.dry_run),
        int(claim is not None),
        claim.fingerprint if claim else "",
        call.idempotency_target,
        *dispatch_arguments(now),
        str(calendar),
        *window_arguments(calendar, day, now),
        *retention.arguments(day),
        *batch_arguments(call.batch),
        unpaid_templates(),
        now.isoformat(),
        *(argument for admission in call.admissions for argument in item_arguments(admission, now)),
    ]


def batch_arguments(admission: BatchAdmission | None) -> tuple[Argument, ...]:
    """Return the batch of a script's arguments: id, record, invalid items, how long it is kept."""
    if admission is None:
        return "", "", "", ""
    rejected = [(index, problem.decode()) for index, problem in admission.rejected.items()]
    return (
        admission.batch.id,
        BATCH_CODEC.encode(admission.batch),
        orjson.dumps(rejected),
        ttl_seconds(RETENTION),
    )


def item_arguments(admission: Admission, now: datetime) -> tuple[Argument, ...]:
    """Return the fields of `lib/admission_item.lua`."""
    job, cache = admission.job, admission.cache
    limit, check = first_deadline(job), next_follower_poll_at(job, now)
    unclosed = JOB_CODEC.encode(job)[:_CLOSING_BRACE]
    held_until, created_at = _held_until(job, now), job.created_at.isoformat()
    return (
        job.id,
        job.version,
        unclosed + _json_tail(_paid_fields(job, held_until, now)),
        len(unclosed),
        _admitted_template().replace(_PLACEHOLDER_TIME_JSON, _json_time(created_at)),
        admission.input,
        to_ms(job.created_at),
        created_at,
        job.model_id,
        int(job.priority),  # Redis would get an IntEnum's name
        price_argument(job),
        "" if limit is None else to_ms(limit),
        "+inf" if job.deadline is None else to_ms(job.deadline),
        to_ms(check),
        check.isoformat(),
        job.fingerprint,
        cache.requested or "",
        cache.mode,
        cache.lifetime // MILLISECOND,
        score_of(job),
        "" if job.reference is None else reference_score(job.reference),
        row_lines(job),
        held_until_argument(job, now),
        admission.archive.rule or "",
        admission.archive.default,
    )


def price_argument(job: Job) -> Argument:
    """Return the estimate; an empty text if it is not known."""
    return "" if job.estimate is None else int(job.estimate)


def held_until_argument(job: Job, now: datetime) -> Argument:
    """Return the time before which the job does not queue; an empty text for one that does."""
    held_until = _held_until(job, now)
    return "" if held_until is None else to_ms(held_until)


def _held_until(job: Job, now: datetime) -> datetime | None:
    return job.not_before if job.not_before is not None and job.not_before > now else None


def _paid_fields(job: Job, held_until: datetime | None, now: datetime) -> dict[str, Any]:
    """Return the fields of the record of a job that is paid for, beside those of any job."""
    if held_until is not None:
        return {"waiting_for": WaitingFor.NOT_BEFORE, "next_run_at": held_until}
    return {"next_run_at": now + WAKE_GRACE} if job.next_run_at is None else {}


@cache
def _admitted_template() -> bytes:
    """Return the timeline entry of a job that is paid for, at `_PLACEHOLDER_TIME`."""
    # Encoding one for each submit takes longer than to fill in its time.
    return TIMELINE_ENTRY_CODEC.encode(admitted_entry(_PLACEHOLDER_TIME))


def _json_time(instant: str) -> bytes:
    """Return an instant, of `isoformat`, as `TIMELINE_ENTRY_CODEC` writes it without its quotes."""
    return instant.replace("+00:00", "Z").encode()


@cache
def unpaid_templates() -> bytes:
    """Return the ends of records and the timeline entries of jobs that are not paid for.

    Four lines: record and then entry, each of a follower and of a cache hit. The script replaces
    the `@…@` placeholders.
    """
    follower = {
        "state": JobState.FOLLOWING,
        "next_run_at": "@check@",
        "leader": _LEADER_PLACEHOLDER,
    }
    hit = {
        "state": JobState.SUCCEEDED,
        "next_run_at": "@now@",
        "finished_at": "@now@",
        "cost": 0,
        "cost_source": COST_SOURCE_CACHE,
        "follow_up": FollowUp.NOTIFY,
        "leader": _LEADER_PLACEHOLDER,
        "cost_saved": "@saved@",
        "upstream_status": "@status@",
        "upstream_result_status": "@result@",
    }
    entries = (
        _entry_template(JOINED, JobState.FOLLOWING, PublicStatus.IN_QUEUE),
        _entry_template(CACHE_HIT, JobState.SUCCEEDED, None),
    )
    return b"\n".join((_json_tail(follower), _json_tail(hit), *entries))


def _entry_template(code: str, state: JobState, status: PublicStatus | None) -> bytes:
    entry = TimelineEntry(
        _PLACEHOLDER_TIME, TimelineKind.ADMISSION, code, state, _LEADER_PLACEHOLDER, status=status
    )
    return TIMELINE_ENTRY_CODEC.encode(entry).replace(_PLACEHOLDER_TIME_JSON, b"@at@")


def _json_tail(fields: dict[str, Any]) -> bytes:
    return b"," + orjson.dumps(fields)[1:] if fields else b"}"


def parse_admission_answer(answers: list[Any]) -> tuple[AdmissionResult | CallerError, ...]:
    """Parse the result of each job. Raises the error of the call as a whole."""
    status = answers[0][0]
    raise_if_rejected(status)
    if status == b"replayed":
        return (parse_replayed(answers[0]),)
    return parse_item_answers(answers)


def parse_item_answers(answers: list[Any]) -> tuple[AdmissionResult | CallerError, ...]:
    """Parse the result of each job of a call that was not rejected as a whole."""
    quotas = parse_quotas(answers[-1])
    return tuple(_parse_item_answer(answer, quotas) for answer in answers[:-1])


def parse_replayed(answer: list[bytes]) -> AdmissionResult:
    """Parse the job of a repeated key. Raises `RequestDeleted` if it is gone."""
    if not answer[2]:
        raise RequestDeleted
    record = JobRecord(JOB_CODEC.decode(answer[2]), output=answer[3] or None)
    return AdmissionResult(
        has_slot=False, reserved=MicroUsd(0), cache_status=CacheStatus.REPLAYED, record=record
    )


def _parse_item_answer(
    answer: list[Any], quotas: tuple[Quota, ...]
) -> AdmissionResult | CallerError:
    if answer[0] == b"refused":
        return build_limit_error(answer[1].decode(), float(answer[2]), quotas)
    return parse_admitted(answer[1:], quotas)


def parse_admitted(answer: Sequence[Any], quotas: tuple[Quota, ...]) -> AdmissionResult:
    """Parse the result of a job that was admitted."""
    slot, reserved, cache_status, document, output = answer
    return AdmissionResult(
        has_slot=slot == 1,
        reserved=MicroUsd(reserved),
        quotas=quotas,
        cache_status=CacheStatus(cache_status.decode()),
        record=JobRecord(JOB_CODEC.decode(document), output=output or None) if document else None,
    )
