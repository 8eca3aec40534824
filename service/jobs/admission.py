"""Admission: decides whether a submit may become a job, and builds that job. Pure; no HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from core.deduplication.fingerprint import NO_DEFAULTS, fingerprint
from core.jobs.job import Job, JobState
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd, to_usd
from core.observability.events import CacheLookup, CostSaved, Emit, JobAdmitted
from core.representations.jobs import Links
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import PAID_CACHE_STATUSES, CacheOption, CachePolicy, CacheStatus
from core.transactions.admission import Admission, AdmissionResult, CacheRequest
from service.errors import CostAboveLimit
from service.jobs.submit_options import Deadlines, OptionPolicy, SubmitOptions
from service.models import SEED, ModelCard, ModelRegistry, estimate_cost, validate_input
from service.parsing.json_body import parse_object, reject_duplicate_keys

ADMITTED: Final = "admitted"


@dataclass(frozen=True, slots=True)
class ParsedSubmit:
    """A submit as the caller sent it. `body` is RunComfy's, and is passed on byte for byte."""

    credential: Credential
    model_id: str
    options: SubmitOptions
    body: bytes
    trace: str | None = None
    """A W3C `traceparent`."""
    idempotency_digest: str | None = None
    """Digest of the caller's idempotency key."""


def build_admission(
    submit: ParsedSubmit,
    models: ModelRegistry,
    options: OptionPolicy,
    cache: CachePolicy,
    job_id: str,
    now: datetime,
) -> Admission:
    """Return what the store is to admit: the job, checked and priced.

    Raises `UnknownModel`, `InvalidInput`, `MalformedRequest`, `CostAboveLimit`.
    """
    card = models.lookup(submit.model_id, now)
    value = parse_object(submit.body)
    validate_input(card, value)
    # After the schema: it bounds the depth that this second parser recurses to.
    reject_duplicate_keys(submit.body)
    price = estimate_cost(card, value)
    _check_cost(submit.options.max_cost, price)
    deadlines = options.deadlines_of(submit.model_id)
    identity = fingerprint(submit.model_id, value, card.defaults if card else NO_DEFAULTS)
    requested = _requested_cache(submit.options.cache, card, value)
    return Admission(
        credential=submit.credential,
        job=_build_job(submit, deadlines, price, identity, job_id, now),
        input=submit.body,
        entry=TimelineEntry(now, TimelineKind.ADMISSION, ADMITTED, JobState.QUEUED),
        cache=CacheRequest(requested, cache.rule_for(submit.model_id)),
        idempotency=submit.idempotency_digest,
        dry_run=submit.options.dry_run,
    )


def _requested_cache(
    option: CacheOption | None, card: ModelCard | None, value: Mapping[str, object]
) -> CacheOption | None:
    """Return the submit's own cache option, or what its input implies; None: the tenant's setting.

    An absent seed requests a new result each time. So may the input of a model without a schema: it
    could have a seed.
    """
    if option is not None:
        return option
    if card is None or card.checks is None:
        return CacheOption.OFF
    return CacheOption.OFF if card.checks.has_seed and value.get(SEED) is None else None


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
    submit: ParsedSubmit,
    deadlines: Deadlines,
    price: MicroUsd | None,
    identity: str,
    job_id: str,
    now: datetime,
) -> Job:
    options = submit.options
    finish = options.timeout or deadlines.timeout
    start = min(options.start_timeout or deadlines.start_timeout or finish, finish)
    return Job(
        id=job_id,
        tenant=submit.credential.tenant,
        model_id=submit.model_id,
        fingerprint=identity,
        created_at=now,
        updated_at=now,
        start_deadline=now + start,
        deadline=now + finish,
        reference=options.reference,
        webhook=options.webhook,
        webhook_intermediate=options.webhook_intermediate_status,
        trace=submit.trace,
        estimate=price,
        priority=int(options.priority),
    )


def emit_admitted(emit: Emit, admission: Admission, admitted: AdmissionResult) -> None:
    """Emit the events of a submit that the store admitted."""
    job = admission.job if admitted.record is None else admitted.record.job
    if admitted.cache_status is not CacheStatus.REPLAYED:
        price = job.estimate if admitted.cache_status in PAID_CACHE_STATUSES else None
        emit(JobAdmitted(job.id, job.tenant, job.model_id, price, job.trace))
    emit(CacheLookup(job.id, job.tenant, job.model_id, admitted.cache_status))
    if admitted.cache_status is CacheStatus.HIT and job.cost_saved:
        emit(CostSaved(job.id, job.tenant, job.model_id, job.cost_saved))


def dry_run_to_json(admission: Admission, admitted: AdmissionResult, links: Links) -> bytes:
    """Return what the submit would have led to: nothing is stored, and nothing is spent.

    It has the fields of every answer to a submit. The id is that of the request that the submit
    would repeat (a replay); else nothing is stored under it.
    """
    job = admission.job
    job_id = job.id if admitted.record is None else admitted.record.job.id
    price = None if job.estimate is None else to_usd(job.estimate)
    return orjson.dumps(
        {
            "request_id": job_id,
            **links.for_job(job_id),
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
