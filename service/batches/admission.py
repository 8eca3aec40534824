"""Admission of a batch: validates its items one by one, and builds the answer. Pure; no HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    IdempotencyClaim,
)
from service.batches.parser import ParsedBatch, ParsedBatchItem
from service.errors import CostAboveLimit
from service.jobs.admission import ParsedSubmit, build_admission, sent_fingerprint
from service.jobs.submit_options import OptionPolicy
from service.models import NO_NAMED_FILES, ModelRegistry, NamedFiles
from service.problems import problem_of

_FIELD_BY_ERROR: Final = {UnknownModel: "/model_id", CostAboveLimit: "/max_cost"}
"""The path of an error that names no field of the input."""


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The call that brought a batch: its credential, time, trace and idempotency key."""

    batch_id: str
    credential: Credential
    now: datetime
    trace: str | None = None
    idempotency: IdempotencyClaim | None = None
    files: Mapping[int, NamedFiles] = field(default_factory=dict)
    """The files that items name, by their index."""


@dataclass(frozen=True, slots=True)
class BatchValidator:
    """Validates the items of batches against the models and the options' limits."""

    models: ModelRegistry
    options: OptionPolicy
    cache: CachePolicy
    ids: IdSource

    def build_admission(self, parsed: ParsedBatch, context: BatchContext) -> BatchAdmission:
        """Return what the store is to admit.

        Raises `InvalidInput` if all items are invalid, or one is and the batch is all-or-nothing.
        """
        # All ids first. Each gives Python's lock away for a moment and takes it back: between the
        # items that kept the event loop from its turn until the whole batch was checked.
        job_ids = [self.ids.job_id(context.now) if not item.error else "" for item in parsed.items]
        found = [
            item.error
            or self._validate_item(
                item, job_ids[index], context, context.files.get(index, NO_NAMED_FILES)
            )
            for index, item in enumerate(parsed.items)
        ]
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
            rejected={i: problem_of(fault).body for i, fault in faults.items()},
            idempotency=context.idempotency,
        )

    def _validate_item(
        self, item: ParsedBatchItem, job_id: str, context: BatchContext, files: NamedFiles
    ) -> Admission | CallerError:
        submit = ParsedSubmit(
            credential=context.credential,
            model_id=item.model_id,
            options=item.options,
            body=item.body,
            trace=context.trace,
            files=files,
        )
        try:
            admission = build_admission(
                submit, self.models, self.options, self.cache, job_id, context.now
            )
        except CallerError as fault:
            return _with_item_paths(fault)
        return replace(admission, job=replace(admission.job, batch=context.batch_id))


def _with_item_paths(error: CallerError) -> CallerError:
    """Return the error with paths that begin at the item: its field `input` holds the input."""
    if error.fields:
        fields = tuple(FieldError(_item_path(one.path), one.message) for one in error.fields)
    else:
        fields = (FieldError(_FIELD_BY_ERROR.get(type(error), "/input"), error.detail),)
    return type(error)(error.detail, fields=fields)


def _item_path(path: str) -> str:
    """Return the path in the item: an option of a query is a field of the item."""
    return f"/{path[1:]}" if path.startswith("?") else f"/input{path}"


def claim_batch(digest: str, parsed: ParsedBatch) -> IdempotencyClaim:
    """Return the claim of a batch's key: its fingerprint is of all items as they were sent."""
    parts = [_item_fingerprint(item) for item in parsed.items]
    return IdempotencyClaim(digest, batch_fingerprint(parts, parsed.admission_mode))


def _item_fingerprint(item: ParsedBatchItem) -> str:
    sent = None if item.error else sent_fingerprint(item.model_id, item.body)
    return sent or sha256(item.model_id.encode() + b"\n" + item.body).hexdigest()


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
    """Return the error of a rejected batch: that of its first rejected item; it names each item."""
    indexes = _validated_indexes(admission)
    rejected = {
        index: result
        for index, result in zip(indexes, admitted.results, strict=True)
        if isinstance(result, CallerError)
    }
    first = next(iter(rejected.values()))
    fields = tuple(FieldError(f"/items/{index}", error.detail) for index, error in rejected.items())
    detail = f"{len(rejected)} of {admission.batch.size} items are refused: {first.detail}"
    if isinstance(first, NotPermitted):
        return type(first)(detail, policy=first.policy, fields=fields)
    if not isinstance(first, LimitReached):
        return type(first)(detail, fields=fields)
    waits = [error.retry_after for error in rejected.values() if error.retry_after is not None]
    return type(first)(
        detail,
        policy=first.policy,
        retry_after=max(waits, default=None),
        quotas=first.quotas,
        fields=fields,
    )


def quotas_after(admitted: BatchAdmissionResult) -> tuple[Quota, ...]:
    """Return the tenant's quotas after the last item that was admitted."""
    quotas = (one.quotas for one in reversed(admitted.results) if isinstance(one, AdmissionResult))
    return next(quotas, ())


def _validated_indexes(admission: BatchAdmission) -> list[int]:
    return [index for index in range(admission.batch.size) if index not in admission.rejected]


def build_batch_snapshot(
    admission: BatchAdmission, admitted: BatchAdmissionResult, now: datetime
) -> BatchSnapshot:
    """Return the batch as it is right after its admission."""
    items = [BatchItem(i, rejection=problem) for i, problem in admission.rejected.items()]
    jobs: list[Job] = []
    for index, one, result in zip(
        _validated_indexes(admission), admission.admissions, admitted.results, strict=True
    ):
        if isinstance(result, AdmissionResult):
            job = one.job if result.record is None else result.record.job
            jobs.append(job)
            items.append(BatchItem(index, job.id, result.cache_status, job))
        elif result is not None:
            items.append(BatchItem(index, rejection=result))
    counts = count_by_status(jobs)
    return BatchSnapshot(
        batch=admission.batch,
        counts=counts,
        finished_at=None if counts.open else now,
        items=tuple(sorted(items, key=lambda item: item.index)),
    )


def count_by_status(jobs: Sequence[Job]) -> BatchCounts:
    """Return the number of jobs by public status."""
    names = [str(job.status) for job in jobs]
    return BatchCounts(**{name: names.count(name) for name in set(names)})


def accepted_jobs(
    admission: BatchAdmission, admitted: BatchAdmissionResult
) -> Iterator[tuple[Admission, AdmissionResult]]:
    """Yield the admissions that created or found a job, with their results."""
    for one, result in zip(admission.admissions, admitted.results, strict=True):
        if isinstance(result, AdmissionResult):
            yield one, result
