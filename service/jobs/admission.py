"""The face's one decision: may this submit become a job, and which. Pure; knows no HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from core.deduplication.fingerprint import NO_DEFAULTS, fingerprint
from core.jobs.job import Job, JobState
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd, to_usd
from core.observability.events import CacheLookup, CostSaved, Emit, JobAdmitted
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import PAID_CACHE_STATUSES, CacheOption, CacheRule, CacheStatus
from core.transactions.admission import Admission, AdmissionResult, CacheRequest
from service.errors import CostAboveLimit
from service.jobs.submit_options import Deadlines, SubmitOptions
from service.models import SEED, KnownModel, ModelCard, ModelRegistry, estimate_cost, validate_input
from service.parsing.json_body import parse_object, reject_duplicate_keys

ADMITTED: Final = "admitted"


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A submit as it came in: `body` is RunComfy's, untouched; `trace` a `traceparent` of W3C's."""

    credential: Credential
    model_id: str
    options: SubmitOptions
    body: bytes
    trace: str | None = None
    idempotency_digest: str | None = None
    """The digest of the caller's key."""


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """What holds for the model where the submit does not say."""

    deadlines: Deadlines
    cache: CacheRule


def build_admission(
    request: SubmitRequest,
    models: ModelRegistry,
    model_defaults: ModelDefaults,
    job_id: str,
    now: datetime,
) -> Admission:
    """The job to take in.

    Raises `UnknownModel`, `InvalidInput`, `MalformedRequest`, `CostAboveLimit`.
    """
    card = _find_card(models, request.model_id, now)
    value = parse_object(request.body)
    validate_input(card, value)
    reject_duplicate_keys(request.body)
    judged = _PricedInput(card, value, estimate_cost(card, value))
    _check_cost(request.options.max_cost, judged.price)
    return Admission(
        credential=request.credential,
        job=_build_job(request, model_defaults.deadlines, judged, job_id, now),
        input=request.body,
        entry=TimelineEntry(now, TimelineKind.ADMISSION, ADMITTED, JobState.QUEUED),
        cache=CacheRequest(_requested_cache(request.options.cache, judged), model_defaults.cache),
        idempotency=request.idempotency_digest,
        dry_run=request.options.dry_run,
    )


def _requested_cache(option: CacheOption | None, priced: "_PricedInput") -> CacheOption | None:
    """What the submit asks for; an absent seed asks for another result, if nothing else does.

    So does the input of a model whose schema nobody knows: it may have a seed.
    """
    card = priced.card
    if option is not None:
        return option
    if card is None or card.checks is None:
        return CacheOption.OFF
    return CacheOption.OFF if card.has_seed and priced.value.get(SEED) is None else None


@dataclass(frozen=True, slots=True)
class _PricedInput:
    card: ModelCard | None
    value: dict[str, Any]
    price: MicroUsd | None


def _find_card(models: ModelRegistry, model_id: str, now: datetime) -> ModelCard | None:
    found = models.lookup(model_id, now)
    return found.card if isinstance(found, KnownModel) else None


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


def _build_job(
    request: SubmitRequest, deadlines: Deadlines, priced: _PricedInput, job_id: str, now: datetime
) -> Job:
    options = request.options
    finish = options.timeout or deadlines.timeout
    start = min(options.start_timeout or deadlines.start_timeout or finish, finish)
    defaults = priced.card.defaults if priced.card else NO_DEFAULTS
    return Job(
        id=job_id,
        tenant=request.credential.tenant,
        model_id=request.model_id,
        fingerprint=fingerprint(request.model_id, priced.value, defaults),
        created_at=now,
        updated_at=now,
        start_deadline=now + start,
        deadline=now + finish,
        reference=options.reference,
        webhook=options.webhook,
        webhook_intermediate=options.webhook_intermediate,
        trace=request.trace,
        estimate=priced.price,
        priority=int(options.priority),
    )


def emit_admitted(emit: Emit, admission: Admission, admitted: AdmissionResult) -> None:
    """What observers learn of a submit that the store took."""
    job = admission.job if admitted.record is None else admitted.record.job
    if admitted.cache_status is not CacheStatus.REPLAYED:
        price = job.estimate if admitted.cache_status in PAID_CACHE_STATUSES else None
        emit(JobAdmitted(job.id, job.tenant, job.model_id, price, job.trace))
    emit(CacheLookup(job.id, job.tenant, job.model_id, admitted.cache_status))
    if admitted.cache_status is CacheStatus.HIT and job.cost_saved:
        emit(CostSaved(job.id, job.tenant, job.model_id, job.cost_saved))


def dry_run_to_json(admission: Admission, admitted: AdmissionResult) -> bytes:
    """What the submit would have met: nothing is stored, and nothing spent."""
    job = admission.job
    price = None if job.estimate is None else to_usd(job.estimate)
    return orjson.dumps(
        {
            "dry_run": True,
            "model_id": job.model_id,
            "outcome": admitted.cache_status,
            "runs_at_once": admitted.has_slot,
            "estimated_cost": price,
            "would_cost": price
            if admitted.cache_status in PAID_CACHE_STATUSES
            else to_usd(MicroUsd(0)),
            "fingerprint": job.fingerprint,
        }
    )
