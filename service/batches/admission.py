"""A batch's items judged one by one, and what the whole of it is told. Pure; knows no HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from core.batches import (
    AdmissionMode,
    Batch,
    BatchCounts,
    BatchItem,
    BatchSnapshot,
    batch_fingerprint,
)
from core.errors import (
    CallerError,
    FieldError,
    InvalidInput,
    LimitReached,
    NotPermitted,
    UnknownModel,
)
from core.ids import IdSource
from core.jobs.job import Job
from core.quotas import Quota
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import CachePolicy
from core.transactions.admission import (
    Admission,
    AdmissionResult,
    BatchAdmission,
    BatchAdmissionResult,
    RejectedItem,
)
from service.batches.parser import ParsedBatch, ParsedBatchItem
from service.errors import CostAboveLimit
from service.jobs.admission import ParsedSubmit, build_admission
from service.jobs.submit_options import OptionPolicy
from service.models import ModelRegistry
from service.problems import problem_of

_FIELD_BY_ERROR: Final = {UnknownModel: "/model_id", CostAboveLimit: "/max_cost"}
"""Where an error stands that names no field of the input."""


@dataclass(frozen=True, slots=True)
class BatchContext:
    """Who sent a batch, when, under which name; `idempotency` is the digest of the key."""

    batch_id: str
    credential: Credential
    now: datetime
    trace: str | None = None
    idempotency_digest: str | None = None


@dataclass(frozen=True, slots=True)
class BatchValidator:
    """What items are judged by."""

    models: ModelRegistry
    options: OptionPolicy
    cache: CachePolicy
    ids: IdSource

    def build_admission(self, parsed: ParsedBatch, context: BatchContext) -> BatchAdmission:
        """What to ask of the store.

        Raises `InvalidInput` where the batch wants all or nothing and an item is wrong, or all are.
        """
        found = [self._validate_item(item, context) for item in parsed.items]
        faults = {i: one for i, one in enumerate(found) if isinstance(one, CallerError)}
        if faults and (
            parsed.admission_mode is AdmissionMode.ALL_OR_NOTHING or len(faults) == len(found)
        ):
            raise _invalid_items(faults, len(found))
        batch = Batch(
            id=context.batch_id,
            tenant=context.credential.tenant,
            created_at=context.now,
            size=len(found),
            admission_mode=parsed.admission_mode,
            reference=parsed.reference,
            webhook=parsed.webhook,
            trace=context.trace,
        )
        return BatchAdmission(
            batch=batch,
            admissions=tuple(one for one in found if isinstance(one, Admission)),
            fingerprint=batch_fingerprint(
                [
                    _item_fingerprint(item, one)
                    for item, one in zip(parsed.items, found, strict=True)
                ],
                parsed.admission_mode,
            ),
            rejected=tuple(RejectedItem(i, problem_of(fault).body) for i, fault in faults.items()),
            idempotency=context.idempotency_digest,
        )

    def _validate_item(
        self, item: ParsedBatchItem, context: BatchContext
    ) -> Admission | CallerError:
        if item.error is not None:
            return item.error
        submit = ParsedSubmit(
            credential=context.credential,
            model_id=item.model_id,
            options=item.options,
            body=item.body,
            trace=context.trace,
        )
        job_id = self.ids.job_id(context.now)
        try:
            admission = build_admission(
                submit, self.models, self.options, self.cache, job_id, context.now
            )
        except CallerError as fault:
            return _with_item_paths(fault)
        return replace(admission, job=replace(admission.job, batch=context.batch_id))


def _with_item_paths(error: CallerError) -> CallerError:
    """The same with paths that begin at the item: its input is a field of it."""
    if error.fields:
        fields = tuple(FieldError(f"/input{one.path}", one.message) for one in error.fields)
    else:
        fields = (FieldError(_FIELD_BY_ERROR.get(type(error), "/input"), error.detail),)
    return type(error)(error.detail, fields=fields)


def _item_fingerprint(item: ParsedBatchItem, result: Admission | CallerError) -> str:
    if isinstance(result, Admission):
        return result.job.fingerprint
    return sha256(item.model_id.encode() + b"\n" + item.body).hexdigest()


def _invalid_items(errors: dict[int, CallerError], size: int) -> InvalidInput:
    fields = tuple(
        FieldError(f"/items/{index}{one.path}", one.message)
        for index, fault in errors.items()
        for one in fault.fields or (FieldError("", fault.detail),)
    )
    first = fields[0]
    return InvalidInput(
        f"{len(errors)} of {size} items do not fit: {first.path} {first.message}", fields=fields
    )


def batch_rejection(admission: BatchAdmission, admitted: BatchAdmissionResult) -> CallerError:
    """Why nothing of a batch was taken in: as its first refused item, with a line for each."""
    places = _validated_indexes(admission)
    refused = {
        place: verdict
        for place, verdict in zip(places, admitted.results, strict=True)
        if isinstance(verdict, CallerError)
    }
    first = next(iter(refused.values()))
    fields = tuple(FieldError(f"/items/{place}", no.detail) for place, no in refused.items())
    detail = f"{len(refused)} of {admission.batch.size} items are refused: {first.detail}"
    if isinstance(first, NotPermitted):
        return type(first)(detail, policy=first.policy, fields=fields)
    if not isinstance(first, LimitReached):
        return type(first)(detail, fields=fields)
    waits = [no.retry_after for no in refused.values() if no.retry_after is not None]
    return type(first)(
        detail,
        policy=first.policy,
        retry_after=max(waits, default=None),
        quotas=first.quotas,
        fields=fields,
    )


def quotas_after(admitted: BatchAdmissionResult) -> tuple[Quota, ...]:
    """How the tenant's limits stand after the last item that was taken in."""
    standings = (
        one.quotas for one in reversed(admitted.results) if isinstance(one, AdmissionResult)
    )
    return next(standings, ())


def _validated_indexes(admission: BatchAdmission) -> list[int]:
    refused = {one.index for one in admission.rejected}
    return [place for place in range(admission.batch.size) if place not in refused]


def build_batch_snapshot(
    admission: BatchAdmission, admitted: BatchAdmissionResult, now: datetime
) -> BatchSnapshot:
    """A batch as it stands the moment it was taken in."""
    items = [BatchItem(one.index, rejection=one.problem) for one in admission.rejected]
    jobs: list[Job] = []
    for place, asked, verdict in zip(
        _validated_indexes(admission), admission.admissions, admitted.results, strict=True
    ):
        if isinstance(verdict, AdmissionResult):
            job = asked.job if verdict.record is None else verdict.record.job
            jobs.append(job)
            items.append(BatchItem(place, job.id, verdict.cache_status, job))
        elif verdict is not None:
            items.append(BatchItem(place, rejection=verdict))
    counts = count_by_status(jobs)
    return BatchSnapshot(
        batch=admission.batch,
        counts=counts,
        finished_at=None if counts.open else now,
        items=tuple(sorted(items, key=lambda item: item.index)),
    )


def count_by_status(jobs: Sequence[Job]) -> BatchCounts:
    """How many of these stand in each public status."""
    names = [str(job.status) for job in jobs]
    return BatchCounts(**{name: names.count(name) for name in set(names)})


def accepted_jobs(
    admission: BatchAdmission, admitted: BatchAdmissionResult
) -> Iterator[tuple[Admission, AdmissionResult]]:
    """The jobs that were taken in."""
    for asked, verdict in zip(admission.admissions, admitted.results, strict=True):
        if isinstance(verdict, AdmissionResult):
            yield asked, verdict
