"""The face's one decision: may this submit become a job, and which. Pure; knows no HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from core.changes import Admission
from core.fingerprints import NO_DEFAULTS, fingerprint
from core.jobs import Job, JobState, Note, TimelineEntry
from core.money import MicroUsd, to_usd
from core.tenants import Credential
from service.bodies import read_object, refuse_twins
from service.errors import CostAboveLimit
from service.models import Known, ModelCard, Models, estimate, validate_input
from service.options import Deadlines, SubmitOptions

ADMITTED: Final = "admitted"


@dataclass(frozen=True, slots=True)
class Submission:
    """A submit as it came in: `body` is RunComfy's, untouched; `trace` a `traceparent` of W3C's."""

    credential: Credential
    model_id: str
    options: SubmitOptions
    body: bytes
    trace: str | None = None


def admission_of(
    submission: Submission, models: Models, deadlines: Deadlines, job_id: str, now: datetime
) -> Admission:
    """The job to take in.

    Raises `UnknownModel`, `InvalidInput`, `MalformedRequest`, `CostAboveLimit`.
    """
    card = _card(models, submission.model_id, now)
    value = read_object(submission.body)
    validate_input(card, value)
    refuse_twins(submission.body)
    price = estimate(card, value)
    _check_cost(submission.options.max_cost, price)
    return Admission(
        credential=submission.credential,
        job=_job(submission, deadlines, _Judged(card, value, price), job_id, now),
        input=submission.body,
        entry=TimelineEntry(now, Note.ADMITTED, ADMITTED, JobState.QUEUED),
    )


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
