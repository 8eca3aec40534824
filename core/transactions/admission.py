"""Admissions of jobs and batches, each one atomic write, with their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from core.archive import ModelArchive
from core.batches import Batch
from core.errors import CallerError
from core.jobs.job import Job, JobRecord
from core.money import MicroUsd
from core.quotas import Quota
from core.retention import MAX_CACHE_LIFETIME
from core.runtime.statically_frozen import statically_frozen
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import CacheMode, CacheOption, CacheStatus


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """Whether a job may share a result with identical ones.

    `requested` is the submit's own option. `mode` applies if neither it nor its tenant has one,
    `lifetime` if its tenant has none.
    """

    requested: CacheOption | None = None
    mode: CacheMode = CacheMode.USE
    lifetime: timedelta = MAX_CACHE_LIFETIME


KEEPS_NO_OUTPUTS = ModelArchive()
CACHE_BYPASS = CacheRequest(requested=CacheOption.OFF)


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """An `Idempotency-Key`, by its digest, and the fingerprint that its repetitions must have.

    The fingerprint is of what the caller sent. A model's defaults are not in it: they may change
    between a call and its repetition.
    """

    digest: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A job to admit, if the credential may submit.

    `input` is the body for RunComfy, byte for byte as the caller sent it. With `dry_run` everything
    is decided and nothing is stored. If by `archive` the request waits for its outputs to be
    kept, the tenant must have room for files.
    """

    credential: Credential
    job: Job
    input: bytes
    cache: CacheRequest = CACHE_BYPASS
    idempotency: IdempotencyClaim | None = None
    dry_run: bool = False
    archive: ModelArchive = KEEPS_NO_OUTPUTS


@statically_frozen
class AdmissionResult:
    """The job is stored. `quotas` are the tenant's limits after the admission."""

    has_slot: bool
    """It has a slot already; else it waits for one."""
    reserved: MicroUsd
    quotas: tuple[Quota, ...] = ()
    cache_status: CacheStatus = CacheStatus.BYPASS
    record: JobRecord | None = None
    """The stored job where it differs from the submitted one: a hit, a follower, a replay."""


@dataclass(frozen=True, slots=True)
class BatchAdmission:
    """A batch to admit: all of `admissions` in one step, or those that the limits allow.

    They belong to one tenant, have the same `created_at`, and are in the order of their items;
    `rejected` has the problem documents of the other items, by index. The fingerprint of
    `idempotency` is of all inputs together.
    """

    batch: Batch
    admissions: tuple[Admission, ...]
    rejected: Mapping[int, bytes] = field(default_factory=dict)
    idempotency: IdempotencyClaim | None = None


@dataclass(frozen=True, slots=True)
class BatchAdmissionResult:
    """The result of each admission, in their order. `stored` False: nothing was stored.

    A result of None: the item itself could have been admitted.
    """

    results: tuple[AdmissionResult | CallerError | None, ...]
    stored: bool
    existing_batch_id: str | None = None
    """The batch with the same `Idempotency-Key`; if there is one, nothing else was checked."""
