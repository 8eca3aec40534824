"""What a store is asked to admit in one atomic step, and what it answers."""

from dataclasses import dataclass

from core.batches import Batch
from core.errors import CallerError
from core.jobs.job import Job, JobRecord
from core.jobs.timeline import TimelineEntry
from core.money import MicroUsd
from core.quotas import Quota
from core.tenants.api_keys import Credential
from core.tenants.cache_policy import CacheOption, CacheRule, CacheStatus


@dataclass(frozen=True, slots=True)
class CacheRequest:
    """Whether a job may share a result with identical ones.

    `asked` by the submit itself; `usual` where neither it nor its tenant says anything.
    """

    requested: CacheOption | None = None
    default: CacheRule = CacheRule()  # noqa: RUF009 - frozen


CACHE_BYPASS = CacheRequest(requested=CacheOption.OFF)


@dataclass(frozen=True, slots=True)
class Admission:
    """A job to be taken in, if the credential may submit.

    `input` is RunComfy's body, byte for byte. `idempotency` is the digest of the caller's key. With
    `dry_run` everything is decided and nothing is stored.
    """

    credential: Credential
    job: Job
    input: bytes
    entry: TimelineEntry
    cache: CacheRequest = CACHE_BYPASS
    idempotency: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class AdmissionResult:
    """The store has the job. `quotas` are the tenant's limits as they stand now."""

    has_slot: bool
    """It has a slot already; else it waits for its turn."""
    reserved: MicroUsd
    quotas: tuple[Quota, ...] = ()
    cache_status: CacheStatus = CacheStatus.BYPASS
    record: JobRecord | None = None
    """The job as the store has it, where that is not as it came: a hit, a joiner, a replay."""


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that did not get as far as the limits; `problem` is its problem document as JSON."""

    index: int
    problem: bytes


@dataclass(frozen=True, slots=True)
class BatchAdmission:
    """What is asked of the store: all of `admissions` in one step, or those of them that fit.

    They are of one tenant and one instant, in the order of their items; `refused` are the rest.
    `fingerprint` is of all inputs together; `idempotency` is the digest of the caller's key.
    """

    batch: Batch
    admissions: tuple[Admission, ...]
    fingerprint: str
    rejected: tuple[RejectedItem, ...] = ()
    idempotency: str | None = None


@dataclass(frozen=True, slots=True)
class BatchAdmissionResult:
    """What became of each admission, in their order. `stored` False: the batch is not there.

    None: nothing stands against the item itself.
    """

    results: tuple[AdmissionResult | CallerError | None, ...]
    stored: bool
    existing_batch_id: str | None = None
    """The batch that the same `Idempotency-Key` began; nothing else was looked at then."""
