"""The face's one decision: may this submit become a job, and which. Pure; knows no HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.deduplication.fingerprint import NO_DEFAULTS, fingerprint
from core.jobs.job import Job, JobState
from core.jobs.timeline import Note, TimelineEntry
from core.money import MicroUsd, to_usd
from core.observability.events import CacheLookup, CostSaved, Emit, JobAdmitted
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import PAID, CacheOption, CacheUse, Reuse
from core.transactions.admission import Admission, Admitted, ReuseRequest
from service.errors import CostAboveLimit
from service.jobs.submit_options import Deadlines, SubmitOptions
from service.models import SEED, Known, ModelCard, Models, estimate, validate_input
from service.parsing.json_body import read_object, refuse_twins

ADMITTED: Final = "admitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit as it came in: `body` is RunComfy's, untouched; `trace` a `traceparent` of W3C's."""

    credential: Credential
    model_id: str
    options: SubmitOptions
    body: bytes
    trace: str | None = None
    idempotency: str | None = None
    """The digest of the caller's key."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What holds for the model where the submit does not say."""

    deadlines: Deadlines
    cache: CacheUse


def admission_of(
    submission: Submission, models: Models, usual: Usual, job_id: str, now: datetime
) -> Admission:
    """The job to take in.

    Raises `UnknownModel`, `InvalidInput`, `MalformedRequest`, `CostAboveLimit`.
    """
    card = _card(models, submission.model_id, now)
    value = read_object(submission.body)
    validate_input(card, value)
    refuse_twins(submission.body)
    judged = _Judged(card, value, estimate(card, value))
    _check_cost(submission.options.max_cost, judged.price)
    return Admission(
        credential=submission.credential,
        job=_job(submission, usual.deadlines, judged, job_id, now),
        input=submission.body,
        entry=TimelineEntry(now, Note.ADMITTED, ADMITTED, JobState.QUEUED),
        reuse=ReuseRequest(_asked(submission.options.cache, judged), usual.cache),
        idempotency=submission.idempotency,
        dry_run=submission.options.dry_run,
    )


def _asked(option: CacheOption | None, judged: "_Judged") -> CacheOption | None:
    """What the submit asks for; an absent seed asks for another result, if nothing else does.

    So does the input of a model whose schema nobody knows: it may have a seed.
    """
    card = judged.card
    if option is not None:
        return option
    if card is None or card.checks is None:
        return CacheOption.OFF
    return CacheOption.OFF if card.seeded and judged.value.get(SEED) is None else None


@dataclass(frozen=True, slots=True)
class _Judged:
    card: ModelCard | None
    value: dict[str, Any]
    price: MicroUsd | None


def _card(models: Models, model_id: str, now: datetime) -> ModelCard | None:
    found = models.lookup(model_id, now)
    return found.card if isinstance(found, Known) else None


def _check_cost(limit: MicroUsd | None, price: MicroUsd | None) -> None:
    if limit is None:
        return
    if price is None:
        raise CostAboveLimit(
            "The price is not known, so that max_cost cannot be kept; leave it out to submit."
        )
    if price > limit:
        raise CostAboveLimit(
            f"The request is estimated at {to_usd(price)} USD, more than max_cost allows."
        )


def _job(
    submission: Submission, deadlines: Deadlines, judged: _Judged, job_id: str, now: datetime
) -> Job:
    options = submission.options
    finish = options.timeout or deadlines.timeout
    start = min(options.start_timeout or deadlines.start_timeout or finish, finish)
    defaults = judged.card.defaults if judged.card else NO_DEFAULTS
    return Job(
        id=job_id,
        tenant=submission.credential.tenant,
        model_id=submission.model_id,
        fingerprint=fingerprint(submission.model_id, judged.value, defaults),
        created_at=now,
        updated_at=now,
        start_by=now + start,
        finish_by=now + finish,
        reference=options.reference,
        webhook=options.webhook,
        webhook_intermediate=options.webhook_intermediate,
        trace=submission.trace,
        estimate=judged.price,
        priority=int(options.priority),
    )


def tell_admitted(emit: Emit, admission: Admission, admitted: Admitted) -> None:
    """What observers learn of a submit that the store took."""
    job = admission.job if admitted.record is None else admitted.record.job
    if admitted.reuse is not Reuse.REPLAYED:
        price = job.estimate if admitted.reuse in PAID else None
        emit(JobAdmitted(job.id, job.tenant, job.model_id, price, job.trace))
    emit(CacheLookup(job.id, job.tenant, job.model_id, admitted.reuse))
    if admitted.reuse is Reuse.HIT and job.saved:
        emit(CostSaved(job.id, job.tenant, job.model_id, job.saved))


def dry_run_document(admission: Admission, admitted: Admitted) -> bytes:
    """What the submit would have met: nothing is stored, and nothing spent."""
    job = admission.job
    price = None if job.estimate is None else to_usd(job.estimate)
    return orjson.dumps(
        {
            "dry_run": True,
            "model_id": job.model_id,
            "outcome": admitted.reuse,
            "runs_at_once": admitted.running,
            "estimated_cost": price,
            "would_cost": price if admitted.reuse in PAID else to_usd(MicroUsd(0)),
            "fingerprint": job.fingerprint,
        }
    )
