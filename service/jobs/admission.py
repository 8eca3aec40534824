"""Admission: decides whether a submit may become a job, and builds that job. Pure; no HTTP."""

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from core.clock import iso
from core.deduplication.fingerprint import (
    MAX_DEPTH,
    NO_DEFAULTS,
    fingerprint,
    is_nested_deeper,
)
from core.errors import CallerError, FieldError, MalformedRequest
from core.files.delivery import FileDelivery
from core.jobs.input_parts import InputPart
from core.jobs.job import Job
from core.money import MicroUsd, to_usd
from core.observability.events import CacheLookup, CostSaved, Emit, JobAdmitted
from core.representations.jobs import Links
from core.runtime.statically_frozen import statically_frozen
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import PAID_CACHE_STATUSES, CachePolicy, CacheStatus
from core.transactions.admission import Admission, AdmissionResult, CacheRequest, IdempotencyClaim
from service.errors import CostAboveLimit
from service.jobs.submit_options import Deadlines, OptionPolicy, SubmitOptions
from service.models import (
    NO_NAMED_FILES,
    InputEstimate,
    ModelRegistry,
    NamedFiles,
    estimate_input,
    find_source_parts,
    pins_seed,
    validate_input,
)
from service.parsing.json_body import parse_object, reject_duplicate_keys


@statically_frozen
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
    files: NamedFiles = NO_NAMED_FILES
    """The files that the body names."""


def build_admission(
    submit: ParsedSubmit,
    models: ModelRegistry,
    options: OptionPolicy,
    cache: CachePolicy,
    job_id: str,
    now: datetime,
) -> Admission:
    """Return what the store is to admit: the job, checked and priced.

    Raises `UnknownModel`, `InvalidInput`, `PinnedModelChanged`, `MalformedRequest`,
    `CostAboveLimit`.
    """
    checked = _check_input(submit, models, now)
    _check_cost(submit.options.max_cost, checked.estimate.cost)
    _check_delay(submit.options.not_before, now + options.max_delay)
    rule = cache.rule_for(checked.model_id)
    return Admission(
        credential=submit.credential,
        job=_build_job(submit, checked, options.deadlines_of(checked.model_id), job_id, now),
        input=submit.body,
        cache=CacheRequest(
            submit.options.cache, rule.mode_for(pins_seed=checked.pins_seed), rule.lifetime
        ),
        idempotency=checked.idempotency,
        dry_run=submit.options.dry_run,
        archive=options.archive.of_model(checked.model_id),
    )


class _CheckedInput(NamedTuple):
    """What was found out about a valid input, whose value is needed no more."""

    model_id: str
    model_alias: str | None
    fingerprint: str
    estimate: InputEstimate
    pins_seed: bool
    idempotency: IdempotencyClaim | None
    sources: tuple[InputPart, ...]


def _check_input(submit: ParsedSubmit, models: ModelRegistry, now: datetime) -> _CheckedInput:
    model_id, alias = models.resolve(submit.model_id)
    card = models.lookup(model_id, now)
    value = parse_object(submit.body)
    conflict = models.pin_conflict(submit.credential.tenant, model_id)
    validate_input(card, value, conflict, submit.files)
    reject_duplicate_keys(submit.body, value)
    digest = submit.idempotency_digest
    checks = card.checks if card else None
    return _CheckedInput(
        model_id,
        alias,
        # Files count by their content.
        fingerprint(
            model_id, submit.files.by_content(value), checks.defaults if checks else NO_DEFAULTS
        ),
        estimate_input(card, value),
        pins_seed(card, value),
        IdempotencyClaim(digest, _as_sent(submit.model_id, value)) if digest else None,
        find_source_parts(submit.body, checks.media if checks else None, value, submit.files),
    )


def claim_idempotency(submit: ParsedSubmit) -> IdempotencyClaim | None:
    """Return the claim of the key of a submit that is not admissible.

    None if it has no key, or no readable body.
    """
    digest = submit.idempotency_digest
    sent = sent_fingerprint(submit.model_id, submit.body) if digest else None
    return IdempotencyClaim(digest, sent) if digest and sent else None


def sent_fingerprint(model_id: str, body: bytes) -> str | None:
    """Return the fingerprint of what a caller sent; None if it is not readable."""
    try:
        value = parse_object(body)
        return None if is_nested_deeper(value, MAX_DEPTH) else _as_sent(model_id, value)
    except CallerError:
        return None


def _as_sent(model_id: str, value: dict[str, Any]) -> str:
    """Return the fingerprint without defaults, of the model as the caller wrote it.

    The model is not looked up: it and its schema can have changed since the first sending of a
    call, whose repetition must still have the same fingerprint.
    """
    return fingerprint(model_id.rstrip("/"), value, NO_DEFAULTS)


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


def _check_delay(not_before: datetime | None, latest: datetime) -> None:
    if not_before is not None and not_before > latest:
        message = f"must not be later than {iso(latest)}"
        fields = (FieldError("?not_before", message),)
        raise MalformedRequest(f"not_before {message}.", fields=fields)


def _build_job(
    submit: ParsedSubmit,
    checked: _CheckedInput,
    deadlines: Deadlines,
    job_id: str,
    now: datetime,
) -> Job:
    options = submit.options
    begin = max(options.not_before or now, now)
    finish = options.timeout or deadlines.timeout
    start = min(options.start_timeout or deadlines.start_timeout or finish, finish)
    return Job(
        id=job_id,
        tenant=submit.credential.tenant,
        model_id=checked.model_id,
        model_alias=checked.model_alias,
        fingerprint=checked.fingerprint,
        created_at=now,
        updated_at=now,
        start_deadline=begin + start,
        deadline=begin + finish,
        not_before=None if begin == now else begin,
        reference=options.reference,
        labels=options.label,
        key_id=submit.credential.key_id,
        webhook=options.webhook,
        webhook_intermediate=options.webhook_intermediate_status,
        trace=submit.trace,
        estimate=checked.estimate.cost,
        priority=int(options.priority),
        video_ms=checked.estimate.video_ms,
        input_parts=checked.sources,
    )


def emit_admitted(emit: Emit, admission: Admission, admitted: AdmissionResult) -> None:
    """Emit the events of a submit that the store admitted."""
    job = admission.job if admitted.record is None else admitted.record.job
    if admitted.cache_status is not CacheStatus.REPLAYED:
        price = job.estimate if admitted.cache_status in PAID_CACHE_STATUSES else None
        labels = job.labels or None
        emit(JobAdmitted(job.id, job.tenant, job.model_id, price, job.trace, labels))
    emit(CacheLookup(job.id, job.tenant, job.model_id, admitted.cache_status))
    if admitted.cache_status is CacheStatus.HIT and job.cost_saved:
        emit(CostSaved(job.id, job.tenant, job.model_id, job.cost_saved))


def dry_run_to_json(
    admission: Admission,
    admitted: AdmissionResult,
    links: Links,
    delivery: FileDelivery | None = None,
) -> bytes:
    """Return what the submit would have led to: nothing is stored, and nothing is spent.

    It has the fields of every answer to a submit. The id is that of the request that the submit
    would repeat (a replay); else nothing is stored under it. `delivery` is that of its files;
    `fetches` are the private sources that a worker would fetch.
    """
    job = admission.job
    job_id = job.id if admitted.record is None else admitted.record.job.id
    price = None if job.estimate is None else to_usd(job.estimate)
    fetches = [orjson.loads(admission.input[each.start : each.end]) for each in job.input_parts]
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
            **({} if delivery is None else {"file_delivery": delivery}),
            **({"fetches": fetches} if fetches else {}),
        }
    )
