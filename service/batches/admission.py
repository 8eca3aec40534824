"""A batch's items judged one by one, and what the whole of it is told. Pure; knows no HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Final

from core.batches import Admit, Batch, BatchCounts, BatchItem, BatchView, batch_fingerprint
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
from core.transactions.admission import Admission, Admitted, BatchAdmission, BatchAdmitted, Refused
from service.batches.parser import BatchDraft, ItemDraft
from service.errors import CostAboveLimit
from service.jobs.admission import Submission, Usual, admission_of
from service.jobs.submit_options import OptionPolicy
from service.models import Models
from service.problems import problem_of

_PLACES: Final = {UnknownModel: "/model_id", CostAboveLimit: "/max_cost"}
"""Where an error stands that names no field of the input."""


@dataclass(frozen=True, slots=True)
class BatchCall:
    """Who sent a batch, when, under which name; `idempotency` is the digest of the key."""

    batch_id: str
    credential: Credential
    now: datetime
    trace: str | None = None
    idempotency: str | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """What items are judged by."""

    models: Models
    options: OptionPolicy
    cache: CachePolicy
    ids: IdSource

    def decide(self, draft: BatchDraft, call: BatchCall) -> BatchAdmission:
        """What to ask of the store.

        Raises `InvalidInput` where the batch wants all or nothing and an item is wrong, or all are.
        """
        found = [self._judged(item, call) for item in draft.items]
        faults = {i: one for i, one in enumerate(found) if isinstance(one, CallerError)}
        if faults and (draft.admit is Admit.ALL or len(faults) == len(found)):
            raise _unfit(faults, len(found))
        batch = Batch(
            id=call.batch_id,
            tenant=call.credential.tenant,
            created_at=call.now,
            size=len(found),
            admit=draft.admit,
            reference=draft.reference,
            webhook=draft.webhook,
            trace=call.trace,
        )
        return BatchAdmission(
            batch=batch,
            admissions=tuple(one for one in found if isinstance(one, Admission)),
            fingerprint=batch_fingerprint(
                [_print(item, one) for item, one in zip(draft.items, found, strict=True)],
                draft.admit,
            ),
            refused=tuple(Refused(i, problem_of(fault).body) for i, fault in faults.items()),
            idempotency=call.idempotency,
        )

    def _judged(self, item: ItemDraft, call: BatchCall) -> Admission | CallerError:
        if item.fault is not None:
            return item.fault
        submission = Submission(
            credential=call.credential,
            model_id=item.model_id,
            options=item.options,
            body=item.body,
            trace=call.trace,
        )
        usual = Usual(self.options.deadlines_of(item.model_id), self.cache.usual_of(item.model_id))
        job_id = self.ids.job_id(call.now)
        try:
            admission = admission_of(submission, self.models, usual, job_id, call.now)
        except CallerError as fault:
            return _placed(fault)
        return replace(admission, job=replace(admission.job, batch=call.batch_id))


def _placed(fault: CallerError) -> CallerError:
    """The same with paths that begin at the item: its input is a field of it."""
    if fault.fields:
        fields = tuple(FieldError(f"/input{one.path}", one.message) for one in fault.fields)
    else:
        fields = (FieldError(_PLACES.get(type(fault), "/input"), fault.detail),)
    return type(fault)(fault.detail, fields=fields)


def _print(item: ItemDraft, judged: Admission | CallerError) -> str:
    if isinstance(judged, Admission):
        return judged.job.fingerprint
    return sha256(item.model_id.encode() + b"\n" + item.body).hexdigest()


def _unfit(faults: dict[int, CallerError], size: int) -> InvalidInput:
    fields = tuple(
        FieldError(f"/items/{index}{one.path}", one.message)
        for index, fault in faults.items()
        for one in fault.fields or (FieldError("", fault.detail),)
    )
    first = fields[0]
    return InvalidInput(
        f"{len(faults)} of {size} items do not fit: {first.path} {first.message}", fields=fields
    )


def whole_refusal(admission: BatchAdmission, admitted: BatchAdmitted) -> CallerError:
    """Why nothing of a batch was taken in: as its first refused item, with a line for each."""
    places = _places(admission)
    refused = {
        place: verdict
        for place, verdict in zip(places, admitted.verdicts, strict=True)
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


def standing_after(admitted: BatchAdmitted) -> tuple[Quota, ...]:
    """How the tenant's limits stand after the last item that was taken in."""
    standings = (one.quotas for one in reversed(admitted.verdicts) if isinstance(one, Admitted))
    return next(standings, ())


def _places(admission: BatchAdmission) -> list[int]:
    refused = {one.index for one in admission.refused}
    return [place for place in range(admission.batch.size) if place not in refused]


def view_of(admission: BatchAdmission, admitted: BatchAdmitted, now: datetime) -> BatchView:
    """A batch as it stands the moment it was taken in."""
    items = [BatchItem(one.index, refused=one.problem) for one in admission.refused]
    jobs: list[Job] = []
    for place, asked, verdict in zip(
        _places(admission), admission.admissions, admitted.verdicts, strict=True
    ):
        if isinstance(verdict, Admitted):
            job = asked.job if verdict.record is None else verdict.record.job
            jobs.append(job)
            items.append(BatchItem(place, job.id, verdict.reuse, job))
        elif verdict is not None:
            items.append(BatchItem(place, refused=verdict))
    counts = count(jobs)
    return BatchView(
        batch=admission.batch,
        counts=counts,
        finished_at=None if counts.open else now,
        items=tuple(sorted(items, key=lambda item: item.index)),
    )


def count(jobs: Sequence[Job]) -> BatchCounts:
    """How many of these stand in each public status."""
    names = [str(job.status) for job in jobs]
    return BatchCounts(**{name: names.count(name) for name in set(names)})


def accepted(
    admission: BatchAdmission, admitted: BatchAdmitted
) -> Iterator[tuple[Admission, Admitted]]:
    """The jobs that were taken in."""
    for asked, verdict in zip(admission.admissions, admitted.verdicts, strict=True):
        if isinstance(verdict, Admitted):
            yield asked, verdict
